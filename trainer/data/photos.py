"""Photos: read and decode examples, on all cores."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from catalogue import storage
from catalogue.images.reader import read_image
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec, Limits
from catalogue.reasons import DataError
from trainer.data import idx
from trainer.data.examples import Example

Found = TypeVar("Found")


NO_IMAGE = np.zeros((0, 0, 3), np.uint8)
"""In the place of the pixels of photos that are not needed any more."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """An example that was read: its image uint8 [H, W, 3] and the SHA-256 of its bytes, hexadecimal."""

    example: Example
    content_hash: str
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """An example that could not be read, and why. Its bytes have a SHA-256 if the storage gave them."""

    example: Example
    error: DataError
    content_hash: str | None = None


def data_of(uri: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an example's image file.

    Raises:
        DataError: it cannot be read, with the reason.
    """
    return idx.as_bmp(idx.pixels(uri)) if idx.is_images_file(uri) else _content(uri, limits).data


def read_photo(example: Example, spec: ImageSpec, limits: Limits = DEFAULT_LIMITS) -> Photo | Unreadable:
    """Reads and decodes one example."""
    content_hash = None
    try:
        if idx.is_images_file(example.uri):
            return _read_idx(example, spec)
        content = _content(example.uri, limits)
        content_hash = content.content_hash
        return Photo(example, content_hash, read_image(content.data, spec, limits))
    except DataError as error:
        return Unreadable(example, error, content_hash)


def _content(uri: str, limits: Limits) -> storage.Content:
    content = storage.read(uri, limits.max_bytes)
    assert content is not None  # nothing was asked for on a condition
    return content


def _read_idx(example: Example, spec: ImageSpec) -> Photo:
    pixels = idx.pixels(example.uri)
    if pixels.shape == (spec.size, spec.size):  # what `read_image` would give, in a tenth of the time
        image = np.tile(pixels[..., np.newaxis], (len(spec.views), 1, 3))  # all views of a square are the same
    else:
        image = read_image(idx.as_bmp(pixels), spec)
    return Photo(example, _hash_of(pixels), image)


def _hash_of(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def read_photos(
    examples: Iterable[Example], spec: ImageSpec, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Photo | Unreadable]:
    """Reads and decodes examples in their order, on all cores, a bounded number of them ahead of the reader."""
    return _map_ahead(lambda example: read_photo(example, spec, limits), examples)


def content_hashes(examples: Iterable[Example], limits: Limits = DEFAULT_LIMITS) -> Iterator[str | None]:
    """The hash that `read_photo` gives for each example; None where the bytes cannot be read."""
    return _map_ahead(lambda example: _content_hash(example, limits), examples)


def _content_hash(example: Example, limits: Limits) -> str | None:
    try:
        if idx.is_images_file(example.uri):
            return _hash_of(idx.pixels(example.uri))
        return _content(example.uri, limits).content_hash
    except DataError:
        return None


def _map_ahead(function: Callable[[Example], Found], items: Iterable[Example]) -> Iterator[Found]:
    workers = (os.cpu_count() or 1) + 2  # two more than cores: while some wait for storage, the cores decode
    ahead, remaining = 16 * workers, iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        waiting: collections.deque[Future[Found]] = collections.deque()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result
