"""Settings of a run, known before it starts."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util

from catalogue.images.spec import POLICY, Limits
from catalogue.model_dir import ModelInfo
from pipeline.journal.chunk_files import Settings
from pipeline.journal.known import Journals
from pipeline.records import Shard
from pipeline.run_dir.layout import JOURNAL, TEMPORARY


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt to write a run directory.

    Attributes:
        output: run directory.
        token: identifier of this attempt; its unfinished files are below ``_temporary/TOKEN``.
        command: command line as typed.
        overwrite: whether a finished run may be replaced.
        started: start time, ISO 8601, UTC.
    """

    output: str
    token: str
    command: tuple[str, ...]
    overwrite: bool
    started: str

    @property
    def temporary(self) -> str:
        """Folder of the unfinished files of this attempt."""
        return f"{self.output}/{TEMPORARY}/{self.token}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Attempt):
    """Settings of a run of ``classify``.

    Attributes:
        inputs: folders, globs, images and lists to classify.
        model_dir: model directory.
        model: content of its ``model.json``.
        output_format: format of the rows, one of `pipeline.records.OUTPUT_FORMATS`.
        rows_per_part: approximate number of rows per part.
        top_k: number of labels per row.
        limits: size limits of images.
        max_failure_rate: share of dead letters above which the run fails.
        price_per_hour: price of all machines together; None if unknown.
        scratch: local folder for grouped data that Beam's local runner would keep in memory; None on other runners.
        previous: run directories whose results are reused.
        shard: the shard to classify; None for all rows.
    """

    inputs: tuple[str, ...]
    model_dir: str
    model: ModelInfo
    output_format: str
    rows_per_part: int
    top_k: int
    limits: Limits
    max_failure_rate: float
    price_per_hour: float | None
    scratch: str | None
    previous: tuple[str, ...]
    shard: Shard | None

    @property
    def settings(self) -> Settings:
        """Settings that the results depend on."""
        reads_heic = importlib.util.find_spec("pi_heif") is not None
        return Settings(self.model.id, POLICY, self.top_k, self.limits, reads_heic)

    @property
    def journals(self) -> Journals:
        """Locations of the results of earlier attempts and runs."""
        return Journals(f"{self.output}/{TEMPORARY}", tuple(f"{path}/{JOURNAL}" for path in self.previous))


def now() -> str:
    """Return the current time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
