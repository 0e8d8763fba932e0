"""Small pictures of photos for reports: whole, and as the network sees them."""

from __future__ import annotations

import functools

import numpy as np

from catalogue.html import page
from catalogue.images.reader import read_thumbnail
from catalogue.images.spec import ImageSpec
from catalogue.reasons import DataError
from trainer.data.examples import Example
from trainer.data.photos import Photo, data_of, read_photo

SIDE = 160


@functools.lru_cache(maxsize=1000)  # the pages of a sweep show the same photos
def thumbnail(uri: str) -> bytes | None:
    """Return a photo as a small JPEG; None if it can no longer be read, which a report tolerates."""
    try:
        return page.jpeg(read_thumbnail(data_of(uri), SIDE))
    except DataError:
        return None


def as_network_input(uri: str, spec: ImageSpec) -> list[bytes]:
    """Return the network's input for a photo: a JPEG per view, or an empty list if the photo cannot be read."""
    photo = read_photo(Example(uri, ""), spec)
    if not isinstance(photo, Photo):
        return []
    return [page.jpeg(view) for view in np.split(photo.image, len(spec.views))]
