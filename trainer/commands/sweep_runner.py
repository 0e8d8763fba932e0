"""Makes the trials of a sweep: photos are prepared once for all trials that need the same."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalogue.cli.errors import CommandFailed, UserError
from trainer.commands.sweep_flags import Values, train_config
from trainer.commands.sweep_trials import Trial, preparation
from trainer.data.examples import Example
from trainer.fitting import distribution, training
from trainer.fitting.checkpoints import Checkpoints
from trainer.fitting.training import Job, Prepared


class Runner:
    """Makes trials; remembers the preparation of the last one.

    Args:
        arguments: of ``sweep``.
        folder: a local one, for the outputs of the frozen layers.
        examples: to train on.
        held_out: to validate on; none to hold out a part of `examples`.
    """

    def __init__(
        self, arguments: argparse.Namespace, folder: Path, examples: Sequence[Example], held_out: Sequence[Example]
    ) -> None:
        self._arguments, self._folder, self._examples, self._held_out = arguments, folder, examples, held_out
        self._labels = tuple(sorted({example.label for example in examples}))
        self._devices = distribution.find()
        self._key: dict[str, Any] = {}
        self._prepared: Prepared | None = None
        self._fitted = False

    def __call__(self, values: Values) -> Trial:
        """Makes one trial."""
        config = train_config(self._arguments, values)
        job = Job(config, self._labels, "", self._devices, Checkpoints(None), self._folder, _nobody)
        start = time.monotonic()
        try:
            prepared = self._prepare(job)
            start = time.monotonic()
            result = training.fit(job, prepared)
        except (UserError, CommandFailed) as error:  # such as a layer to cut behind that this backbone has not
            if isinstance(error, UserError) and not self._fitted:
                raise  # nothing would be lost, and the others are likely to end so, too
            return Trial(values, None, None, 0, time.monotonic() - start, str(error))
        self._fitted = True
        best = result.final_fit.epochs[result.final_fit.best_epoch - 1]
        seconds = time.monotonic() - start
        return Trial(values, best["val_accuracy"], best["val_loss"], result.final_fit.best_epoch, seconds)

    def _prepare(self, job: Job) -> Prepared:
        key = preparation(job.config)
        if self._prepared is None or key != self._key:
            self._prepared, self._key = None, key
            for before in self._folder.iterdir():
                shutil.rmtree(before)
            job = dataclasses.replace(job, scratch=Path(tempfile.mkdtemp(dir=self._folder)))
            self._prepared = training.prepare(job, self._examples, self._held_out)
        return self._prepared


def _nobody(stage: str, epoch: int, values: dict[str, float]) -> None:
    """Watches nothing."""
