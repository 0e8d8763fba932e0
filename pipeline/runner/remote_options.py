"""Checks of Beam's flags for remote runners, before anything is written or started.

Beam reports most of these mistakes after minutes, in the middle of a log, or not at all.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import socket
from collections.abc import Sequence
from typing import Any

import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from pipeline.config import ClassifyConfig
from pipeline.runner import flink_rest

DATAFLOW, FLINK, SPARK, PRISM, PORTABLE = (
    "DataflowRunner",
    "FlinkRunner",
    "SparkRunner",
    "PrismRunner",
    "PortableRunner",
)
LOOPBACK = "LOOPBACK"
_ENVIRONMENTS = ("DOCKER", "PROCESS", "EXTERNAL", LOOPBACK)
EMBEDDED_FLINK, _LOCAL_SPARK = ("[auto]", "[local]"), r"local(\[.+\])?"
_CONNECT_SECONDS = 10.0
_OWN_BOOT = "catalogue-classifier-boot"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "embed")


def check(options: PipelineOptions, runner: Any, config: ClassifyConfig) -> None:
    """Check that a job can start with the given flags.

    Args:
        options: Beam's options.
        runner: the runner named in `options`.
        config: settings of the run.

    Raises:
        UserError: a flag is missing or invalid, or a server does not answer.
    """
    name, validator = options.view_as(StandardOptions).runner, PipelineOptionsValidator(options, runner)
    _check_file(options, name)
    if name == DATAFLOW:
        _check_dataflow(options, validator)
        _check_paths(config, is_dry=options.view_as(TestOptions).dry_run)
    else:
        _check_hints(config)
        if name in (PORTABLE, FLINK, SPARK, PRISM):
            _check_portable(options, name)
        _raise_first(validator.validate())
        master = options.view_as(FlinkRunnerOptions).flink_master
        if name == FLINK and master not in EMBEDDED_FLINK and not written_to(options):
            flink_rest.check(master)
        if master not in EMBEDDED_FLINK:
            _warn_of_idle_slots(options, master)
    _warn_of_missing_code(options, name)


def _check_hints(config: ClassifyConfig) -> None:
    """Refuse resource hints for a runner that ignores them. Raises UserError."""
    if config.inference_hints:
        raise UserError(f"--accelerator and --inference-ram require --runner {DATAFLOW}")


def is_embedded(options: PipelineOptions) -> bool:
    """Return whether the engine is started by this process and ends with it."""
    name, endpoint = options.view_as(StandardOptions).runner, options.view_as(PortableOptions).job_endpoint
    if written_to(options):
        return False
    if endpoint:
        return endpoint == "embed"
    if name == FLINK:
        return options.view_as(FlinkRunnerOptions).flink_master in EMBEDDED_FLINK
    if name == SPARK:  # its local job server is the driver
        return not options.view_as(SparkRunnerOptions).spark_submit_uber_jar
    return name not in (DATAFLOW, PORTABLE)


def ends_with_command(options: PipelineOptions) -> bool:
    """Return whether a remote job ends with the process that started it."""
    return is_embedded(options) or _environment(options) == LOOPBACK


def written_to(options: PipelineOptions) -> str | None:
    """Return the file that the job is written to instead of being started; None if it is started.

    The file is a jar for Flink or Spark, or a template for Dataflow.
    """
    cloud = options.view_as(GoogleCloudOptions) if options.view_as(StandardOptions).runner == DATAFLOW else None
    return (cloud.template_location if cloud else options.view_as(PortableOptions).output_executable_path) or None


def refuse_near_misses(unknown: Sequence[str], known: Sequence[str]) -> None:
    """Refuse misspelled flags. Other unknown flags are accepted, as they may belong to the engine's job server.

    Raises:
        UserError: an unknown flag is similar to a known one.
    """
    for flag in [word.partition("=")[0] for word in unknown if word.startswith("--")]:
        nearest = difflib.get_close_matches(flag, known, n=1, cutoff=0.8)
        if nearest:
            raise UserError(f"unknown argument {flag}; did you mean {nearest[0]}?")


def _raise_first(errors: Sequence[str]) -> None:
    if errors:
        raise UserError(errors[0].rstrip(". "))


def _check_dataflow(options: PipelineOptions, validator: PipelineOptionsValidator) -> None:
    """Run the checks of Beam's validator that neither call Google Cloud nor create a bucket. Raises UserError."""
    cloud = options.view_as(GoogleCloudOptions)
    missing = [f"--{name}" for name in ("project", "region") if not getattr(cloud, name)]
    if not cloud.temp_location and not cloud.staging_location:
        missing.append("--temp_location")
    if missing:
        raise UserError(f"--runner {DATAFLOW} requires {' and '.join(missing)}")
    for name in ("temp_location", "staging_location"):
        if getattr(cloud, name):
            _raise_first(validator.validate_gcs_path(cloud, name))
    _raise_first(validator.validate_cloud_options(cloud))


