"""Files on a local disk or anywhere `tf.io.gfile` can read: list them, and read no more of them than is wanted.

TensorFlow is imported for what is remote only.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from catalogue.cli.console import UserError
from catalogue.images.reader import DEFAULT_LIMITS, ImageError, Limits, Reason


def is_remote(path: str) -> bool:
    """Whether a path begins with a scheme, such as ``gs://``."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def below(folder: str) -> Iterator[str]:
    """Every file below a folder, local or remote, however deep."""
    return _objects_below(folder) if is_remote(folder) else files_below(folder)


def folders(path: str) -> list[str] | None:
    """The names of the folders in a folder, local or remote; None if there is no such folder."""
    if not is_remote(path):
        return [entry.name for entry in os.scandir(path) if entry.is_dir()] if os.path.isdir(path) else None
    import tensorflow as tf

    if not tf.io.gfile.isdir(path):
        return None
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(path))
    return [name for name in names if tf.io.gfile.isdir(f"{path}/{name}")]


def _objects_below(folder: str) -> Iterator[str]:
    import tensorflow as tf

    for parent, _, files in sorted(tf.io.gfile.walk(folder)):
        yield from (f"{parent.rstrip('/')}/{file}" for file in sorted(files))


def files_below(folder: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every file below a local folder, however deep, in the order of their names.

    Links are followed, but not back to a folder they are below.

    Args:
        folder: where to begin.
        above: the real paths of the folders that led here.

    Raises:
        OSError: a folder cannot be listed.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from files_below(path, above | {real})
        else:
            yield path


def exists(path: str) -> bool:
    """Whether there is a file or a folder, local or remote."""
    if not is_remote(path):
        return os.path.exists(path)
    import tensorflow as tf

    return tf.io.gfile.exists(path)


def check_new_folder(path: str, flag: str) -> None:
    """Makes sure that a folder is not there yet, or empty, and on a local disk can be made, before any work is done.

    Args:
        path: of the folder, local or remote.
        flag: that names it, for the message.

    Raises:
        UserError: it is not, or cannot be.
    """
    if is_remote(path):
        import tensorflow as tf

        if tf.io.gfile.exists(path) and (not tf.io.gfile.isdir(path) or tf.io.gfile.listdir(path)):
            raise UserError(f"{flag} {path} exists: choose another folder")
        return
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise UserError(f"{flag} {path} exists: choose another folder")
    above = os.path.abspath(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {path} cannot be made in {above}: choose another folder")


def make_folder(path: str, flag: str) -> None:
    """Makes a local folder, and those above it. Raises UserError, which names the flag."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be made ({error.strerror}): choose another folder") from error


def is_unicode(text: str) -> bool:
    """Whether a name that came from a file system is text, and not bytes in another encoding."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


def read_bytes(path: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Reads an image file on a local disk or anywhere `tf.io.gfile` can read, but not much more of it than the limit.

    Raises:
        ImageError: it cannot be read, with the reason.
    """
    return _read(path, limits.max_bytes + 1)  # no more than it takes to refuse it


def _read(path: str, size: int) -> bytes:
    """Reads `size` bytes at most, all with -1."""
    return _read_object(path, size) if is_remote(path) else _read_file(path, size)


def _read_file(path: str, size: int) -> bytes:
    if not is_unicode(path):
        raise ImageError(Reason.READ_FAILED, "the file's name is not UTF-8: rename it")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(Reason.NOT_FOUND, f"{path} is no file but a folder, a pipe or a device")
        with open(path, "rb") as file:
            return file.read(size)
    except FileNotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (OSError, ValueError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def _read_object(path: str, size: int) -> bytes:
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(size)
    except tf.errors.NotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, error.message) from error
    except (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError) as error:
        raise ImageError(Reason.PERMISSION_DENIED, error.message) from error
    except (tf.errors.OpError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def read_whole(path: str) -> bytes:
    """Reads a file that is no image, such as a manifest, at any path.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return _read(path, -1)
    except ImageError as error:
        raise UserError(f"{path} cannot be read: {error.message}") from error
