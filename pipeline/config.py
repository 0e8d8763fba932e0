"""Settings of a run of ``classify``, as frozen dataclasses. They are pickled and sent to the workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from catalogue.images.spec import DEFAULT_LIMITS, Limits
from catalogue.storage.access import EVERYTHING, Access
from catalogue.storage.deadline import READ_SECONDS
from pipeline.records import URI_COLUMN, Shard


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The images to classify.

    Attributes:
        inputs: folders, globs, images and lists of URIs.
        uri_column: name of the column that holds the image's URI, in lists.
        base_uri: base of relative URIs; None for the folder of their list.
        uri_separator: separator of several URIs in one cell; None if a cell holds one URI.
        skip_empty_uri: whether rows without a URI are skipped; otherwise they are dead letters.
        access: allowlist of image locations.
        shard: the shard to classify; None for all rows.
    """

    inputs: tuple[str, ...]
    uri_column: str = URI_COLUMN
    base_uri: str | None = None
    uri_separator: str | None = None
    skip_empty_uri: bool = False
    access: Access = EVERYTHING
    shard: Shard | None = None


@dataclasses.dataclass(frozen=True)
class ReadConfig:
    """Settings for reading images.

    Attributes:
        limits: size limits of an image.
        timeout: time limit for reading an image, including redirects and retries, in seconds.
        access: allowlist of image locations.
    """

    limits: Limits = DEFAULT_LIMITS
    timeout: float = READ_SECONDS
    access: Access = EVERYTHING


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """Settings for running the network.

    Attributes:
        engine: one of `pipeline.records.ENGINES`.
        precision: one of `pipeline.records.PRECISIONS`.
        batch_size: images per batch.
        top_k: number of labels to keep per image.
        threads: number of cores per batch; None to choose automatically.
        callers: number of threads of a worker process that run batches concurrently; None for one per core.
        public_key: PEM text of the public key that verifies the model's signature; None to skip the check.
    """

    engine: str
    precision: str
    batch_size: int
    top_k: int
    threads: int | None = None
    callers: int | None = None
    public_key: str | None = None


@dataclasses.dataclass(frozen=True)
class ClassifyConfig:
    """Settings of a run.

    Attributes:
        manifest: the images to classify.
        model_dir: path of the model directory.
        require_signature: path of the public key that verifies the model's signature; None to skip the check.
        output: path of the run directory.
        inference: settings for running the network.
        max_failure_rate: largest share of dead letters in a successful run.
        keep_going: whether to continue a local run in which too many images have failed for it to succeed.
        previous: run directory whose results are reused, or a folder whose newest finished run is used; None for none.
        overwrite: whether a finished run at `output` may be replaced.
        output_format: file format of the rows, one of `pipeline.records.OUTPUT_FORMATS`.
        rows_per_part: approximate number of rows per file.
        reading: settings for reading images.
        retries: number of times that the run continues with fewer workers after a worker was killed.
        price_per_hour: hourly price of all machines together, for the cost of the run; None to omit the cost.
        inference_hints: Beam's resource hints for the machines that run the network; empty for none.
        cancel_on_interrupt: whether a remote job is canceled if the command is interrupted.
        beam_flags: Beam's own flags, as typed.
    """

    manifest: Manifest
    model_dir: str
    require_signature: str | None
    output: str
    inference: InferenceConfig
    max_failure_rate: float
    keep_going: bool
    previous: str | None
    overwrite: bool
    output_format: str
    rows_per_part: int
    reading: ReadConfig
    retries: int
    price_per_hour: float | None
    inference_hints: Mapping[str, str]
    cancel_on_interrupt: bool
    beam_flags: tuple[str, ...]
