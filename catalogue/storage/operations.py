"""File operations with one interface for local paths and all remote storage."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from catalogue.cli.errors import UserError
from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import EVERYTHING, Access
from catalogue.storage.new_file import NewFile
from catalogue.storage.parallel import for_each
from catalogue.storage.paths import is_remote, is_unicode, scheme
from catalogue.storage.stores import store_of
from catalogue.storage.values import Admit, Content, Listed

_ANY_SIZE = 1 << 50


def _admit_all(size: int) -> None:
    pass


def read(
    location: str,
    max_bytes: int,
    *,
    admit: Admit = _admit_all,
    unless: str | None = None,
    access: Access = EVERYTHING,
) -> Content | None:
    """Read a whole file or object. Reading stops soon after `max_bytes` if the file is larger.

    Args:
        location: local path or URI.
        max_bytes: largest permitted size in bytes.
        admit: callback that receives the size (an estimate if unknown) before the read, and blocks until that much
            memory is available.
        unless: version that the caller already knows. A file that still has this version is not read.
        access: allowlist of readable locations.

    Returns:
        Bytes, version and hash; None if the version is `unless`.

    Raises:
        StorageError: the file cannot be read, is too large, or is not permitted by `access`.
        UserError: the scheme needs a package that is not installed.
    """
    if not is_unicode(location):
        raise StorageError(Reason.READ_FAILED, f"{location!r} is not UTF-8: rename it")
    access.check(location)
    return store_of(location).read(location, max_bytes, admit, unless, access)


def open_file(path: str) -> BinaryIO:
    """Open a seekable file for reading. Raises StorageError."""
    return store_of(path).open(path)


def read_bytes(path: str) -> bytes:
    """Return the content of a file of any size, from before or after a concurrent replacement. Raises StorageError."""
    content = store_of(path).read(path, _ANY_SIZE, _admit_all, None, EVERYTHING)
    assert content is not None
    return content.data


def read_text(path: str) -> str:
    """Return the content of a UTF-8 file. Raises StorageError or UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8")


def stat(path: str) -> Listed | None:
    """Return size and version of a file; None if it does not exist. Raises StorageError."""
    return store_of(path).stat(path)


def list_files(folder: str, pattern: str | None = None) -> Iterator[Listed]:
    """List every file below a folder, recursively. A remote folder that does not exist yields nothing.

    Args:
        folder: folder to list.
        pattern: glob relative to the folder, see `catalogue.storage.globs`. Files that do not match may be omitted.

    Raises:
        StorageError: the folder or a subfolder cannot be listed.
    """
    return map(Listed.checked, list_all(folder, pattern))


def list_all(folder: str, pattern: str | None = None) -> Iterator[Listed]:
    """List files as `list_files` does, but yield subfolders that cannot be listed instead of raising their errors.

    Raises:
        StorageError: the folder itself cannot be listed.
    """
    return store_of(folder).files(folder, pattern)


def folders(folder: str) -> list[str] | None:
    """Return the names of a folder's direct subfolders; None if the folder does not exist. Raises StorageError."""
    return store_of(folder).folders(folder)


def is_file(path: str) -> bool:
    """Return whether a file exists. Raises StorageError."""
    return stat(path) is not None


def exists(path: str) -> bool:
    """Return whether a file or folder exists. Raises StorageError."""
    if not is_remote(path):
        return os.path.exists(path)
    return is_file(path) or next(list_files(path), None) is not None


def write_bytes(path: str, content: bytes) -> None:
    """Write a file atomically, creating missing folders. Raises StorageError."""
    store_of(path).upload(path, io.BytesIO(content), only_if_absent=False)


def write_text(path: str, content: str) -> None:
    """Write a UTF-8 file atomically, see `write_bytes`. Raises StorageError."""
    write_bytes(path, content.encode("utf-8"))


def create(path: str, content: bytes) -> bool:
    """Create a file only if it does not exist.

    If several callers race, exactly one succeeds, provided that each writes different content, such as a random token.
    (Beam's file systems do not guarantee this.) An existing file is compared with `content`, because it may have been
    written by the first attempt of a retried request.

    Returns:
        Whether the file has this content.

    Raises:
        StorageError: the file cannot be written.
    """
    return store_of(path).upload(path, io.BytesIO(content), only_if_absent=True) or _has_content(path, content)


def _has_content(path: str, content: bytes) -> bool:
    try:
        return read_bytes(path) == content
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:  # removed in the meantime
            return False
        raise


def copy(source: str, target: str) -> None:
    """Copy a file between any two paths. Within one storage, `Store.copy` is used. Raises StorageError."""
    store = store_of(source)
    if store is store_of(target) and scheme(source) == scheme(target):
        store.copy(source, target)
        return
    with open_file(source) as reader, NewFile(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def copy_all(paths: Iterable[tuple[str, str]]) -> None:
    """Copy files in parallel, given pairs of source and target. Raises StorageError."""
    for_each(lambda pair: copy(*pair), paths)


def remove(path: str) -> None:
    """Remove a file, or a folder with its contents, if it exists. Raises StorageError."""
    if is_remote(path):
        store = store_of(path)
        store.delete([file.location for file in list_files(path)])
        if is_file(path):  # or, in a storage that has real folders, an empty folder
            store.delete([path])
        return
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
    except OSError as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error


def check_new_folder(path: str, flag: str) -> None:
    """Check, before any work is done, that an output folder can be created.

    A local folder must be missing or empty, and its nearest existing parent writable. A remote folder must not exist.

    Args:
        path: local or remote path of the folder.
        flag: flag that names the folder, for the error message.

    Raises:
        UserError: the folder exists and is not an empty local folder, or cannot be created or read.
    """
    if is_remote(path):
        try:
            is_there = exists(path)
        except StorageError as error:
            raise UserError(f"{flag} {path} cannot be read: {error.message}") from error
        if is_there:
            raise UserError(f"{flag} {path} exists: choose another folder")
        return
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise UserError(f"{flag} {path} exists: choose another folder")
    above = Path(os.path.abspath(path))
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {path} cannot be created in {above}: choose another folder")


def make_folder(path: str, flag: str) -> None:
    """Create a local folder and its parents. Raises UserError, which names the flag."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be created ({error.strerror}): choose another folder") from error
