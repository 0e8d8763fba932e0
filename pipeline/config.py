"""The settings of a run of ``classify``. They travel to its workers."""

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
        inputs: folders, globs and lists.
        uri_column: the column of a list that names the image.
        base_uri: what relative URIs are relative to; None for the folder of the list they are in.
        uri_separator: what stands between the URIs of one cell; None if there is one URI.
        skip_empty_uri: whether rows without a URI are left out; else they are dead letters.
        access: which images may be read.
        shard: the share of the rows that is classified; None for all.
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
    """How images are read.

    Attributes:
        limits: which images are too large.
        timeout: seconds that reading one may take, with all redirects and retries.
        access: which may be read.
    """

    limits: Limits = DEFAULT_LIMITS
    timeout: float = READ_SECONDS
    access: Access = EVERYTHING


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """How the network is run.

    Attributes:
        engine: one of `pipeline.records.ENGINES`.
        precision: one of `pipeline.records.PRECISIONS`.
        batch_size: images that go through the network at once.
        top_k: labels kept of each image.
        threads: cores for each batch; None to choose.
        callers: threads of a worker process that run batches at the same time; None for one for each of its cores.
        public_key: the content of a PEM file, of the key that the model must be signed with; None for none.
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
    """The settings of a run.

    Attributes:
        manifest: the images to classify.
        model_dir: the model directory.
        require_signature: the path of the public key that it must be signed with; None for none.
        output: the run directory.
        inference: how the network is run.
        max_failure_rate: the share of dead letters above which a run is not a success.
        keep_going: whether a run goes on although too many images have failed for it to be a success.
        previous: a run directory, or a folder of them, whose results are reused; None for none.
        overwrite: whether a finished run at `output` may be replaced.
        output_format: of the rows, one of `pipeline.records.OUTPUT_FORMATS`.
        rows_per_part: about how many rows a file has.
        reading: how images are read.
        retries: how often the run continues with fewer workers if the system kills one.
        price_per_hour: of all machines together, for the cost of the run; None to leave it out.
        inference_hints: Beam's resource hints for the machines that run the network; empty for none.
        cancel_on_interrupt: whether a job of a runner of many machines ends if the command is interrupted.
        beam_flags: Beam's own flags, as they were typed.
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
