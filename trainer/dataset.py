"""Labelled photos: find them, read them, divide them between training and validation."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trainer.console import UserError
from trainer.preprocessing import DEFAULT_LIMITS, ImageError, ImageSpec, Reason, read_image


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
    import tensorflow as tf

    data = data if data.endswith("://") else data.rstrip("/") or data
    if not tf.io.gfile.isdir(data):
        raise UserError(f"{data} is not a folder: --data takes a folder with one sub-folder of photos for each class")
    names = sorted(name.rstrip("/") for name in tf.io.gfile.listdir(data))
    classes = [name for name in names if not name.startswith(".") and tf.io.gfile.isdir(f"{data}/{name}")]
    if not classes:
        raise UserError(
            f"{data} has no sub-folders: --data takes a folder with one sub-folder of photos for each class"
        )
    if len(classes) == 1:
        raise UserError(f"{data} has one class only, {classes[0]!r}: a classifier needs at least two")
    examples = [Example(path, label) for label in classes for path in _files(f"{data}/{label}")]
    empty = sorted(set(classes) - {example.label for example in examples})
    if empty:
        raise UserError(f"{data}: no photos in {', '.join(map(repr, empty))}: add some or remove the folder")
    return examples


def _files(folder: str) -> Iterator[str]:
    import tensorflow as tf

    for parent, _, files in sorted(tf.io.gfile.walk(folder)):
        yield from (f"{parent.rstrip('/')}/{file}" for file in sorted(files) if not file.startswith("."))


def read_bytes(path: str) -> bytes:
    """Reads an image file at any path that `tf.io.gfile` can read. Raises ImageError with the reason."""
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(DEFAULT_LIMITS.max_bytes + 1)  # no more than it takes to refuse it
    except tf.errors.NotFoundError as error:
        raise ImageError(Reason.NOT_FOUND, error.message) from error
    except (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError) as error:
        raise ImageError(Reason.PERMISSION_DENIED, error.message) from error
    except (tf.errors.OpError, OSError) as error:
        raise ImageError(Reason.READ_FAILED, str(error)) from error


def read_photo(example: Example, spec: ImageSpec) -> Photo | Unreadable:
    """Reads and decodes one example."""
    try:
        data = read_bytes(example.path)
        return Photo(example, hashlib.sha256(data).hexdigest(), read_image(data, spec))
    except ImageError as error:
        return Unreadable(example, error)


def read_photos(examples: Iterable[Example], spec: ImageSpec) -> Iterator[Photo | Unreadable]:
    """Reads and decodes examples in their order, on all cores, a bounded number of them ahead of the reader."""
    workers = (os.cpu_count() or 1) + 2  # two more than cores: while some wait for storage, the cores decode
    return _map_ahead(lambda example: read_photo(example, spec), examples, workers, ahead=16 * workers)


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
    mask = np.array([int(content_hash[:8], 16) < fraction * 2**32 for content_hash in content_hashes])
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
