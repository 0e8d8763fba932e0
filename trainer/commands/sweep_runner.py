"""Runner of a sweep's trials. Trials that need the same prepared photos share them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from catalogue.cli.errors import CommandFailed, UserError
from trainer.commands.sweep_flags import Values, train_config
from trainer.commands.sweep_trials import Trial, named, preparation
from trainer.commands.trial_page import trial_page
from trainer.data.identity import contents_digest
from trainer.data.sides import Sides
from trainer.fitting import distribution, training
from trainer.fitting.checkpoints import Checkpoints
from trainer.fitting.training import Job, Prepared

_KEPT = 4
"""Number of preparations kept on disk, since Optuna alternates between them."""


class Runner:
    """Runs trials and caches the most recently used preparations.

    Attributes:
        contents: digest of the photos' contents, see `trainer.data.identity`; empty until the photos are read.

    Args:
        arguments: parsed flags of ``sweep``.
        folder: local folder for the outputs of the frozen layers.
        sides: photos of the sweep.
        has_earlier: whether the resumed sweep has trials that did not fail.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path, sides: Sides, *, has_earlier: bool) -> None:
        self._arguments, self._folder, self._sides = arguments, folder, sides
        self._devices = distribution.find()
        self._prepared: dict[str, tuple[Path, Prepared]] = {}
        self._fitted, self.contents = has_earlier, ""

    def __call__(self, values: Values) -> tuple[Trial, str | None]:
        """Run one trial and return it with its HTML page, or with None if it failed.

        Raises:
            UserError: the trial failed, and no trial has succeeded so far.
        """
        config = train_config(self._arguments, values)
        job = Job(config, self._sides.labels, "", self._devices, Checkpoints(None), self._folder, _nobody)
        start = time.monotonic()
        try:
            prepared = self._prepare(job)
            start = time.monotonic()
            result = training.fit(job, prepared)
        except (UserError, CommandFailed) as error:  # for example, a --fine-tune layer that this backbone does not have
            if isinstance(error, UserError) and not self._fitted:
                raise  # no trial has succeeded, so the others are likely to fail in the same way
            return Trial(values, None, None, 0, time.monotonic() - start, str(error)), None
        self._fitted = True
        seconds, fit = time.monotonic() - start, result.final_fit
        best, tests = fit.epochs[fit.best_epoch - 1], prepared.split.test
        trial = Trial(
            values,
            best["val_accuracy"],
            best["val_loss"],
            fit.best_epoch,
            seconds,
            test_accuracy=float(np.mean(fit.test_logits.argmax(1) == prepared.truth[tests])) if len(tests) else None,
            epochs=fit.epochs,
        )
        return trial, trial_page(job, prepared, result, named(values))

    def _prepare(self, job: Job) -> Prepared:
        key = json.dumps(preparation(job.config))
        if key not in self._prepared:
            self._make_room()
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                prepared = training.prepare(
                    dataclasses.replace(job, scratch=folder),
                    self._sides.training,
                    self._sides.validation,
                    self._sides.test,
                )
            except UserError:
                shutil.rmtree(folder)
                raise
            self._prepared[key] = folder, prepared
            self.contents = contents_digest(prepared.encoded.contents)
        self._prepared[key] = self._prepared.pop(key)  # move it to the end: most recently used
        return self._prepared[key][1]

    def _make_room(self) -> None:
        """Remove the least recently used preparations to make room for another one.

        Afterwards there are fewer than `_KEPT`, and twice the size of the largest is free on disk unless none is left.
        """
        sizes = {
            key: sum(file.stat().st_size for file in folder.iterdir()) for key, (folder, _) in self._prepared.items()
        }
        while self._prepared and (
            len(self._prepared) >= _KEPT or shutil.disk_usage(self._folder).free < 2 * max(sizes.values())
        ):
            folder, _ = self._prepared.pop(next(iter(self._prepared)))
            shutil.rmtree(folder)


def _nobody(stage: str, epoch: int, values: dict[str, float]) -> None:
    """Ignore the metrics of an epoch."""
