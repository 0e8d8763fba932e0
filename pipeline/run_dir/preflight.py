"""Checks of an output before anything is written to it, and cleanup after a failed attempt."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from catalogue import storage
from catalogue.cli.errors import CommandFailed, Fault, Interrupted, UserError
from catalogue.cli.masking import masked_command
from catalogue.reasons import StorageError
from pipeline.errors import JobGoesOnError, StoppedEarlyError
from pipeline.journal.chunk_names import PREFIX as CHUNK
from pipeline.journal.chunk_names import is_chunk
from pipeline.run_dir.layout import (
    DEAD_LETTERS,
    JOURNAL,
    LOCK_FILE,
    PREDICTIONS,
    RUN_FILE,
    STARTED,
    SUCCESS_FILE,
    TEMPORARY,
)
from pipeline.run_dir.record import read_record
from pipeline.run_dir.run import Attempt

_ATTEMPT = re.compile(rf"{TEMPORARY}/[0-9a-f]{{12}}/")


def check(path: str, *, overwrite: bool) -> None:
    """Reject an output that must not be written to.

    Only a run directory may be replaced. It has a valid ``run.json``, or no ``run.json`` but the files of an attempt,
    and its folders of rows contain only parts. Leftover locks and temporary files are ignored.

    Raises:
        UserError: the output is a file, cannot be read, contains something other than a run, or holds a finished run
            although `overwrite` is False.
    """
    try:
        files = _files(path)
        ours = read_record(path) is not None if RUN_FILE in files else any(map(_ATTEMPT.match, files))
    except (StorageError, ValueError) as error:
        raise UserError(f"--output {path} cannot be read: {error}") from error
    if not storage.is_remote(path) and os.path.isfile(path):
        raise UserError(f"--output {path} is a file: choose a folder")
    folders = tuple(f"{folder}/" for folder in (PREDICTIONS, DEAD_LETTERS, JOURNAL))
    strange = [file for file in files if file.startswith(folders) and "/part-" not in file and not _is_temporary(file)]
    if files and (not ours or strange) and not all(map(_is_trace, files)):
        raise UserError(f"--output {path} exists and is not a run directory: choose another folder")
    if SUCCESS_FILE in files and not overwrite:
        raise UserError(f"--output {path} holds a finished run: choose another folder or give --overwrite")


def _files(path: str) -> list[str]:
    """Return the names of all files below a folder; empty if the folder does not exist."""
    if not storage.is_remote(path) and not os.path.isdir(path):
        return []
    return [file.location.removeprefix(f"{path}/") for file in storage.list_files(path)]


def _is_trace(file: str) -> bool:
    """Return whether a file is a leftover of an attempt that could write nothing else, for example on a full disk."""
    return file.startswith(LOCK_FILE) or _is_temporary(file)


def _is_temporary(file: str) -> bool:
    return storage.is_temporary(file.rpartition("/")[2])


@contextlib.contextmanager
def new_folders(output: str) -> Iterator[None]:
    """Remove the folders that were created for an output if the run fails and they are empty."""
    missing = [] if storage.is_remote(output) else _missing_folders(Path(output))
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # missing, or not empty
                folder.rmdir()
        raise


@contextlib.contextmanager
def attempt(run: Attempt) -> Iterator[None]:
    """Check that the output can be written before anything starts, and clean up if the attempt fails.

    Chunks of finished work are kept, and the error message then ends with the command that continues the run. Nothing
    is removed if the job goes on elsewhere, as the job needs all of its files.

    Args:
        run: attempt to make.

    Raises:
        UserError: the output cannot be written.
    """
    try:
        storage.write_text(f"{run.temporary}/{STARTED}", run.started)
    except (StorageError, ValueError) as error:
        abandon(run)
        raise UserError(f"--output {run.output} cannot be written: {error}") from error
    try:
        yield
    except JobGoesOnError:
        raise
    except Interrupted as error:
        words = _clean_up(run) or "; no work was finished, so nothing is kept"
        raise Interrupted(error.signal, f"{error}{words}") from None
    except StoppedEarlyError as error:  # the same command would stop early again
        words = _clean_up(run, "--keep-going")
        raise StoppedEarlyError(f"{error}{words}") from error
    except (UserError, CommandFailed, Fault) as error:
        words = _clean_up(run)
        raise type(error)(f"{error}{words}") from error
    except BaseException:
        _clean_up(run)
        raise


def _clean_up(run: Attempt, *more: str) -> str:
    """Remove the files of an attempt that a later one cannot use.

    Args:
        run: failed attempt.
        more: additional flags that the command needs to continue.

    Returns:
        The end of an error message, about the files that are kept.
    """
    with contextlib.suppress(StorageError):  # the storage itself may have failed
        is_lost = not run.overwrite and storage.exists(f"{run.output}/{SUCCESS_FILE}")  # another run has finished
        if not is_lost and keep_chunks(run.temporary):
            return f"; finished work is kept; to continue, run: {shlex.join(masked_command([*run.command, *more]))}"
        abandon(run)
    return ""


def keep_chunks(temporary: str) -> bool:
    """Remove the files of an attempt except its chunks and ``started``. Returns whether there are chunks.

    Raises:
        StorageError: the files cannot be listed or removed.
    """
    names = {file.location: file.location.rpartition("/")[2] for file in storage.list_files(temporary)}
    for path, name in names.items():
        if not name.startswith((CHUNK, STARTED)):
            storage.remove(path)
    return any(map(is_chunk, names))


def abandon(run: Attempt) -> None:
    """Remove all files of an attempt."""
    with contextlib.suppress(StorageError):
        storage.remove(run.temporary)
    if not storage.is_remote(run.output):
        with contextlib.suppress(OSError):  # another attempt may have left its chunks there
            Path(run.temporary).parent.rmdir()


def has_chunks(run: Attempt) -> bool:
    """Return whether earlier attempts have left chunks."""
    files = storage.list_files(f"{run.output}/{TEMPORARY}")
    return any(is_chunk(file.location) for file in files)


def _missing_folders(path: Path) -> list[Path]:
    """Return the folders of a path that do not exist, the deepest first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]
