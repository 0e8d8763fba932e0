"""Small pictures of photos, for reports."""

from __future__ import annotations

import functools

from catalogue.html import page
from catalogue.images.reader import read_thumbnail
from catalogue.reasons import DataError
from trainer.data.photos import data_of

SIDE = 160


@functools.lru_cache(maxsize=1000)  # the pages of a sweep show the same photos
def thumbnail(uri: str) -> bytes | None:
    """A photo as a small JPEG; None if it cannot be read any more, which a report can do without."""
    try:
        return page.jpeg(read_thumbnail(data_of(uri), SIDE))
    except DataError:
        return None
