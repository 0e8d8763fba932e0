"""Labelled photos: find them, read them, divide them between training and validation."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trainer.console import UserError
from trainer.model_dir import is_remote
from trainer.preprocessing import DEFAULT_LIMITS, ImageError, ImageSpec, Limits, Reason, read_image


@dataclasses.dataclass(frozen=True)
class Example:
    """A photo that somebody gave a label."""

    path: str
    label: str


@dataclasses.dataclass(frozen=True)
class Photo:
    """An example that was read: its image uint8 [H, W, 3] and the SHA-256 of its bytes, hexadecimal."""

    example: Example
    content_hash: str
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """An example that could not be read, and why."""

    example: Example
    error: ImageError


def find_examples(data: str) -> list[Example]:
    """Lists a folder that has one sub-folder for each class, at any path that `tf.io.gfile` can read.

    Every file below a class's folder, however deep, is an example of it, except those whose name begins with a dot.

    Raises:
        UserError: there is no such folder, it has no classes or one only, or a class has no files.
    """
    data = data.rstrip("/") or data
    names = _folders(data)
    if names is None:
        raise UserError(f"{data} is not a folder: --data takes a folder with one sub-folder of photos for each class")
    classes = sorted(name for name in names if not name.startswith("."))
    if not classes:
        raise UserError(
            f"{data} has no sub-folders: --data takes a folder with one sub-folder of photos for each class"
        )
    if len(classes) == 1:
        raise UserError(f"{data} has one class only, {classes[0]!r}: a classifier needs at least two")
    unnamed = [label for label in classes if not _is_unicode(label)]
    if unnamed:
        raise UserError(f"{data}: the name of the folder {unnamed[0]!r} is not UTF-8: rename it")
    below = _objects_below if is_remote(data) else files_below
    examples = [
        Example(path, label)
        for label in classes
        for path in below(f"{data}/{label}")
        if not path.rpartition("/")[2].startswith(".")
    ]
    empty = sorted(set(classes) - {example.label for example in examples})
    if empty:
        raise UserError(f"{data}: no photos in {', '.join(map(repr, empty))}: add some or remove the folder")
    return examples


def _folders(path: str) -> list[str] | None:
    """The names of the folders in a folder; None if there is no such folder."""
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


def _is_unicode(text: str) -> bool:
    """Whether a name that came from a file system is text, and not bytes in another encoding."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


def read_bytes(path: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Reads an image file on a local disk or anywhere `tf.io.gfile` can read, but not much more of it than the limit.

    Raises:
        ImageError: it cannot be read, with the reason.
    """
    return _read_object(path, limits) if is_remote(path) else _read_file(path, limits)


def _read_file(path: str, limits: Limits) -> bytes:
    if not _is_unicode(path):
        raise ImageError(Reason.READ_FAILED, "the file's name is not UTF-8: rename it")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(Reason.NOT_FOUND, f"{path} is no file but a folder, a pipe or a device")
        with open(path, "rb") as file:
            return file.read(limits.max_bytes + 1)  # no more than it takes to refuse it
    except FileNotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise ImageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (OSError, ValueError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def _read_object(path: str, limits: Limits) -> bytes:
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(limits.max_bytes + 1)
    except tf.errors.NotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, error.message) from error
    except (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError) as error:
        raise ImageError(Reason.PERMISSION_DENIED, error.message) from error
    except (tf.errors.OpError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def read_photo(example: Example, spec: ImageSpec, limits: Limits = DEFAULT_LIMITS) -> Photo | Unreadable:
    """Reads and decodes one example."""
    try:
        data = read_bytes(example.path, limits)
        return Photo(example, hashlib.sha256(data).hexdigest(), read_image(data, spec, limits))
    except ImageError as error:
        return Unreadable(example, error)


def read_photos(
    examples: Iterable[Example], spec: ImageSpec, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Photo | Unreadable]:
    """Reads and decodes examples in their order, on all cores, a bounded number of them ahead of the reader."""
    workers = (os.cpu_count() or 1) + 2  # two more than cores: while some wait for storage, the cores decode
    return _map_ahead(lambda example: read_photo(example, spec, limits), examples, workers, ahead=16 * workers)


def _map_ahead(
    function: Callable[[Example], Photo | Unreadable], items: Iterable[Example], workers: int, ahead: int
) -> Iterator[Photo | Unreadable]:
    remaining = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        waiting: collections.deque[Future[Photo | Unreadable]] = collections.deque()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result


def validation_mask(labels: Sequence[str], content_hashes: Sequence[str], fraction: float) -> np.ndarray:
    """Divides photos between training and validation by their content, class by class.

    A photo goes to validation if its hash lies in the lowest `fraction` of all hashes, so where it goes does not
    change when others are added or files are renamed, and identical files go together. A class that has none in
    validation by this rule gives the photo with its lowest hash; one that has none in training, that with its highest.

    Args:
        labels: of the N photos.
        content_hashes: SHA-256 of the N photos, hexadecimal.
        fraction: of the photos, between 0 and 1.

    Returns:
        bool [N], True for validation.

    Raises:
        UserError: a class has fewer than two different photos.
    """
    names, hashes = np.array(labels), np.array(content_hashes)
    mask = np.array([int(content_hash[:8], 16) < fraction * 2**32 for content_hash in content_hashes], bool)
    forced: dict[str, bool] = {}
    for label in np.unique(names):
        of_class = names == label
        own = np.unique(hashes[of_class])
        if len(own) < 2:
            count = f"{of_class.sum()} photos, all the same" if of_class.sum() > 1 else "one photo"
            raise UserError(
                f"class {str(label)!r} has {count}: it needs at least two different ones, or --validation-data"
            )
        if not mask[of_class].any():
            forced[own[0]] = True
        elif mask[of_class].all():
            forced[own[-1]] = False
    for content_hash, validates in forced.items():
        mask[hashes == content_hash] = validates  # in every class, so that identical files stay together
    return mask
