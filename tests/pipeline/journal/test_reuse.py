from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from catalogue import storage
from catalogue.images.spec import Limits
from pipeline.journal.chunk_files import Settings
from pipeline.journal.reuse import reused_unread, usable, version_to_ask_for, with_content
from pipeline.records import CONTENT, UNREAD, FinishedImage, ListedImage, Result

SETTINGS = Settings("model", 3, 2, Limits(1000, 1000, 4))
HAT = Result("/a", "v1", "hash", (("hat", 0.75), ("shoe", 0.25)))
CORRUPT = Result("/a", "v1", "hash", reason="corrupt", message="torn")
TOO_LARGE = Result("/a", "v1", "hash", reason="too_many_pixels", message="large")
MISSING = Result("/a", reason="not_found", message="gone")
FAILED = Result("/a", reason="read_failed", transient=True, message="reset")
ALL = [HAT, CORRUPT, TOO_LARGE, MISSING, FAILED]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [HAT, CORRUPT, TOO_LARGE, FAILED]),
        ({"model_id": "other"}, [CORRUPT, TOO_LARGE, FAILED]),
        ({"policy": 4}, [FAILED]),
        ({"top_k": 1}, [HAT._replace(top=(("hat", 0.75),)), CORRUPT, TOO_LARGE, FAILED]),
        ({"top_k": 3}, [CORRUPT, TOO_LARGE, FAILED]),
        ({"limits": Limits(2000, 1000, 4)}, [HAT, CORRUPT, FAILED]),
        ({"limits": Limits(1000, 1000, 2)}, [HAT, CORRUPT, FAILED]),
        ({"limits": Limits(1000, 999, 4)}, [FAILED]),
        ({"reads_heic": True}, [HAT, FAILED]),
    ],
)
def test_other_settings_redo_what_they_affect(changes: dict[str, object], expected: list[Result]) -> None:
    assert list(usable(ALL, SETTINGS, dataclasses.replace(SETTINGS, **changes))) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [-3.0, 1.5, float("nan"), "high", None])
def test_what_is_not_a_probability_is_not_reused(score: object) -> None:
    assert list(usable([HAT._replace(top=(("hat", score),))], SETTINGS, SETTINGS)) == []  # type: ignore[arg-type]


def test_a_model_with_few_classes_has_no_more_labels_to_give() -> None:
    then = dataclasses.replace(SETTINGS, top_k=5)
    assert list(usable([HAT], then, dataclasses.replace(then, top_k=10))) == [HAT]


def listed(version: str | None = None, *known: Result, location: str = "gs://b/a") -> ListedImage:
    return ListedImage(location, (("a", {}),), version, known)


def test_an_image_is_reused_unread_where_a_listing_shows_its_version() -> None:
    other = HAT._replace(version="v0")
    image = listed("v1", other, HAT)
    assert reused_unread(image) == FinishedImage(image, HAT, UNREAD)
    assert reused_unread(listed("v2", HAT)) is None
    assert reused_unread(listed("v1", FAILED, MISSING)) is None
    assert reused_unread(listed(None, HAT)) is None
    assert reused_unread(listed("v1")) is None


def test_a_local_file_is_checked_for_changes(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    storage.write_text(path, "bytes")
    found = storage.stat(path)
    assert found
    known = HAT._replace(version=found.version)
    image = listed(None, known, location=path)
    assert reused_unread(image) == FinishedImage(image, known, UNREAD)
    os.utime(path)
    assert reused_unread(image) is None
    os.unlink(path)
    assert reused_unread(image) is None


def test_a_file_replaced_by_one_of_the_same_size_and_age_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before, version = path.stat(), storage.stat(str(path))
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = storage.stat(str(path))
    assert version
    assert after
    assert (after.size, path.stat().st_mtime_ns) == (version.size, before.st_mtime_ns)
    assert after.version != version.version


def test_identical_bytes_are_reused_with_their_new_version() -> None:
    image = listed("v2", HAT)
    same, other = storage.Content(b"", "v2", "hash"), storage.Content(b"", "v2", "another")
    assert with_content(image, same, CONTENT) == FinishedImage(image, HAT._replace(version="v2"), CONTENT)
    assert with_content(image, other, CONTENT) is None
    assert with_content(listed("v2", FAILED), same, CONTENT) is None


def test_a_conditional_read_names_a_known_version_unless_a_listing_gave_one() -> None:
    assert version_to_ask_for(listed(None, FAILED, HAT)) == "v1"
    assert version_to_ask_for(listed("v2", HAT)) is None
    assert version_to_ask_for(listed(None, FAILED)) is None
