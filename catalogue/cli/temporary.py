"""A folder for the temporary files of a command, its libraries and its child processes."""

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
    """Makes a folder in ``TMPDIR`` and points ``TMPDIR`` to it; removes it at the end, with all that is in it.

    Folders of commands that were killed are removed as well: they are the ones that no process has locked.

    Returns:
        The folder; None if there is no place for one.
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
    """A new folder, and a descriptor that holds its lock."""
    while True:
        folder = tempfile.mkdtemp(prefix=_prefix())
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):  # else another command found it before it was locked, and removed it
            return folder, lock
        os.close(lock)


def _prefix() -> str:
    """With the host: locks may not reach from one to another on a disk that they share."""
    return f"catalogue-classifier-running-{platform.node()}-"


def _remove_abandoned(base: str) -> None:
    for folder in Path(base).glob(f"{glob.escape(_prefix())}*"):
        with contextlib.suppress(OSError):  # another user's, locked, or removed in the meantime
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
