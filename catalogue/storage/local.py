"""Store for files on a local disk."""

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
    """Translate operating system errors into `StorageError`s."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise StorageError(Reason.PERMISSION_DENIED, str(error)) from error
    except OSError as error:
        reason = Reason.NOT_FOUND if error.errno in _NO_SUCH_PATH else Reason.READ_FAILED
        raise StorageError(reason, str(error)) from error
    except ValueError as error:  # a null byte in the path
        raise StorageError(Reason.NOT_FOUND, str(error)) from error


class LocalStore:
    """Store for local paths. See `catalogue.storage.values.Store`."""

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """Read a regular file, without blocking if it is replaced by a pipe at the last moment."""
        with translated_errors():
            # Check before opening, since opening a device may have side effects, and again afterwards, since the file
            # may have been replaced.
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
        """See `Store`."""
        with translated_errors():
            return io.BufferedReader(_File(location), _BUFFER_BYTES)

    def stat(self, location: str) -> Listed | None:
        """See `Store`. Symlinks are followed."""
        try:
            status = os.stat(location)
        except (OSError, ValueError):
            return None
        return Listed(location, status.st_size, _version(status)) if stat.S_ISREG(status.st_mode) else None

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """Yield every file below a folder, and every subfolder that cannot be listed, sorted by name in each folder.

        Symlinks are followed, but no folder is walked twice: a link to a visible folder below `folder` is skipped,
        since that folder is listed under its own path. A glob of fixed depth, without ``**``, follows all links, as a
        shell does.
        """
        depth = None if pattern is None or "**" in pattern else pattern.count("/")
        with translated_errors():
            yield from _WalkOnce(folder) if depth is None else _walk(_entries(folder), depth)

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        if not os.path.isdir(folder):
            return None
        with translated_errors():
            return sorted(entry.name for entry in os.scandir(folder) if _is_folder(entry))

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """Write to a temporary file, then rename or hard-link it into place, so that no reader sees a partial file.

        Creates missing folders. The write is durable: the file and its name survive a power failure. On file systems
        without hard links, readers may see a partial file if `only_if_absent` is set, see `_linked`.
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
        """Create a hard link, or copy the bytes if `target` exists or the file system has no hard links.

        The new file is durable. An existing file is replaced atomically.
        """
        with translated_errors():
            folder = Path(target).parent
            folder.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                if not (os.path.exists(target) and os.path.samefile(source, target)):
                    with open(source, "rb") as reader:
                        self.upload(target, reader, only_if_absent=False)
                    return
            sync_folder(folder)

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        with translated_errors():
            for location in locations:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(location)

    def close(self) -> None:
        """See `Store`. There is nothing to close."""


class _File(io.FileIO):
    """File opened for reading, with errors translated into `StorageError`s."""

    def readinto(self, buffer: Any) -> int:
        with translated_errors():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with translated_errors():
            return super().readall()


def sync_file(file: BinaryIO) -> None:
    """Flush a file to disk with fsync, so that its content survives a power failure."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk with fsync, if its file system supports that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF):  # network and FUSE file systems
            raise
    finally:
        os.close(descriptor)


def _linked(new: Path, target: Path) -> bool:
    """Create a hard link `target` to the file `new`. Return False if `target` exists.

    Without hard links, as on exFAT or a bucket mounted with FUSE, the file is copied, and readers may see a part of it.
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
        raise StorageError(Reason.NOT_FOUND, f"{path} is not a regular file but a folder, a pipe or a device")


def _version(status: os.stat_result) -> str:
    """Return size, mtime and ctime. Programs cannot set ctime, so it reveals replacements with equal size and mtime."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symlink loop, or a link into an unreadable folder
        return False


def _listed(entry: os.DirEntry[str]) -> Listed:
    try:
        status = entry.stat()
    except OSError:  # a dangling symlink or a symlink loop: reading the file reports the reason
        return Listed(entry.path)
    return Listed(entry.path, status.st_size, _version(status))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as scan:
        return sorted(scan, key=lambda entry: entry.name)


def _entries_of(folder: os.DirEntry[str]) -> list[os.DirEntry[str]] | Listed:
    """Return the entries of a subfolder, or a `Listed` with the error if the subfolder cannot be listed."""
    try:
        with translated_errors():
            return _entries(folder.path)
    except StorageError as error:
        return Listed(folder.path, error=StorageError(error.reason, f"the folder cannot be listed: {error.message}"))


def _walk(entries: Iterable[os.DirEntry[str]], depth: int) -> Iterator[Listed]:
    """Yield the files among the entries and up to `depth` levels below, and subfolders that cannot be listed."""
    for entry in entries:
        if not _is_folder(entry):
            yield _listed(entry)
        elif depth:
            inner = _entries_of(entry)
            if isinstance(inner, Listed):
                yield inner
            else:
                yield from _walk(inner, depth - 1)


class _WalkOnce:
    """Files below a folder, each folder walked once.

    Hidden folders are walked last, since a visible link may lead into one of them.

    Args:
        folder: root of the walk.
    """

    def __init__(self, folder: str) -> None:
        self._root = os.path.realpath(folder)
        self._walked, self._hidden = {self._root}, list[os.DirEntry[str]]()
        self._first = _entries(folder)

    def __iter__(self) -> Iterator[Listed]:
        yield from self._below(self._first, is_hidden=False)
        yield from self._below(self._hidden, is_hidden=True)

    def _below(self, entries: Iterable[os.DirEntry[str]], *, is_hidden: bool) -> Iterator[Listed]:
        stack = [iter(entries)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif not _is_folder(entry):
                yield _listed(entry)
            elif not is_hidden and not is_visible(entry.name):
                self._hidden.append(entry)
            elif self._is_new(entry):
                inner = _entries_of(entry)
                if isinstance(inner, Listed):
                    yield inner
                else:
                    stack.append(iter(inner))

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Return whether to walk a folder: it has not been walked, and will not be walked under its own path."""
        real = os.path.realpath(entry.path)
        if real in self._walked:
            return False
        inside = real.removeprefix(f"{self._root.rstrip('/')}/")
        if entry.is_symlink() and inside != real and is_visible(inside):
            return False
        self._walked.add(real)
        return True
