from __future__ import annotations

import collections
import decimal
import pickle
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from catalogue.cli.masking import masked_key
from catalogue.images.spec import Limits
from pipeline.journal.chunk_files import ChunkWriter, Settings
from pipeline.journal.saved import SavedResults
from pipeline.manifest.grouping import GroupByLocation, _PackFn, _UnpackFn, listed_images, pack, packets
from pipeline.manifest.partitions import partition_of
from pipeline.records import FinishedImage, ListedImage, ManifestRow, Result

SETTINGS = Settings("model", 3, 5, Limits())


def test_packed_rows_come_back_each_image_once() -> None:
    fields = [{"n": n, "price": decimal.Decimal("1.10"), "tags": ["a", None]} for n in range(5)]
    listed = [ManifestRow(uri, f"/{name}.jpg", fields[n]) for n, (name, uri) in enumerate(
        [("a", "/a.jpg"), ("b", "b.jpg"), ("a", "./a.jpg"), ("ü", "/ü.jpg"), ("b", "b.jpg")]
    )]  # fmt: skip
    found = {image.location: image.rows for image in listed_images([pack(listed[:3]), pack(listed[3:])])}
    assert found == {
        "/a.jpg": (("/a.jpg", fields[0]), ("./a.jpg", fields[2])),
        "/b.jpg": (("b.jpg", fields[1]), ("b.jpg", fields[4])),
        "/ü.jpg": (("/ü.jpg", fields[3]),),
    }


def test_rows_meet_the_known_results_of_their_image() -> None:
    rows = [ManifestRow("/a", "/a", {}, "v2"), ManifestRow("b", "/b", {})]
    known = [Result("/a", "v1", "hash", (("hat", 0.5),)), Result("/a", reason="read_failed"), Result("/gone", "v")]
    expected = [ListedImage("/a", (("/a", {}),), "v2", tuple(known[:2])), ListedImage("/b", (("b", {}),))]
    assert list(listed_images([pack(known), pack(rows)])) == expected
    assert list(listed_images([pack(rows), pack(known)])) == expected


def test_images_whose_locations_differ_only_in_masked_secrets_stay_apart() -> None:
    uris = [f"https://shop/image?key={number}" for number in range(3)]
    known = [Result(masked_key(uri), f"v{number}") for number, uri in enumerate(uris)]
    assert not any("key=1" in result.location for result in known)
    found = listed_images([pack([ManifestRow(uri, uri, {}) for uri in uris]), pack(known)])
    assert {image.location: image.known for image in found} == {
        uri: (result,) for uri, result in zip(uris, known, strict=True)
    }


def uris_of(count: int) -> list[str]:
    return [f"gs://shop-images/catalogue/{number // 1000:04}/{number:07}.jpg" for number in range(count)]


def test_a_row_takes_few_bytes_while_it_is_grouped() -> None:
    """A runner may keep all rows in memory; unpacked rows took about a thousand bytes each."""
    uris = uris_of(130_000)
    fn = _PackFn(None)
    fn.start_bundle()
    blocks = [block for uri in uris for block in fn.process(ManifestRow(uri, uri, {}))]
    blocks += [windowed.value for windowed in fn.finish_bundle()]
    assert sum(len(block) for _, block in blocks) / len(uris) < 30
    assert max(collections.Counter(partition for partition, _ in blocks).values()) <= 8
    assert sorted(image.location for _, block in blocks for image in listed_images([block])) == uris


def test_the_local_runner_groups_places_in_files(tmp_path: Path) -> None:
    """Rows and known results are shuffled as positions in files, so that long rows do not enlarge the shuffle."""
    uris = uris_of(3000)
    long = {"text": "x" * 1000}
    results = [Result(uri, f"v{number}") for number, uri in enumerate(uris) if number % 3 == 0]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = pipeline | "rows" >> beam.Create([ManifestRow(uri, uri, long) for uri in uris * 2])
        known = pipeline | "known" >> beam.Create(results)
        listed = (rows, known) | GroupByLocation(str(tmp_path), SavedResults(str(tmp_path / "none"), SETTINGS))
        found = listed | beam.Map(lambda image: (image.location, len(image.rows), image.known))
        versions = {result.location: (result,) for result in results}
        assert_that(found, equal_to([(uri, 2, versions.get(uri, ())) for uri in uris]))
    assert list(tmp_path.glob("blocks-*"))
    fn = _PackFn(str(tmp_path))
    fn.start_bundle()
    assert not [block for uri in uris for block in fn.process(ManifestRow(uri, uri, long))]
    places = [windowed.value[1] for windowed in fn.finish_bundle()]
    assert {type(place) for place in places} == {tuple}
    assert sum(len(pickle.dumps(place)) for place in places) < 200 * 1024


def packets_of(uris: list[str]) -> list[tuple[int, list[bytes]]]:
    partitions = collections.defaultdict(list)
    for uri in uris:
        partitions[partition_of(uri)].append(ManifestRow(uri, uri, {"n": uri[-8:]}, "v"))
    return [(number, [block]) for rows in partitions.values() for number, block in packets([pack(rows)])]


def test_an_engine_gets_packets_of_images() -> None:
    uris = uris_of(200_000)
    found = packets_of(uris)
    assert sum(len(block) for _, (block,) in found) / len(uris) < 30
    fn = _UnpackFn(SavedResults("/none", SETTINGS))
    fn.start_bundle()
    images = [image for packet in found for image in fn.process(packet)]
    assert sorted(image.location for image in images) == uris
    assert images[0].rows == ((images[0].location, {"n": images[0].location[-8:]}),)
    assert {image.packet for image in images} == {number for number, _ in found}


@pytest.mark.parametrize("count", [3_000, 200_000])
def test_what_an_earlier_attempt_at_a_bundle_has_saved_is_known_to_the_next(tmp_path: Path, count: int) -> None:
    """The packets reach the next attempt in another order."""
    uris = uris_of(count)
    found = packets_of(uris)[:: max(1, count // 20_000)]
    fn = _UnpackFn(SavedResults(str(tmp_path), SETTINGS))
    fn.start_bundle()
    images = [image for packet in found for image in fn.process(packet)]
    assert not any(image.known for image in images)
    saved = images[: len(images) * 2 // 3]
    for start in range(0, len(saved), 500):
        writer = ChunkWriter(str(tmp_path), SETTINGS)
        for image in saved[start : start + 500]:
            writer.write(FinishedImage(image, Result(image.location, "v", "hash", (("hat", 0.5),))))
        writer.close()
    assert all(path.name.endswith("many") == (count == 3_000) for path in tmp_path.iterdir())
    fn.start_bundle()
    again = [image for packet in reversed(found) for image in fn.process(packet)]
    assert {image.location for image in again if image.known} == {image.location for image in saved}
    assert len(again) == len(images)
