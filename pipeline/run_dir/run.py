"""A run: what is known of it before it starts."""

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
        output: the run directory.
        token: names this attempt; its unfinished files are below ``_temporary/TOKEN``.
        command: as it was typed.
        overwrite: whether a finished run may be replaced.
        started: ISO 8601, UTC.
    """

    output: str
    token: str
    command: tuple[str, ...]
    overwrite: bool
    started: str

    @property
    def temporary(self) -> str:
        """Where the files of this attempt are until they are complete."""
        return f"{self.output}/{TEMPORARY}/{self.token}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Attempt):
    """What is known of a run of ``classify`` before it starts.

    Attributes:
        inputs: what is classified.
        model_dir: where the model is.
        model: what its ``model.json`` says.
        output_format: of the rows, one of `pipeline.records.OUTPUT_FORMATS`.
        rows_per_part: about how many rows a part has.
        top_k: how many labels each row has at least room for.
        limits: which images are too large or too small.
        max_failure_rate: the share of dead letters above which a run is not a success.
        price_per_hour: of all machines together; None if it is not known.
        scratch: a local folder for what is grouped, if Beam's local runner would keep it in memory; None for none.
        previous: run directories whose results are reused.
        shard: the share of the rows that is classified, and of how many; None for all.
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
        """The settings that the results depend on."""
        reads_heic = importlib.util.find_spec("pi_heif") is not None
        return Settings(self.model.id, POLICY, self.top_k, self.limits, reads_heic)

    @property
    def journals(self) -> Journals:
        """Where results of earlier attempts and runs are."""
        return Journals(f"{self.output}/{TEMPORARY}", tuple(f"{path}/{JOURNAL}" for path in self.previous))


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
