"""Reading and decoding of examples on all cores."""

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
"""Placeholder for the pixels of photos that are no longer needed."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """A decoded example: its image, uint8 [H, W, 3], and the hexadecimal SHA-256 of its file, or of its IDX pixels."""

    example: Example
    content_hash: str
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """An example that could not be read, with the error, and the SHA-256 of its bytes if they were available."""

    example: Example
    error: DataError
    content_hash: str | None = None


def data_of(uri: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the bytes of an example's image file.

    Raises:
        DataError: the file cannot be read; the error has the reason.
    """
    return idx.as_bmp(idx.pixels(uri)) if idx.is_images_file(uri) else _content(uri, limits).data


def read_photo(example: Example, spec: ImageSpec, limits: Limits = DEFAULT_LIMITS) -> Photo | Unreadable:
    """Read and decode one example."""
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
    assert content is not None  # None is only for reads with a precondition
    return content


def _read_idx(example: Example, spec: ImageSpec) -> Photo:
    pixels = idx.pixels(example.uri)
    if pixels.shape == (spec.size, spec.size):  # same result as `read_image`, in a tenth of the time
        image = np.tile(pixels[..., np.newaxis], (len(spec.views), 1, 3))  # all views of a square are the same
    else:
        image = read_image(idx.as_bmp(pixels), spec)
    return Photo(example, _hash_of(pixels), image)


def _hash_of(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def read_photos(
    examples: Iterable[Example], spec: ImageSpec, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Photo | Unreadable]:
    """Read and decode examples in order on all cores, prefetching a bounded number of them."""
    return _map_ahead(lambda example: read_photo(example, spec, limits), examples)


def content_hashes(examples: Iterable[Example], limits: Limits = DEFAULT_LIMITS) -> Iterator[str | None]:
    """Yield the content hash of each example, as `read_photo` computes it; None if the bytes cannot be read."""
    return _map_ahead(lambda example: _content_hash(example, limits), examples)


def _content_hash(example: Example, limits: Limits) -> str | None:
    try:
        if idx.is_images_file(example.uri):
            return _hash_of(idx.pixels(example.uri))
        return _content(example.uri, limits).content_hash
    except DataError:
        return None


def _map_ahead(function: Callable[[Example], Found], items: Iterable[Example]) -> Iterator[Found]:
    workers = (os.cpu_count() or 1) + 2  # two more than cores, so that all cores decode while some threads wait
    ahead, remaining = 16 * workers, iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        waiting: collections.deque[Future[Found]] = collections.deque()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result
