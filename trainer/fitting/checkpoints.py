"""Checkpoints of ``train``, kept until the run finishes, so that an interrupted run can be resumed.

They are in a local or remote folder, which contains:

* ``checkpoints.json``, which identifies the run;
* a file for each fitting stage, and one for the near-duplicates, replaced atomically, so that a killed run leaves the
  previous version;
* ``features/``, the photos encoded by the frozen layers, only in a local folder;
* the report and the label issues, if a quality gate fails.
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
"""Names of the fitting stages and of their checkpoint files."""

REFIT_PREFIX = "refit-"
"""Prefix of the names of stages that ``--refit`` fits again, to the training and validation photos."""

SPLIT = "split"
"""Checkpoint of the near-duplicates that the split depends on."""

_RUN, _META, FEATURES, REPORT = "checkpoints.json", "meta", "features", "report.html"
_STAGES = {f"{prefix}{stage}.npz" for prefix in ("", REFIT_PREFIX) for stage in (HEAD_STAGE, FINAL_STAGE)}
_OURS = {_RUN, FEATURES, REPORT, label_issues.FILE, f"{SPLIT}.npz", *_STAGES}
_NAMES = {
    "image.size": "--image-size",
    "image.resize": "--resize or --views",
    "image.color_space": "color space",
    "limits.min_side": "minimum side of a photo",
    "head.epochs": "--head-epochs",
    "as_it_is": "pretrained head",
    "freeze_batch_norm": "frozen batch normalization",
    "weights_hash": "SHA-256 of --weights",
    "chosen_by": "choice of trials",
}
"""Settings that are not named after their flag, see `_named`."""


@dataclasses.dataclass
class Checkpoints:
    """Checkpoints of a run.

    Attributes:
        folder: folder of the checkpoints; None to write no checkpoints.
        seconds: minimum time between checkpoints, in seconds.
        resumed: whether this run resumes from existing checkpoints.
    """

    folder: str | None
    seconds: float = 30.0
    resumed: bool = False
    _last: float = dataclasses.field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Return whether the next checkpoint is due."""
        return self.folder is not None and time.monotonic() - self._last >= self.seconds

    def save(self, name: str, arrays: Sequence[np.ndarray], meta: dict[str, Any]) -> None:
        """Write or replace the checkpoint `name`; `meta` must be JSON-serializable."""
        if self.folder is None:
            return
        buffer = io.BytesIO()
        named: dict[str, Any] = {f"a{n}": array for n, array in enumerate(arrays)}
        named[_META] = np.array(json.dumps(meta))
        np.savez(buffer, **named)
        storage.write_bytes(f"{self.folder}/{name}.npz", buffer.getvalue())
        self._last = time.monotonic()

    def keep_report(self, page: str, issues: bytes | None) -> str:
        """Save the report and label issues of a model below a quality gate. Return a message with their location."""
        if self.folder is None:
            return ""
        storage.write_text(f"{self.folder}/{REPORT}", page)
        if issues is not None:
            storage.write_bytes(f"{self.folder}/{label_issues.FILE}", issues)
        return (
            f"the report and checkpoints are in {self.folder}: to write the model, repeat the command with --resume "
            "and other --fail-under values"
        )

    def load(self, name: str) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """Return the arrays and metadata of a checkpoint; None if it does not exist."""
        content_of = self.folder and _content(f"{self.folder}/{name}.npz")
        if not content_of:
            return None
        with np.load(io.BytesIO(content_of)) as content:
            return [content[f"a{n}"] for n in range(len(content.files) - 1)], json.loads(str(content[_META]))


def run_of(settings: dict[str, Any], photos: str) -> dict[str, Any]:
    """Return the identity of a run; runs with the same identity can resume from each other's checkpoints.

    Args:
        settings: settings that affect the result.
        photos: digest of the photos, see `trainer.data.identity.names_digest`.
    """
    return settings | {"photos": photos}


