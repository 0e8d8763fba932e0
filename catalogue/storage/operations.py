"""What can be done with files, wherever they are."""

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
    """Reads a whole file or object, but never much more than `max_bytes` of it.

    Args:
        location: a local path or a URI.
        max_bytes: how many are too many.
        admit: is told how many bytes come before they are read, as far as that is known, and returns when there is room
            for them.
        unless: a version; a file that still has it is not read.
        access: what may be read.

    Returns:
        Bytes, version and hash; None if the version is `unless`.

    Raises:
        StorageError: it cannot be read, or is too large.
        UserError: reading it needs an extra that is not installed.
    """
    if not is_unicode(location):
        raise StorageError(Reason.READ_FAILED, f"{location!r} is not UTF-8: rename it")
    access.check(location)
    return store_of(location).read(location, max_bytes, admit, unless, access)


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading from any position. Raises StorageError."""
    return store_of(path).open(path)


def read_bytes(path: str) -> bytes:
    """The content of a file of any size, as it was at one moment even if others replace it. Raises StorageError."""
    content = store_of(path).read(path, _ANY_SIZE, _admit_all, None, EVERYTHING)
    assert content is not None
    return content.data


def read_text(path: str) -> str:
    """The content of a UTF-8 file. Raises StorageError, or UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8")


def stat(path: str) -> Listed | None:
    """Size and version of a file; None if there is no such file. Raises StorageError."""
    return store_of(path).stat(path)


def list_files(folder: str, pattern: str | None = None) -> Iterator[Listed]:
    """Every file below a folder, however deep; nothing if there is no such remote folder.

    Args:
        folder: where to look.
        pattern: a glob below it, see `catalogue.storage.globs`. What does not match may be left out.

    Raises:
        StorageError: it cannot be listed.
    """
    return store_of(folder).files(folder, pattern)


def folders(folder: str) -> list[str] | None:
    """The names of the folders directly in a folder; None if there is no such folder. Raises StorageError."""
    return store_of(folder).folders(folder)


def is_file(path: str) -> bool:
    """Whether there is such a file. Raises StorageError."""
    return stat(path) is not None


def exists(path: str) -> bool:
    """Whether there is such a file or folder. Raises StorageError."""
    if not is_remote(path):
        return os.path.exists(path)
    return is_file(path) or next(list_files(path), None) is not None


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file that others see whole or not at all, making its folder if need be. Raises StorageError."""
    store_of(path).upload(path, io.BytesIO(content), only_if_absent=False)


def write_text(path: str, content: str) -> None:
    """Writes a UTF-8 file, see `write_bytes`. Raises StorageError."""
    write_bytes(path, content.encode("utf-8"))


def create(path: str, content: bytes) -> bool:
    """Writes a file only if there is none.

    Of several that try at the same time one succeeds, if the content of each is unlike the others', such as a random
    token. The content is compared because a request that is retried may find the file that it has written itself.

    Returns:
        Whether the file has this content.

    Raises:
        StorageError: it cannot be written.
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
    """Copies a file between any two paths: within a storage without reading it here. Raises StorageError."""
    store = store_of(source)
    if store is store_of(target) and scheme(source) == scheme(target):
        store.copy(source, target)
        return
    with open_file(source) as reader, NewFile(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def copy_all(paths: Iterable[tuple[str, str]]) -> None:
    """Copies files, each from a source to a target, several at a time. Raises StorageError."""
    for_each(lambda pair: copy(*pair), paths)


def remove(path: str) -> None:
    """Removes a file, or a folder with all that is in it, if it is there. Raises StorageError."""
    if is_remote(path):
        store = store_of(path)
        store.delete([file.location for file in list_files(path)])
        if is_file(path):  # or a folder that is left empty, where a storage has folders
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
    """Makes sure that a folder is not there yet, or empty, and on a local disk can be made, before any work is done.

    Args:
        path: of the folder, local or remote.
        flag: that names it, for the message.

    Raises:
        UserError: it is not, or cannot be.
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
        raise UserError(f"{flag} {path} cannot be made in {above}: choose another folder")


def make_folder(path: str, flag: str) -> None:
    """Makes a local folder, and those above it. Raises UserError, which names the flag."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be made ({error.strerror}): choose another folder") from error
