from __future__ import annotations

import hashlib
from pathlib import Path

from catalogue.images.spec import ImageSpec
from catalogue.reasons import Reason
from trainer.data.examples import Example
from trainer.data.photos import Photo, Unreadable, read_photos


def test_reads_in_order_and_reports_the_unreadable(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"x")
    good = [str(file) for file in sorted(drawn.rglob("*.jpg"))]
    paths = [*good[:20], str(tmp_path / "broken.jpg"), str(tmp_path / "missing.jpg"), *good[20:]]
    photos = list(read_photos((Example(path, "any") for path in paths), ImageSpec(32)))
    assert [photo.example.uri for photo in photos] == paths
    reasons = [photo.error.reason for photo in photos if isinstance(photo, Unreadable)]
    assert reasons == [Reason.UNKNOWN_FORMAT, Reason.NOT_FOUND]
    first = photos[0]
    assert isinstance(first, Photo)
    assert first.content_hash == hashlib.sha256(Path(paths[0]).read_bytes()).hexdigest()
