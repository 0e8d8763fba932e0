# One image that trains and classifies: a GPU worker of Vertex AI or Kubernetes, and a worker of Beam on any runner.
#
#   docker build --tag catalogue-classifier .
#   docker build --build-arg EXTRAS=openvino --tag catalogue-classifier:cpu .      for processors, four gigabytes smaller
#
# It starts as a worker of Beam. To train or to launch a run:
#   docker run --entrypoint python catalogue-classifier -m trainer train --help

# `boot`, which starts Beam's workers, from the SDK image of the version that constraints.txt pins.
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11-slim-bookworm
ARG EXTRAS=gpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /app
COPY setup.py pyproject.toml constraints.txt ./
COPY catalogue catalogue
COPY trainer trainer
COPY pipeline pipeline
RUN pip install --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}"

COPY --from=beam /opt/apache/beam /opt/apache/beam
RUN useradd --create-home --uid 1000 classifier
USER classifier
# Beam's `boot` must not install what is in the image already.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]
