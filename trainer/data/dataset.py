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

from catalogue.cli.console import UserError
from catalogue.images.reader import DEFAULT_LIMITS, ImageError, ImageSpec, Limits, read_image
from catalogue.storage import files
from trainer.data import idx, manifest

_DATA_IS = (
    "--data takes a folder with one sub-folder of photos for each class, a list with the columns uri and label "
    f"({', '.join(manifest.SUFFIXES)}), or an IDX file of pictures"
)


@dataclasses.dataclass(frozen=True)
class Example:
    """A photo that somebody gave a label."""

    uri: str
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


def find_examples(data: str, *, labelled: bool = True) -> list[Example]:
    """Lists labelled photos, at any path that `tf.io.gfile` can read.

    Args:
        data: a folder with one sub-folder for each class, every file below which, however deep, is an example of it,
            except those whose name begins with a dot; or a manifest, see `trainer.data.manifest`; or an IDX file of
            pictures
            with its file of labels beside it, see `trainer.data.idx`.
        labelled: whether the labels matter; if not, photos may lie in the folder itself.

    Raises:
        UserError: there is nothing like that.
    """
    data = data.rstrip("/") or data
    if idx.is_images_file(data):
        examples = _in_idx(data)
    elif manifest.is_manifest(data):
        examples = [Example(uri, label) for uri, label in manifest.read(data)]
    else:
        examples = _in_folders(data) if labelled else _below(data)
    return examples


def is_folder(data: str) -> bool:
    """Whether labelled photos are in folders, one for each class."""
    return not idx.is_images_file(data) and not manifest.is_manifest(data)


def _in_folders(data: str) -> list[Example]:
    names = files.folders(data)
    if names is None:
        raise UserError(f"{data} {'is not a folder' if files.exists(data) else 'does not exist'}: {_DATA_IS}")
    classes = sorted(name for name in names if not name.startswith("."))
    if not classes:
        raise UserError(f"{data} has no sub-folders, one for each class: {_DATA_IS}")
    unnamed = [label for label in classes if not files.is_unicode(label)]
    if unnamed:
        raise UserError(f"{data}: the name of the folder {unnamed[0]!r} is not UTF-8: rename it")
    examples = [
        Example(path, label)
        for label in classes
        for path in files.below(f"{data}/{label}")
        if not path.rpartition("/")[2].startswith(".")
    ]
    empty = sorted(set(classes) - {example.label for example in examples})
    if empty:
        raise UserError(f"{data}: no photos in {', '.join(map(repr, empty))}: add some or remove the folder")
    return examples


def _below(folder: str) -> list[Example]:
    """Every photo below a folder; its label is the name of the folder in that one, if it is in any."""
    if files.folders(folder) is None:
        raise UserError(f"{folder} {'is not a folder' if files.exists(folder) else 'does not exist'}: {_DATA_IS}")
    inside = [path.removeprefix(folder).lstrip("/") for path in files.below(folder)]
    found = [path for path in inside if not path.rpartition("/")[2].startswith(".")]
    if not found:
        raise UserError(f"{folder} holds no photos: add some")
    return [Example(f"{folder}/{path}", path.partition("/")[0] if "/" in path else "") for path in found]


def _in_idx(images_file: str) -> list[Example]:
    _, numbers = idx.read_labeled(images_file)
    width = len(str(numbers.max(initial=0)))  # so that the order of the classes is that of the numbers
    return [Example(f"{images_file}#{row}", f"{number:0{width}}") for row, number in enumerate(numbers)]


def own_image_size(data: str) -> int | None:
    """The side in pixels of the pictures in an IDX file, None for photos, which have any size."""
    return max(idx.read_labeled(data)[0].shape[1:]) if idx.is_images_file(data) else None


def data_of(uri: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an example's image file.

    Raises:
        ImageError: it cannot be read, with the reason.
    """
    return idx.as_bmp(idx.pixels(uri)) if idx.is_images_file(uri) else files.read_bytes(uri, limits)


def read_photo(example: Example, spec: ImageSpec, limits: Limits = DEFAULT_LIMITS) -> Photo | Unreadable:
    """Reads and decodes one example."""
    try:
        if idx.is_images_file(example.uri):
            return _read_idx(example, spec)
        data = files.read_bytes(example.uri, limits)
        return Photo(example, hashlib.sha256(data).hexdigest(), read_image(data, spec, limits))
    except ImageError as error:
        return Unreadable(example, error)


def _read_idx(example: Example, spec: ImageSpec) -> Photo:
    pixels = idx.pixels(example.uri)
    if pixels.shape == (spec.size, spec.size):  # what `read_image` would give, in a tenth of the time
        image = np.repeat(pixels[..., np.newaxis], 3, axis=2)
    else:
        image = read_image(idx.as_bmp(pixels), spec)
    return Photo(example, hashlib.sha256(pixels.tobytes()).hexdigest(), image)


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
