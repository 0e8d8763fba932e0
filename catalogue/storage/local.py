"""Files on a local disk."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import Access
from catalogue.storage.paths import is_visible, temporary_name
from catalogue.storage.values import Admit, Content, Listed, whole

_BUFFER_BYTES = 1 << 18
_NO_SUCH_PATH = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turns errors of the operating system into `StorageError`s."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise StorageError(Reason.PERMISSION_DENIED, str(error)) from error
    except OSError as error:
        reason = Reason.NOT_FOUND if error.errno in _NO_SUCH_PATH else Reason.READ_FAILED
        raise StorageError(reason, str(error)) from error
    except ValueError as error:  # a zero byte in the path
        raise StorageError(Reason.NOT_FOUND, str(error)) from error


class LocalStore:
    """See `catalogue.storage.values.Store`."""

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """Reads a regular file; one that is replaced by a pipe at the last moment does not block."""
        with translated_errors():
            # Checked by name first, since opening a device may have effects; and the very file that was opened.
            _check_regular(os.stat(location), location)
            with open(location, "rb", buffering=0, opener=_open_without_blocking) as file:
                status = os.fstat(file.fileno())
                _check_regular(status, location)
                version = _version(status)
                if unless is not None and version == unless:
                    return None
                admit(min(status.st_size, max_bytes + 1))
                data = whole(file, status.st_size, max_bytes)
        return Content.of(data, version)

    def open(self, location: str) -> BinaryIO:
        """Opens a file."""
        with translated_errors():
            return io.BufferedReader(_File(location), _BUFFER_BYTES)

    def stat(self, location: str) -> Listed | None:
        """See `Store`; links are followed."""
        try:
            status = os.stat(location)
        except (OSError, ValueError):
            return None
        return Listed(location, status.st_size, _version(status)) if stat.S_ISREG(status.st_mode) else None

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """Every file below a folder in the order of names.

        Links are followed, but no folder is walked twice: a link into `folder` is left out, since what it leads to is
        found under its own name. A glob with a certain depth, one without ``**``, takes links as a shell does.
        """
        depth = None if pattern is None or "**" in pattern else pattern.count("/")
        with translated_errors():
            for entry in _WalkOnce(folder) if depth is None else _walk(folder, depth):
                yield _listed(entry)

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        if not os.path.isdir(folder):
            return None
        with translated_errors():
            return sorted(entry.name for entry in os.scandir(folder) if _is_folder(entry))

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """Writes beside the target and renames, so that nobody sees half a file. Makes folders as needed.

        The file is durable: it and its name survive a power failure.
        """
        target = Path(location)
        with translated_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(temporary_name())
            try:
                with new.open("xb") as writer:
                    shutil.copyfileobj(file, writer, 1 << 20)
                    sync_file(writer)
                if not only_if_absent:
                    os.replace(new, target)
                elif not _linked(new, target):
                    return False
                sync_folder(target.parent)
                return True
            finally:
                new.unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """Makes a hard link, or copies the bytes where the file system has no links. The copy is durable."""
        with translated_errors():
            folder = Path(target).parent
            folder.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                with open(source, "rb") as reader, open(target, "wb") as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)
                    sync_file(writer)
            sync_folder(folder)

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        with translated_errors():
            for location in locations:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(location)

    def close(self) -> None:
        """See `Store`: there is nothing to close."""


class _File(io.FileIO):
    """A file opened for reading whose errors are `StorageError`s, at every read."""

    def readinto(self, buffer: Any) -> int:
        with translated_errors():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with translated_errors():
            return super().readall()


def sync_file(file: BinaryIO) -> None:
    """Writes a file to the disk, so that its content survives a power failure."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk, where its file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF):  # network and FUSE file systems
            raise
    finally:
        os.close(descriptor)


def _linked(new: Path, target: Path) -> bool:
    """Gives a file a second name. Returns False if there is a file of that name.

    Without hard links, as on exFAT or in a bucket mounted with FUSE, it is copied, and may be seen before it is whole.
    """
    try:
        os.link(new, target)
    except FileExistsError:
        return False
    except OSError:
        return _copied(new, target)
    return True


def _copied(new: Path, target: Path) -> bool:
    try:
        writer = target.open("xb")
    except FileExistsError:
        return False
    try:
        with writer, new.open("rb") as reader:
            shutil.copyfileobj(reader, writer)
            sync_file(writer)
    except OSError:  # such as a full disk
        target.unlink(missing_ok=True)
        raise
    return True


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _check_regular(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(Reason.NOT_FOUND, f"{path} is not a file but a folder, a pipe or a device")


def _version(status: os.stat_result) -> str:
    """With the time of the last change, which no program can set: a file may replace another of its size and age."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that must not be read
        return False


def _listed(entry: os.DirEntry[str]) -> Listed:
    try:
        status = entry.stat()
    except OSError:  # a link to nowhere, or to itself: whoever reads it gets the reason
        return Listed(entry.path)
    return Listed(entry.path, status.st_size, _version(status))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as scan:
        return sorted(scan, key=lambda entry: entry.name)


def _walk(folder: str, depth: int) -> Iterator[os.DirEntry[str]]:
    """The files below a folder, at most so many folders deep."""
    for entry in _entries(folder):
        if not _is_folder(entry):
            yield entry
        elif depth:
            yield from _walk(entry.path, depth - 1)


class _WalkOnce:
    """The files below a folder, of each folder once, and hidden folders last: a visible link may lead into one.

    Args:
        folder: where to begin.
    """

    def __init__(self, folder: str) -> None:
        self._root = os.path.realpath(folder)
        self._walked, self._hidden = {self._root}, list[os.DirEntry[str]]()
        self._first = _entries(folder)

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        yield from self._below(self._first, is_hidden=False)
        yield from self._below(self._hidden, is_hidden=True)

    def _below(self, entries: Iterable[os.DirEntry[str]], *, is_hidden: bool) -> Iterator[os.DirEntry[str]]:
        stack = [iter(entries)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif not _is_folder(entry):
                yield entry
            elif not is_hidden and not is_visible(entry.name):
                self._hidden.append(entry)
            elif self._is_new(entry):
                stack.append(iter(_entries(entry.path)))

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Whether a folder has not been walked, nor will be under its own name."""
        real = os.path.realpath(entry.path)
        if real in self._walked:
            return False
        inside = real.removeprefix(f"{self._root.rstrip('/')}/")
        if entry.is_symlink() and inside != real and is_visible(inside):
            return False
        self._walked.add(real)
        return True