def opened(folder: str, run: dict[str, Any], *, resume: bool, seconds: float) -> Checkpoints:
    """Open a folder of checkpoints: resume from the checkpoints in it, or remove them to start over.

    Args:
        folder: folder of the checkpoints.
        run: identity of the run, see `run_of`.
        resume: whether to resume from existing checkpoints.
        seconds: minimum time between checkpoints, in seconds.

    Raises:
        UserError: the folder contains other files, or cannot be read or written; or, with `resume`, its checkpoints
            belong to another run.
    """
    run = json.loads(json.dumps(run))
    try:
        foreign = _foreign(folder)
        if foreign:
            raise UserError(
                f"{folder} contains {foreign!r}, which is not a checkpoint: choose another --checkpoint-dir"
            )
        found = _content(f"{folder}/{_RUN}")
        if found and resume:
            _check_same_run(folder, json.loads(found), run)
            say(f"resuming from the checkpoints of an interrupted run in {folder}")
            return Checkpoints(folder, seconds, resumed=True)
        if found:
            say(f"starting over: removing the checkpoints in {folder}; to continue an interrupted run, give --resume")
        elif resume:
            say(f"no checkpoints to resume from in {folder}: starting from the beginning")
        remove(folder)
        storage.write_bytes(f"{folder}/{_RUN}", _described(run))
    except StorageError as error:
        raise UserError(
            f"the checkpoint folder {folder} cannot be read or written ({error.message}): choose another "
            "--checkpoint-dir"
        ) from error
    return Checkpoints(folder, seconds)


def _names(folder: str) -> list[str]:
    """Return the names of the files and folders in a folder, local or remote."""
    if not storage.is_remote(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return sorted({file.location.removeprefix(f"{folder}/").partition("/")[0] for file in storage.list_files(folder)})


def _foreign(folder: str) -> str | None:
    """Return the name of a file or folder in `folder` that does not belong to checkpoints, or None.

    Without ``checkpoints.json``, nothing counts as a checkpoint: other software also uses names such as ``features``.
    """
    names = _names(folder)
    ours = _OURS if _RUN in names else set()
    return next((name for name in names if name not in ours and not storage.is_temporary(name)), None)


def _check_same_run(folder: str, before: dict[str, Any], run: dict[str, Any]) -> None:
    other = differences(before, run)
    if other:
        raise UserError(
            f"the checkpoints in {folder} belong to another run ({'; '.join(other)}): repeat its command, or omit "
            "--resume to start over"
        )


def differences(before: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """Return descriptions of the differences between two runs.

    Args:
        before, run: identities from `run_of`, possibly read from JSON.
    """
    was, now = (_flat(json.loads(json.dumps(one))) for one in (before, run))
    other = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return [
        "different photos, labels or validation data"
        if name == "photos"
        else f"{_named(name)} {was.get(name)}, now {now.get(name)}"
        for name in other
    ]


def _named(setting: str) -> str:
    """Return the flag that determines a setting of a run, or words if the setting is not the value of a flag.

    Args:
        setting: key of `run_of` or of the identity of a sweep, such as ``main.epochs``.
    """
    setting = setting.removeprefix("options.")
    if setting.startswith("varied."):
        return f"--vary {setting.removeprefix('varied.')}"
    if setting in _NAMES:
        return _NAMES[setting]
    above, _, name = setting.rpartition(".")
    return f"{name.replace('_', ' ')} of the head alone" if above == "head" else f"--{name.replace('_', '-')}"


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries into one with keys such as ``main.epochs``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def remove(folder: str) -> None:
    """Remove the checkpoints in a folder, and a local folder itself if it is then empty. Raises StorageError."""
    names = _names(folder)
    for name in names:
        ours = name in _OURS and name not in (_RUN, FEATURES)
        if ours or (name == FEATURES and _RUN in names) or storage.is_temporary(name):
            storage.remove(f"{folder}/{name}")
    if _RUN in names:  # last: it marks the other files as ours
        storage.remove(f"{folder}/{_RUN}")
    if not storage.is_remote(folder) and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def remove_those_of(folder: str, run: dict[str, Any]) -> None:
    """Remove the checkpoints in a folder if they belong to this run; otherwise leave them."""
    if _content(f"{folder}/{_RUN}") == _described(run):
        remove(folder)


def _described(run: dict[str, Any]) -> bytes:
    return json.dumps(run, indent=1).encode()


def _content(path: str) -> bytes:
    """Return the content of a file, or no bytes if it does not exist."""
    return storage.read_bytes(path) if storage.is_file(path) else b""
