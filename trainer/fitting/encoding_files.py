"""Files of encoded photos: memory-mapped arrays, and a log of the finished photos."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogue.cli.errors import UserError
from catalogue.reasons import ImageError, Reason
from trainer.data.examples import Example
from trainer.data.identity import Contents, contents
from trainer.data.photos import Photo, Unreadable

_SPARE_BYTES = 256 * 2**20


def _open_arrays(
    folder: Path, names: Sequence[str], stored: Sequence[tuple[Any, tuple[int, ...]]], rows: int
) -> list[np.ndarray]:
    """Open or create the files that store `rows` rows of values; raise UserError if the disk is too full."""
    wanted = [np.dtype(dtype).itemsize * int(np.prod((rows, *shape), dtype=np.int64)) for dtype, shape in stored]
    paths = [folder / f"{name}.npy" for name in names]
    missing = sum(size for path, size in zip(paths, wanted, strict=True) if not path.exists())
    free = shutil.disk_usage(folder).free
    if missing and missing + _SPARE_BYTES > free:
        raise UserError(
            f"the outputs of the frozen network need {(missing + _SPARE_BYTES) / 1e9:.1f} GB of free space, but the "
            f"disk of {folder} has only {free / 1e9:.1f} GB left: delete files, lower --copies, or choose a "
            "--checkpoint-dir on another disk"
        )
    arrays = []
    for path, (dtype, shape) in zip(paths, stored, strict=True):
        if path.exists():
            arrays.append(np.load(path, mmap_mode="r+"))
        else:
            new = path.with_suffix(".new")
            np.lib.format.open_memmap(new, "w+", dtype, (max(rows, 1), *shape)).flush()
            os.replace(new, path)
            arrays.append(np.load(path, mmap_mode="r+"))
    return arrays


def _replace(path: Path, content: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(content)
    os.replace(new, path)


class _Log:
    """Log with one line per example, which is appended after the example's values are stored."""

    def __init__(self, path: Path, examples: Sequence[Example]) -> None:
        self.kept: list[tuple[Example, str]] = []
        self.unreadable: list[Unreadable] = []
        whole = 0
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            for line, example in zip(file, examples, strict=False):
                if not line.endswith(b"\n"):
                    break  # the run was killed while it wrote this line
                whole += len(line)
                self._remember(example, json.loads(line))
        self._file = path.open("ab")
        self._file.truncate(whole)
        self.done = len(self.kept) + len(self.unreadable)

    def contents(self) -> Contents:
        """Return the photos in the log, readable or not, with their content hashes at the time of logging."""
        return contents([example for example, _ in self.kept], [own for _, own in self.kept], self.unreadable)

    def _remember(self, example: Example, line: dict[str, Any]) -> None:
        if "hash" in line:
            self.kept.append((example, line["hash"]))
        else:
            error = ImageError(Reason[line["reason"]], line["message"])
            self.unreadable.append(Unreadable(example, error, line.get("content")))

    def add(self, photos: Sequence[Photo | Unreadable]) -> None:
        """Record photos as encoded or unreadable."""
        lines: list[dict[str, Any]] = []
        for photo in photos:
            if isinstance(photo, Photo):
                lines.append({"hash": photo.content_hash})
            else:
                error = {"reason": photo.error.reason.name, "message": photo.error.message}
                lines.append(error | {"content": photo.content_hash})
            self._remember(photo.example, lines[-1])
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
