"""Digests that identify the photos of a run: one of URIs, labels and splits, and one of URIs and contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from catalogue.cli.progress import Progress
from catalogue.images.spec import Limits
from trainer.data.examples import Example
from trainer.data.photos import Unreadable, content_hashes

Contents = list[tuple[str, str | None]]
"""URI of each photo and the SHA-256 of its bytes, None if they cannot be read."""


def names_digest(*sides: Sequence[Example]) -> str:
    """Return a hash of the URIs and labels of the photos of each split, in order."""
    return _digest([[(example.uri, example.label) for example in side] for side in sides])


def contents_digest(photos: Contents) -> str:
    """Return a hash of the URIs and content hashes of photos, independent of their order."""
    return _digest(sorted(set(photos), key=repr))


def contents(examples: Iterable[Example], hashes: Iterable[str], unreadable: Iterable[Unreadable]) -> Contents:
    """Combine the content hashes of readable and unreadable photos."""
    kept = [(example.uri, own) for example, own in zip(examples, hashes, strict=True)]
    return [*kept, *((photo.example.uri, photo.content_hash) for photo in unreadable)]


def contents_of(examples: Sequence[Example], limits: Limits) -> Contents:
    """Hash the contents of photos, for example to detect changes since an earlier run."""
    found: Contents = []
    with Progress("hashing", len(examples), "photos") as progress:
        for example, content_hash in zip(examples, content_hashes(examples, limits), strict=True):
            found.append((example.uri, content_hash))
            progress.advance()
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()
