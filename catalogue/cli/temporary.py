"""Temporary folder for a command, its libraries and its child processes."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary_folder() -> Iterator[str | None]:
    """Create a folder in ``TMPDIR`` and set ``TMPDIR`` to this folder; remove the folder at the end.

    Folders left by killed commands, which no process locks any longer, are removed at the start.

    Yields:
        The folder; None if it could not be created.
    """
    outer, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    try:
        _remove_abandoned(tempfile.gettempdir())
        folder, lock = _locked_folder()
    except OSError:
        yield None
        return
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    try:
        yield folder
    finally:
        tempfile.tempdir = outer
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder() -> tuple[str, int]:
    """Create a folder; return its path and a descriptor that holds its lock."""
    while True:
        folder = tempfile.mkdtemp(prefix=_prefix())
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):  # some file systems do not support locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):  # another command may have removed it before it was locked
            return folder, lock
        os.close(lock)


def _prefix() -> str:
    """Return a folder name prefix with the host name, because locks on a shared disk may not work across hosts."""
    return f"catalogue-classifier-running-{platform.node()}-"


def _remove_abandoned(base: str) -> None:
    for folder in Path(base).glob(f"{glob.escape(_prefix())}*"):
        with contextlib.suppress(OSError):  # owned by another user, locked, or already removed
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
