from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from catalogue.images.spec import Limits
from pipeline.records import FetchedImage, ListedImage
from pipeline.run_dir import report

RECORD: dict[str, Any] = {
    "command": ["python", "-m", "pipeline", "classify", "--input", "my catalogue"],
    "input": ["/catalogue"],
    "model_id": "0123",
    "status": "failed",
    "problems": ["2 of 5 images failed"],
    "counts": {
        "inputs": 5,
        "predictions": 3,
        "dead_letters": {"corrupt": 2},
        "duplicates": 0,
        "left_out": {"hidden_files": 2, "rows_without_uri": 0},
        "reused": {"unread": 20, "conditional": 1, "content": 0},
    },
    "dead_letter_examples": {"corrupt": [{"uri": "x<y>.jpg", "message": "torn & bent"}]},
    "timings": {
        "started": "2026-12-01T11:46:37.439+00:00", "finished": "now", "seconds": 61.4, "images_per_second": 12.3,
        "images_per_second_from_then_on": 45.6,
    },
    "engines": [{"engine": "openvino", "precision": "bfloat16", "device": "CPU", "reason": "", "images": 3}],
    "peak_worker_memory_bytes": 300 * 2**20,
    "max_failure_rate": 0.05,
    "versions": {"python": "3.11.7", "apache-beam": "2.77.0"},
}  # fmt: skip
CLASSES = {
    "hat <b>": {
        "count": 3, "share": 1.0, "mean_score": 0.7, "score_histogram": [0, 3], "share_in_training": 0.4,
        "surest": [{"uri": "a", "location": "/a", "score": 0.9}],
        "least_sure": [{"uri": "b", "location": "/b", "score": 0.5}],
    },
    "shoe": {
        "count": 0, "share": 0.0, "mean_score": None, "score_histogram": None, "share_in_training": 0.6,
        "surest": [], "least_sure": [],
    },
}  # fmt: skip


def test_the_page_shows_classes_dead_letters_and_photos(drawn: Path) -> None:
    found = report.thumbnail(
        FetchedImage(ListedImage("/a", ()), (drawn / "hat/00.jpg").read_bytes(), "hash", None), limits=Limits()
    )
    assert found is not None
    text = report.run_page(RECORD, {"classes": CLASSES}, {"/a": found[1]}, [])
    for words in (
        "2 of 5 images failed",
        "hat &lt;b&gt;",
        "40.0%",
        "70.0%",
        "The file is damaged",
        "12.3",
        "2 skipped",
        "python -m pipeline classify --input &#x27;my catalogue&#x27;",
        "2026-12-01 11:46 UTC",
        "45.6",
        "openvino, bfloat16, on CPU: 3 images",
        '<td>reused results of earlier attempts and runs</td><td class="wide">21<',
        "300 MiB",
        "5.0%",
        "python 3.11.7, apache-beam 2.77.0",
    ):
        assert words in text
    assert "x&lt;y&gt;.jpg: torn &amp; bent" in text
    assert text.count("data:image/jpeg;base64,") == 1  # the photo of /b is missing, but its figure is not
    assert text.count("<figure") == 2
    assert "<script" not in text
    assert "http" not in text


def test_a_run_without_dead_letters() -> None:
    record = RECORD | {"counts": RECORD["counts"] | {"dead_letters": {}}, "problems": []}
    assert "<p>None.</p>" in report.run_page(
        record, {"classes": CLASSES}, {}, ["dead_letters/part-00000-of-00001.jsonl"]
    )


def test_dead_letters_link_to_their_first_files() -> None:
    parts = [f"{folder}/part-{n:05}-of-00023.jsonl" for folder in ("dead_letters", "predictions") for n in range(23)]
    text = report.run_page(RECORD, {"classes": CLASSES}, {}, parts)
    assert re.findall(r'<a href="([^"#]+)"', text) == parts[:20]
    assert " and 3 more files" in text


def test_the_photos_shown_are_those_of_the_most_frequent_classes() -> None:
    shown = list(report.pictured((count, [f"/{count}"]) for count in range(1, report.CLASSES_WITH_PICTURES + 11)))
    assert len(shown) == report.CLASSES_WITH_PICTURES
    assert "/1" not in shown
    assert f"/{report.CLASSES_WITH_PICTURES + 10}" in shown


def test_what_is_no_photo_any_more_has_no_thumbnail() -> None:
    assert (
        report.thumbnail(
            FetchedImage(ListedImage("/a", ()), b"another file took its place", "hash", None), limits=Limits()
        )
        is None
    )
