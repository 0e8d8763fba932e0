from __future__ import annotations

from pathlib import Path

from catalogue.images.spec import Limits
from pipeline.records import FetchedImage, ListedImage
from pipeline.run_dir import report

RECORD = {
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
    },
    "dead_letter_examples": {"corrupt": [{"uri": "x<y>.jpg", "message": "torn & bent"}]},
    "timings": {"finished": "now", "images_per_second": 12.3},
}
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
    text = report.run_page(RECORD, {"classes": CLASSES}, {"/a": found[1]})
    for words in (
        "2 of 5 images failed",
        "hat &lt;b&gt;",
        "40.0%",
        "70.0%",
        "The file is damaged",
        "12.3",
        "2 skipped",
    ):
        assert words in text
    assert "x&lt;y&gt;.jpg: torn &amp; bent" in text
    assert text.count("data:image/jpeg;base64,") == 1  # the photo of /b is missing, but its figure is not
    assert text.count("<figure") == 2
    assert "<script" not in text
    assert "http" not in text


def test_a_run_without_dead_letters() -> None:
    record = RECORD | {"counts": RECORD["counts"] | {"dead_letters": {}}, "problems": []}  # type: ignore[operator]
    assert "<p>None.</p>" in report.run_page(record, {"classes": CLASSES}, {})


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