def _check_paths(config: ClassifyConfig, *, is_dry: bool) -> None:
    """Refuse local paths, which Dataflow's workers cannot reach. A dry run starts no worker and only warns."""
    paths = [("--input", path) for path in config.manifest.inputs]
    paths += [
        ("--model-dir", config.model_dir),
        ("--output", config.output),
        ("--previous", config.previous or "gs://"),
    ]
    for flag, path in paths:
        if not storage.is_remote(path):
            message = f"{flag} {path} is on this machine, where the workers of {DATAFLOW} cannot reach it"
            if not is_dry:
                raise UserError(f"{message}: give a path such as gs://")
            say(f"warning: {message}; a run needs a path such as gs://")


def _check_file(options: PipelineOptions, name: str | None) -> None:
    """Check the flags that write the job to a file: the runner must support them, and the folder of a jar must exist.

    Raises:
        UserError: a flag cannot be used.
    """
    jar = options.view_as(PortableOptions).output_executable_path
    if jar and name not in (FLINK, SPARK):
        raise UserError(f"--output_executable_path requires --runner {FLINK} or {SPARK}")
    if options.view_as(GoogleCloudOptions).template_location and name != DATAFLOW:
        raise UserError(f"--template_location requires --runner {DATAFLOW}")
    if jar and options.view_as(PortableOptions).job_endpoint:
        raise UserError(
            "--output_executable_path cannot be combined with --job_endpoint, whose job server writes to its own disk: "
            "omit --job_endpoint"
        )
    if jar and not os.path.isdir(os.path.dirname(os.path.abspath(jar))):
        raise UserError(f"--output_executable_path {jar} is in a folder that does not exist: create it")


def check_local(options: PipelineOptions, config: ClassifyConfig) -> None:
    """Refuse flags that have no effect on the local runner. Raises UserError."""
    _check_file(options, options.view_as(StandardOptions).runner)
    _check_hints(config)


