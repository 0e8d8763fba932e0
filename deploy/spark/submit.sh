#!/bin/sh
# Runs classify on Spark 3.5: `classify` writes the job to a jar, which `spark-submit` runs like any other job.
#
#   deploy/spark/submit.sh RUN_DIR [FLAG ...]      flags of classify, such as --input and --model-dir
#
# SPARK_MASTER is the master URL of the cluster. Each machine of the cluster needs this package, and Beam's boot program
# at /opt/apache/beam/boot, as in the image of the Dockerfile. The driver runs on this machine (--deploy-mode client).
# JOB_SERVER is the path of beam-runners-spark-3-job-server-2.62.0.jar from the Maven repository.
set -eu
: "${SPARK_MASTER:?}" "${JOB_SERVER:?}"
output=$1
shift
folder=$(mktemp --directory)
trap 'rm -r "$folder"' EXIT
python -m pipeline classify --output "$output" "$@" \
  --runner SparkRunner --spark_job_server_jar "$JOB_SERVER" --output_executable_path "$folder/job.jar" \
  --environment_type PROCESS --environment_config '{"command": "catalogue-classifier-boot"}' \
  --environment_cache_millis 10000
spark-submit --master "$SPARK_MASTER" --class org.apache.beam.runners.spark.SparkPipelineRunner "$folder/job.jar"
# Spark also reports success for a run with too many dead letters, so check the result.
python -m pipeline classify --attach "$output"
