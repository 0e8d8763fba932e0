"""Checks of an output before anything is written to it, and clean-up of an attempt that failed."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from catalogue import storage
from catalogue.cli.errors import CommandFailed, Fault, Interrupted, UserError
from catalogue.reasons import StorageError
from pipeline.journal.write_chunks import PREFIX as CHUNK
from pipeline.run_dir.layout import DEAD_LETTERS, JOURNAL, PREDICTIONS, RUN_FILE, STARTED, SUCCESS_FILE, TEMPORARY
from pipeline.run_dir.record import read_record
from pipeline.run_dir.run import Run


def check(path: str, *, overwrite: bool) -> None:
    """Refuses an output that must not be written to.

    What may be replaced is a run directory and nothing else: ``run.json`` is ours, or there is none yet and the files
    of an attempt that was killed are there; its folders of rows hold parts only.

    Raises:
        UserError: it is a file, holds something else than a run, or a finished run and `overwrite` is not set.
    """
    try:
        files = _files(path)
        ours = read_record(path) is not None if RUN_FILE in files else any(map(_is_unfinished, files))
    except (StorageError, ValueError) as error:
        raise UserError(f"--output {path} cannot be read: {error}") from error
    if not storage.is_remote(path) and os.path.isfile(path):
        raise UserError(f"--output {path} is a file: choose a folder")
    folders = tuple(f"{folder}/" for folder in (PREDICTIONS, DEAD_LETTERS, JOURNAL))
    strange = [file for file in files if file.startswith(folders) and "/part-" not in file]
    if files and (not ours or strange):
        raise UserError(f"--output {path} exists and is no run directory: choose another folder")
    if SUCCESS_FILE in files and not overwrite:
        raise UserError(f"--output {path} holds a finished run: choose another folder or give --overwrite")


def _files(path: str) -> list[str]:
    """The names of all files below a folder; none if there is no such folder."""
    if not storage.is_remote(path) and not os.path.isdir(path):
        return []
    return [file.location.removeprefix(f"{path}/") for file in storage.list_files(path)]


def _is_unfinished(file: str) -> bool:
    return file.startswith(f"{TEMPORARY}/") and file.endswith(f"/{STARTED}")


@contextlib.contextmanager
def attempt(run: Run, *, here: bool) -> Iterator[None]:
    """Makes sure that the output can be written before anything is started, and cleans up if the attempt fails.

    Chunks of finished work are kept: the error then names the command that continues.

    Args:
        run: what is known.
        here: whether the job ends with this process. One that runs elsewhere may go on, and needs its files.

    Raises:
        UserError: the output cannot be written.
    """
    made = [] if storage.is_remote(run.output) else _missing_folders(Path(run.temporary))
    try:
        try:
            storage.write_text(f"{run.temporary}/{STARTED}", run.started)
        except (StorageError, ValueError) as error:
            raise UserError(f"--output {run.output} cannot be written: {error}") from error
        yield
    except UserError:
        _abandon(run, made)
        raise
    except Interrupted as error:
        words = _clean_up(run, made) if here else ""
        raise Interrupted(error.signal, f"{error}{words}") from None
    except (CommandFailed, Fault) as error:
        words = _clean_up(run, made) if here else ""
        raise type(error)(f"{error}{words}") from error
    except BaseException:
        if here:
            _clean_up(run, made)
        raise


def _clean_up(run: Run, made: Iterable[Path]) -> str:
    """Removes the files of an attempt that a later one has no use for. Returns words about those that it has."""
    try:
        files = [file.location for file in storage.list_files(run.temporary)]
        useless = [path for path in files if not path.rpartition("/")[2].startswith((CHUNK, STARTED))]
        if any(path.rpartition("/")[2].startswith(CHUNK) for path in files):
            for path in useless:
                storage.remove(path)
            return f"; finished work is kept, to continue: {shlex.join(run.command)}"
    except StorageError:  # the storage may be what failed
        return ""
    _abandon(run, made)
    return ""


def _abandon(run: Run, made: Iterable[Path]) -> None:
    with contextlib.suppress(StorageError):
        storage.remove(run.temporary)
    for folder in made:
        with contextlib.suppress(OSError):  # not there, or no longer empty
            folder.rmdir()


def _missing_folders(path: Path) -> list[Path]:
    """Those of a folder and the folders above it that do not exist, the deepest first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]
