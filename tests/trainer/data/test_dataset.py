from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from catalogue.cli.console import UserError
from catalogue.images.reader import ImageSpec, Reason
from trainer.data.dataset import Example, Photo, Unreadable, find_examples, read_photos, validation_mask


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")


def test_finds_files_however_deep_but_not_hidden_ones(tmp_path: Path) -> None:
    make(tmp_path, "hat/1.jpg", "hat/new/2019/2.JPG", "hat/.DS_Store", "shoes/3.jpg", ".git/config", "readme.txt")
    found = {(os.path.relpath(example.uri, tmp_path), example.label) for example in find_examples(f"{tmp_path}/")}
    assert found == {("hat/1.jpg", "hat"), ("hat/new/2019/2.JPG", "hat"), ("shoes/3.jpg", "shoes")}


def test_reads_any_file_system_of_tensorflow() -> None:
    import tensorflow as tf

    for path in ("ram://photos/hat/1.jpg", "ram://photos/shoes/2.jpg"):
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"x")
    assert [example.label for example in find_examples("ram://photos")] == ["hat", "shoes"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "no sub-folders"),
        (["1.jpg"], "no sub-folders"),
        (["hat/1.jpg", "shoes/.hidden"], "no photos in 'shoes'"),
    ],
)
def test_refuses_what_cannot_be_learnt_from(tmp_path: Path, files: list[str], words: str) -> None:
    make(tmp_path, *files)
    with pytest.raises(UserError, match=words):
        find_examples(str(tmp_path))


def test_reads_in_order_and_reports_the_unreadable(drawn: Path, tmp_path: Path) -> None:
    make(tmp_path, "broken.jpg")
    good = [str(file) for file in sorted(drawn.rglob("*.jpg"))]
    paths = [*good[:20], str(tmp_path / "broken.jpg"), str(tmp_path / "missing.jpg"), *good[20:]]
    photos = list(read_photos((Example(path, "any") for path in paths), ImageSpec(32)))
    assert [photo.example.uri for photo in photos] == paths
    reasons = [photo.error.reason for photo in photos if isinstance(photo, Unreadable)]
    assert reasons == [Reason.UNKNOWN_FORMAT, Reason.NOT_FOUND]
    first = photos[0]
    assert isinstance(first, Photo)
    assert first.content_hash == hashlib.sha256(Path(paths[0]).read_bytes()).hexdigest()


def hashes(count: int, seed: int = 0) -> list[str]:
    return [hashlib.sha256(f"{seed}/{number}".encode()).hexdigest() for number in range(count)]


def test_split_is_about_the_fraction_in_each_class() -> None:
    labels = ["a"] * 3000 + ["b"] * 1000
    mask = validation_mask(labels, hashes(4000), 0.1)
    assert mask[:3000].mean() == pytest.approx(0.1, abs=0.02)
    assert mask[3000:].mean() == pytest.approx(0.1, abs=0.03)


def test_split_stays_the_same_when_photos_are_added_or_reordered() -> None:
    labels, content = ["a", "b"] * 500, hashes(1000)
    before = dict(zip(content, validation_mask(labels, content, 0.1), strict=True))
    more = list(zip(labels + ["a"] * 700, content + hashes(700, seed=1), strict=True))[::-1]
    after = dict(
        zip((h for _, h in more), validation_mask([lb for lb, _ in more], [h for _, h in more], 0.1), strict=True)
    )
    assert all(after[content_hash] == side for content_hash, side in before.items())


def test_identical_files_never_fall_on_both_sides() -> None:
    content = hashes(6) * 3
    mask = validation_mask(["a", "b", "c"] * 6, content, 0.5)
    for content_hash in set(content):
        assert len(set(mask[np.array(content) == content_hash])) == 1


def test_every_class_has_photos_on_both_sides() -> None:
    for seed in range(20):
        labels = ["large"] * 50 + ["small"] * 2
        mask = validation_mask(labels, hashes(52, seed), 0.1)
        assert sorted(mask[50:]) == [False, True]


@pytest.mark.parametrize(("content", "words"), [(["1" * 64], "one photo"), (["1" * 64] * 3, "3 photos, all the same")])
def test_a_class_needs_two_different_photos(content: list[str], words: str) -> None:
    labels = ["few"] * len(content) + ["many"] * 9
    with pytest.raises(UserError, match=words):
        validation_mask(labels, content + hashes(9), 0.1)