def _check_portable(options: PipelineOptions, name: str) -> None:
    portable = options.view_as(PortableOptions)
    if name == PORTABLE and not portable.job_endpoint:
        raise UserError(f"--runner {PORTABLE} requires --job_endpoint: give HOST:PORT of the engine's job server")
    if portable.environment_type and _environment(options) not in _ENVIRONMENTS:
        nearest = difflib.get_close_matches(_environment(options), _ENVIRONMENTS, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else f": give one of {', '.join(_ENVIRONMENTS)}"
        if not portable.environment_type.startswith("beam:env:"):
            raise UserError(f"--environment_type {portable.environment_type} is unknown{hint}")
    has_image = portable.environment_config or options.view_as(WorkerOptions).sdk_container_image
    spark = options.view_as(SparkRunnerOptions).spark_master_url
    is_local_spark = name == SPARK and not portable.job_endpoint and re.fullmatch(_LOCAL_SPARK, spark)
    starts_its_own = (is_local_spark and not written_to(options)) or (name != SPARK and is_embedded(options))
    if not portable.environment_type and not has_image and not starts_its_own:
        raise UserError(
            "--environment_type is missing: choose how workers are started, DOCKER, PROCESS, EXTERNAL or LOOPBACK, see "
            "docs/guides/runners.md"
        )
    _check_process_command(options)
    java = options.view_as(JobServerOptions).job_server_java_launcher
    if name in (FLINK, SPARK) and not portable.job_endpoint and not shutil.which(java):
        raise UserError(f"--runner {name}: its job server needs {java}, which was not found: install Java 11 or 17")
    _check_job_server_jar(options, name)
    if portable.job_endpoint and portable.job_endpoint != "embed":
        _check_endpoint(portable.job_endpoint)
    if _environment(options) == LOOPBACK and not is_embedded(options):
        _check_loopback(options)


def _check_job_server_jar(options: PipelineOptions, name: str | None) -> None:
    flags = {FLINK: (FlinkRunnerOptions, "flink_job_server_jar"), SPARK: (SparkRunnerOptions, "spark_job_server_jar")}
    if name not in flags:
        return
    view, flag = flags[name]
    jar = getattr(options.view_as(view), flag)
    if jar and not storage.scheme(jar) and not os.path.isfile(jar):
        raise UserError(f"--{flag} {jar} does not exist: give the path of a jar")


def _environment(options: PipelineOptions) -> str:
    return (options.view_as(PortableOptions).environment_type or "").upper()


def _check_process_command(options: PipelineOptions) -> None:
    portable = options.view_as(PortableOptions)
    if (portable.environment_type or "").upper() != "PROCESS" or not portable.environment_config:
        return
    try:
        command = json.loads(portable.environment_config)["command"]
    except (ValueError, LookupError, TypeError):
        command = None
    if not command:
        raise UserError(
            "--environment_config is invalid for PROCESS: give JSON with the command that starts a worker, such as "
            '\'{"command": "/opt/apache/beam/boot"}\''
        )
    if is_embedded(options) and not shutil.which(command):
        raise UserError(f"--environment_config: the program {command} was not found: install it, or fix its path")


def _check_endpoint(endpoint: str) -> None:
    """Check that a job server answers. Beam would wait for five minutes and report nothing. Raises UserError."""
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--job_endpoint {endpoint}: give HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"--job_endpoint {endpoint} does not answer: {why}") from error
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(_CONNECT_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise UserError(f"--job_endpoint {endpoint} is not a job server: give the address of one") from error


def _check_loopback(options: PipelineOptions) -> None:
    """Check that the engine can use LOOPBACK workers. Raises UserError.

    The workers are threads of this process, so only an engine on this machine with a single TaskManager can use them.
    """
    if written_to(options):
        raise UserError(
            "--environment_type LOOPBACK: the workers are threads of this command, which ends before the engine runs "
            "the job; use PROCESS, EXTERNAL or DOCKER"
        )
    portable, master = options.view_as(PortableOptions), options.view_as(FlinkRunnerOptions).flink_master
    host = (portable.job_endpoint or "").rpartition(":")[0].strip("[]")
    if host and host not in _THIS_MACHINE:
        raise UserError(
            f"--environment_type LOOPBACK: the workers are on this machine, where {host} cannot reach them; use "
            "PROCESS, EXTERNAL or DOCKER"
        )
    count = 0 if master in EMBEDDED_FLINK else flink_rest.task_managers(master)
    if count > 1:
        raise UserError(
            f"--environment_type LOOPBACK: Flink has {count} TaskManagers, whose workers would mix up their work; "
            "use PROCESS, EXTERNAL or DOCKER"
        )


def _warn_of_idle_slots(options: PipelineOptions, master: str) -> None:
    """Warn if Flink has several slots: by default it runs a job in only one."""
    slots = flink_rest.slots(master)
    if slots > 1 and options.view_as(FlinkRunnerOptions).parallelism == -1:
        say(f"warning: Flink has {slots} slots but may use only one: give --parallelism {slots}")


def _warn_of_missing_code(options: PipelineOptions, name: str | None) -> None:
    """Warn if this package may be missing on the workers, an error that would otherwise show up after minutes."""
    setup, portable = options.view_as(SetupOptions), options.view_as(PortableOptions)
    has_image = options.view_as(WorkerOptions).sdk_container_image or (
        _environment(options) in ("", "DOCKER") and portable.environment_config
    )
    sends = (
        setup.setup_file
        or setup.extra_packages
        or setup.requirements_file
        or _OWN_BOOT in (portable.environment_config or "")
    )
    is_pool = _environment(options) == "EXTERNAL"  # a pool of workers that are already running
    if not (has_image or sends or is_pool or ends_with_command(options)):
        say(
            f"warning: this package is not sent to the workers of {name}: install it there, or give "
            "--setup_file ./setup.py or --sdk_container_image"
        )
