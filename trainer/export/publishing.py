"""All-or-nothing publication of a finished model directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.model_dir import INFO_FILE
from catalogue.model_dir.info import SIGNATURE_FILE, checksum

_REPLACED = "replaced"


def foreign_files(path: str) -> list[str] | None:
    """List the files in a local or remote model directory that are not part of the model.

    Returns:
        Their paths, relative to the directory; None if its ``model.json`` is missing or damaged.

    Raises:
        StorageError: the directory cannot be read.
    """
    if not storage.is_file(f"{path}/{INFO_FILE}"):
        return None
    try:
        content = json.loads(storage.read_bytes(f"{path}/{INFO_FILE}"))
        intact = content.pop("checksum") == checksum(content)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    if not intact:
        return None
    found = {file.location.removeprefix(f"{path}/") for file in storage.list_files(path)}
    return sorted(found - {INFO_FILE, SIGNATURE_FILE, *content["files"]})


@contextlib.contextmanager
def workplace(path: str) -> Iterator[Path]:
    """Create a local folder for writing a model directory, which `publish` can then move to `path`.

    If `path` is local, the folder is created beside it, so that an unwritable path fails before any work is done. On
    exit, the folder is removed, and if nothing was published, so are the parent folders that were created for it.

    Raises:
        UserError: a local path cannot be written, or another process is writing to it.
    """
    if storage.is_remote(path):
        with tempfile.TemporaryDirectory(prefix="model-") as folder:
            yield Path(folder)
        return
    target = Path(os.path.realpath(path))
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    workplace = target.with_name(f".writing-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(workplace, target)
    except OSError as error:
        why = f"{target.parent} is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"--model-dir {path} cannot be written ({why}): choose another folder") from error
    try:
        yield workplace
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        lock.close()
        for empty in made:
            with contextlib.suppress(OSError):  # not empty once the model is published
                empty.rmdir()


def _locked(folder: Path, target: Path) -> IO[bytes]:
    """Create and lock a folder, and clean up after a process that was killed while using it.

    Returns:
        The open lock file; closing it releases the lock.

    Raises:
        UserError: another process holds the lock.
    """
    lock = None
    while lock is None:
        lock = _try_to_lock(folder)
    if (folder / _REPLACED).exists() and not target.exists():
        (folder / _REPLACED).rename(target)  # the process was killed between the two renames of `publish`
    shutil.rmtree(folder / "model", ignore_errors=True)
    return lock


def _try_to_lock(folder: Path) -> IO[bytes] | None:
    """Create and lock a folder. Returns None if a process that has just ended removed it meanwhile."""
    folder.mkdir(exist_ok=True)
    try:
        lock = (folder / "lock").open("wb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat()):
            return lock
    except BlockingIOError:
        lock.close()
        raise UserError(
            "another command is writing to this --model-dir: wait until it ends, or choose another --model-dir"
        ) from None
    except FileNotFoundError:
        pass
    lock.close()
    return None


def publish(folder: Path, path: str) -> None:
    """Move a finished model directory to `path`, replacing the model directory there.

    On a local disk the directory is renamed, so that readers never see a partial directory. In an object store, and in
    an existing empty folder, which may be a mount point, it is written file by file, with ``model.json`` last, because
    `catalogue.model_dir.read` rejects a directory without this file.
    """
    if storage.is_remote(path):
        _upload(folder, path.rstrip("/"))
        return
    target = os.path.realpath(path)
    if os.path.isdir(target) and not os.listdir(target):
        for name in sorted(os.listdir(folder), key=lambda name: name == INFO_FILE):
            shutil.move(folder / name, target)
    elif os.path.lexists(target):
        replaced = folder.with_name(_REPLACED)
        os.rename(target, replaced)
        try:
            os.rename(folder, target)
        except OSError:
            os.rename(replaced, target)
            raise
    else:
        os.rename(folder, target)


def _upload(folder: Path, path: str) -> None:
    storage.remove(path)
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.name == INFO_FILE)
    for file in files:
        storage.copy(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
