# One image for training, for launching runs and for the workers of runs: on GPUs or CPUs, on Vertex AI, Kubernetes or
# any Beam runner, and as the image of a Dataflow flex template.
#
#   docker build --tag catalogue-classifier .
#   docker build --build-arg EXTRAS=openvino --tag catalogue-classifier:cpu .      for CPUs, 4 GB smaller
#
# The default entry point is a Beam worker. To train or to launch a run:
#   docker run --entrypoint python catalogue-classifier -m trainer train --help

# Beam's `boot` starts workers. It comes from Beam's SDK image, in the version of Beam that constraints.txt pins.
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

# Dataflow starts this program to launch a flex template.
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:20230622_RC00 AS launcher

FROM python:3.11-slim-bookworm AS build
ARG EXTRAS=gpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY setup.py pyproject.toml constraints.txt ./
COPY catalogue catalogue
COPY trainer trainer
COPY pipeline pipeline
RUN python -m venv /app/venv && /app/venv/bin/pip install --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 classifier
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY --from=build /app/venv /app/venv
COPY deploy/dataflow/launch.py /app/launch.py
# Beam's `boot` must use this environment, in which the packages are installed, and not create another environment.
ENV PATH=/app/venv/bin:$PATH PYTHONUNBUFFERED=1 RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    FLEX_TEMPLATE_PYTHON_PY_FILE=/app/launch.py
USER 1000
WORKDIR /home/classifier
ENTRYPOINT ["/opt/apache/beam/boot"]
