"""What a run of ``train`` leaves beside the model directory until it is done, so that a later one can go on from there.

A folder, local or remote, with ``checkpoints.json``, which says what is being trained, and a file for each stage of
fitting. Each file is replaced in one step, so that a run that is killed leaves the one before it.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.reasons import StorageError
from trainer.data import label_issues

HEAD_STAGE, FINAL_STAGE = "head", "network"
"""The stages of fitting, as the files of their checkpoints are called."""

REFIT_PREFIX = "refit-"
"""Before the name of a stage that is fitted once more, to all photos."""

SPLIT = "split"
"""The near-duplicates that the split depends on."""

_RUN, _META, FEATURES, REPORT = "checkpoints.json", "meta", "features", "report.html"
_STAGES = {f"{prefix}{stage}.npz" for prefix in ("", REFIT_PREFIX) for stage in (HEAD_STAGE, FINAL_STAGE)}
_OURS = {_RUN, FEATURES, REPORT, label_issues.FILE, f"{SPLIT}.npz", *_STAGES}


@dataclasses.dataclass
class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        folder: where they are; None to keep none.
        seconds: how long after one the next is due.
        resumed: whether they were there before this run.
    """

    folder: str | None
    seconds: float = 30.0
    resumed: bool = False
    _last: float = dataclasses.field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self.folder is not None and time.monotonic() - self._last >= self.seconds

    def save(self, name: str, arrays: Sequence[np.ndarray], meta: dict[str, Any]) -> None:
        """Replaces the checkpoint `name`; `meta` is anything JSON can write."""
        if self.folder is None:
            return
        buffer = io.BytesIO()
        named: dict[str, Any] = {f"a{n}": array for n, array in enumerate(arrays)}
        named[_META] = np.array(json.dumps(meta))
        np.savez(buffer, **named)
        storage.write_bytes(f"{self.folder}/{name}.npz", buffer.getvalue())
        self._last = time.monotonic()

    def keep_report(self, page: str, issues: bytes | None) -> str:
        """Keeps the report of a model that is not written, and its list of label issues. Says where they are."""
        if self.folder is None:
            return ""
        storage.write_text(f"{self.folder}/{REPORT}", page)
        if issues is not None:
            storage.write_bytes(f"{self.folder}/{label_issues.FILE}", issues)
        return (
            f"its report and checkpoints are in {self.folder}, and with --resume and other gates the same command "
            "writes the model"
        )

    def load(self, name: str) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """The arrays and the meta of a checkpoint, None if there is none."""
        content_of = self.folder and _content(f"{self.folder}/{name}.npz")
        if not content_of:
            return None
        with np.load(io.BytesIO(content_of)) as content:
            return [content[f"a{n}"] for n in range(len(content.files) - 1)], json.loads(str(content[_META]))


def run_of(settings: dict[str, Any], photos: str) -> dict[str, Any]:
    """Identifies a run: runs that agree in it may go on from each other's checkpoints.

    Args:
        settings: those that change the result.
        photos: see `trainer.data.identity.names_digest`.
    """
    return settings | {"photos": photos}


def opened(folder: str, run: dict[str, Any], *, resume: bool, seconds: float) -> Checkpoints:
    """The checkpoints in a folder, which is made or emptied unless the run in it is to be gone on with.

    Args:
        folder: where they are.
        run: what is trained, on what, how.
        resume: whether to go on with what is there.
        seconds: how long after a checkpoint the next is due.

    Raises:
        UserError: what is there is another run's, or cannot be written.
    """
    run = json.loads(json.dumps(run))
    try:
        foreign = _foreign(folder)
        if foreign:
            raise UserError(
                f"{folder} holds something else than checkpoints, {foreign!r}: choose another --checkpoint-dir"
            )
        found = _content(f"{folder}/{_RUN}")
        if found and resume:
            _check_same_run(folder, json.loads(found), run)
            say(f"going on with what an interrupted run left in {folder}")
            return Checkpoints(folder, seconds, resumed=True)
        if found:
            say(f"beginning anew: what an interrupted run left in {folder} is removed; --resume would have gone on")
        elif resume:
            say(f"nothing to go on with in {folder}: beginning")
        remove(folder)
        storage.write_bytes(f"{folder}/{_RUN}", _described(run))
    except StorageError as error:
        raise UserError(f"cannot write checkpoints to {folder} ({error.message}): give --checkpoint-dir") from error
    return Checkpoints(folder, seconds)


def _names(folder: str) -> list[str]:
    """The names of the files and folders in a folder, local or remote."""
    if not storage.is_remote(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return sorted({file.location.removeprefix(f"{folder}/").partition("/")[0] for file in storage.list_files(folder)})


def _foreign(folder: str) -> str | None:
    """The name of something in a folder that is no part of checkpoints, if there is any.

    Without the file that says what is trained nothing in it is: others, too, call a folder ``features``.
    """
    names = _names(folder)
    ours = _OURS if _RUN in names else set()
    return next((name for name in names if name not in ours and not storage.is_temporary(name)), None)


def _check_same_run(folder: str, before: dict[str, Any], run: dict[str, Any]) -> None:
    other = differences(before, run)
    if other:
        raise UserError(
            f"the checkpoints in {folder} are of another run ({'; '.join(other)}): give the same command, or leave "
            "--resume out to begin anew"
        )


def differences(before: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """Says in what two runs differ.

    Args:
        before, run: what `run_of` gave, or the same from JSON.
    """
    was, now = (_flat(json.loads(json.dumps(one))) for one in (before, run))
    found = [
        f"{name} {was.get(name)}, now {now.get(name)}" for name in {**was, **now} if was.get(name) != now.get(name)
    ]
    return ["other photos, labels or validation data" if one.startswith("photos ") else one for one in found]


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """A dictionary of dictionaries as one, with names such as ``main.epochs``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def remove(folder: str) -> None:
    """Removes the checkpoints in a folder, and the folder if that leaves it empty. Raises StorageError."""
    names = _names(folder)
    for name in names:
        ours = name in _OURS and name not in (_RUN, FEATURES)
        if ours or (name == FEATURES and _RUN in names) or storage.is_temporary(name):
            storage.remove(f"{folder}/{name}")
    if _RUN in names:  # last: while it is there the others are known to be ours
        storage.remove(f"{folder}/{_RUN}")
    if not storage.is_remote(folder) and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def remove_those_of(folder: str, run: dict[str, Any]) -> None:
    """Removes the checkpoints in a folder if they are of this run, and leaves those of another alone."""
    if _content(f"{folder}/{_RUN}") == _described(run):
        remove(folder)


def _described(run: dict[str, Any]) -> bytes:
    return json.dumps(run, indent=1).encode()


def _content(path: str) -> bytes:
    """The content of a file, nothing if there is none."""
    return storage.read_bytes(path) if storage.is_file(path) else b""
