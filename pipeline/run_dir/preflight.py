"""Checks of an output before anything is written to it, and clean-up of an attempt that failed."""

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
    """Refuses an output that must not be written to.

    Only a run directory may be replaced: its ``run.json`` is ours, or there is none and the files of an attempt are
    there; its folders of rows hold parts only.

    Raises:
        UserError: it is a file, holds something else than a run, or a finished run and `overwrite` is not set.
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
    """The names of all files below a folder; none if there is no such folder."""
    if not storage.is_remote(path) and not os.path.isdir(path):
        return []
    return [file.location.removeprefix(f"{path}/") for file in storage.list_files(path)]


def _is_trace(file: str) -> bool:
    """Whether a file is all that may be left of an attempt that could write nothing else, as on a full disk."""
    return file.startswith(LOCK_FILE) or _is_temporary(file)


def _is_temporary(file: str) -> bool:
    return storage.is_temporary(file.rpartition("/")[2])


@contextlib.contextmanager
def new_folders(output: str) -> Iterator[None]:
    """Removes the folders that are made for an output if it fails and nothing is in them."""
    missing = [] if storage.is_remote(output) else _missing_folders(Path(output))
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # not there, or not empty
                folder.rmdir()
        raise


@contextlib.contextmanager
def attempt(run: Attempt) -> Iterator[None]:
    """Makes sure that the output can be written before anything is started, and cleans up if the attempt fails.

    Chunks of finished work are kept: the error then names the command that continues. A job that goes on elsewhere
    needs all of its files.

    Args:
        run: what is known.

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
        words = _clean_up(run) or "; nothing had been finished, nothing is kept"
        raise Interrupted(error.signal, f"{error}{words}") from None
    except StoppedEarlyError as error:  # as would be the same command
        words = _clean_up(run, "--keep-going")
        raise StoppedEarlyError(f"{error}{words}") from error
    except (UserError, CommandFailed, Fault) as error:
        words = _clean_up(run)
        raise type(error)(f"{error}{words}") from error
    except BaseException:
        _clean_up(run)
        raise


def _clean_up(run: Attempt, *more: str) -> str:
    """Removes the files of an attempt that a later one has no use for.

    Args:
        run: of the attempt.
        more: flags that the command needs to continue.

    Returns:
        Words about the files that are kept.
    """
    with contextlib.suppress(StorageError):  # the storage may be what failed
        is_lost = not run.overwrite and storage.exists(f"{run.output}/{SUCCESS_FILE}")  # to another run
        if not is_lost and keep_chunks(run.temporary):
            return f"; finished work is kept, to continue: {shlex.join(masked_command([*run.command, *more]))}"
        abandon(run)
    return ""


def keep_chunks(temporary: str) -> bool:
    """Removes the files of an attempt but for its chunks. Returns whether there are any. Raises StorageError."""
    names = {file.location: file.location.rpartition("/")[2] for file in storage.list_files(temporary)}
    for path, name in names.items():
        if not name.startswith((CHUNK, STARTED)):
            storage.remove(path)
    return any(map(is_chunk, names))


def abandon(run: Attempt) -> None:
    """Removes all files of an attempt."""
    with contextlib.suppress(StorageError):
        storage.remove(run.temporary)
    if not storage.is_remote(run.output):
        with contextlib.suppress(OSError):  # another attempt may have left its chunks there
            Path(run.temporary).parent.rmdir()


def has_chunks(run: Attempt) -> bool:
    """Whether earlier attempts have left results."""
    files = storage.list_files(f"{run.output}/{TEMPORARY}")
    return any(is_chunk(file.location) for file in files)


def _missing_folders(path: Path) -> list[Path]:
    """Those of a folder and the folders above it that do not exist, the deepest first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]
