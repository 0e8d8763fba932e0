from __future__ import annotations

import datetime
import decimal
from pathlib import Path

import pytest

from catalogue.images.spec import Limits
from catalogue.reasons import StorageError
from pipeline.journal.chunk_files import ChunkWriter, Settings, read_images, read_results
from pipeline.records import FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 5, Limits(max_bytes=100))
FIELDS = {"n": 1, "price": decimal.Decimal("1.10"), "at": datetime.datetime(2026, 11, 25), "tags": ["ü", None, b"x"]}
IMAGES = [
    FinishedImage(
        ListedImage("/a", (("a", FIELDS), ("./a", {}))), Result("/a", "v1", "hash", (("hat", 0.9), ("shoe", 0.1)))
    ),
    FinishedImage(ListedImage("/b", (("b", {}),)), Result("/b", reason="read_failed", transient=True, message="gone")),
    FinishedImage(ListedImage("", (("", {}),)), Result("", reason="bad_manifest_row", message="line 3")),
]


def written(folder: Path, images: list[FinishedImage]) -> str:
    writer = ChunkWriter(str(folder), SETTINGS)
    for image in images:
        writer.write(image)
    assert not list(folder.glob("chunk-*"))
    return writer.close()


@pytest.mark.parametrize("count", [0, 1, 3, 3000])
def test_what_is_written_is_read(tmp_path: Path, count: int) -> None:
    images = (IMAGES * 1000)[:count]
    path = written(tmp_path, images)
    assert list(read_images(path)) == images
    assert read_results(path) == (SETTINGS, [image.result for image in images])


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.99])
def test_a_chunk_that_was_cut_is_damaged(tmp_path: Path, kept: float) -> None:
    data = Path(written(tmp_path, IMAGES)).read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(kept * len(data))])
    for read in (read_results, read_images):
        with pytest.raises(StorageError, match="is damaged"):
            list(read(str(tmp_path / "cut")))


def test_a_chunk_with_a_byte_changed_is_damaged_or_reads_the_same(tmp_path: Path) -> None:
    data = Path(written(tmp_path, IMAGES)).read_bytes()
    path, damaged = tmp_path / "changed", 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            images = list(read_images(str(path)))
        except StorageError:
            damaged += 1
        else:
            assert images == IMAGES
    assert damaged > 0.9 * len(data)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/exploded"),)


def test_results_of_an_untrusted_chunk_are_read_without_its_pickles(tmp_path: Path) -> None:
    """A later run reads only the results of a chunk, which are JSON."""
    bomb = FinishedImage(ListedImage("/a", (("a", {"bomb": Bomb()}),)), Result("/a", top=(("hat", 1.0),)))
    path = written(tmp_path, [bomb])
    assert read_results(path)[1] == [bomb.result]
    assert not Path("/tmp/exploded").exists()
