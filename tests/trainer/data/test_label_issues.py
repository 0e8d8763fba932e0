from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.data.conftest import Features
from trainer.data import label_issues
from trainer.data.examples import dropped_names
from trainer.data.label_issues import COLUMNS, as_csv, find_label_issues


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_that_were_swapped_are_among_the_most_suspicious(features: Features, seed: int) -> None:
    """If 3 % of the labels are wrong, four fifths of those photos are among the 6 % most suspicious."""
    chance, count, classes = np.random.default_rng(seed), len(features.files), features.labels.max() + 1
    swapped = chance.choice(count, round(0.03 * count), replace=False)
    truth = features.labels.copy()
    truth[swapped] = (truth[swapped] + chance.integers(1, classes, len(swapped))) % classes
    issues = find_label_issues(features.values, truth, classes)
    assert len(set(issues.rows[: round(0.06 * count)]) & set(swapped)) >= 0.8 * len(swapped)
    found = [row for row in issues.rows if row in swapped]
    right = [suggested == features.labels[row] for row, suggested in zip(issues.rows, issues.suggested, strict=True)
             if row in swapped]  # fmt: skip
    assert len(found) >= 0.8 * len(swapped)
    assert np.mean(right) > 0.75
    assert ((issues.confidence > 0) & (issues.confidence <= 1)).all()


def test_the_list_names_photos_wherever_it_is_read() -> None:
    values = np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 0, 1, 1, 1, 1, 0]]
    truth = np.array([0] * 5 + [1] * 5)  # the last photo looks like the first five
    uris = [f"photos/{number}.jpg" for number in range(9)] + ["gs://shop/9.jpg"]
    (head, *rows) = csv.reader(io.StringIO(as_csv(find_label_issues(values, truth, 2), uris, truth, ["hat", "shoes"])))
    assert tuple(head) == COLUMNS
    assert [row[:3] for row in rows] == [["gs://shop/9.jpg", "shoes", "hat"]]
    (_, row) = csv.reader(io.StringIO(as_csv(find_label_issues(values, truth, 2), uris, truth, ["=1+1", "@shoes"])))
    assert row[1:3] == ["'@shoes", "'=1+1"]  # not executed by spreadsheets


def test_a_name_that_ends_with_a_space_does_not_drop_its_neighbor(tmp_path: Path) -> None:
    values = np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 0, 1, 1, 1, 1, 0]]
    uris = [f"{tmp_path}/{number}.jpg" for number in range(8)] + [f"{tmp_path}/a.jpg", f"{tmp_path}/a.jpg "]
    truth = np.array([0] * 5 + [1] * 5)
    listed = as_csv(find_label_issues(values, truth, 2), uris, truth, ["hat", "shoes"])
    (tmp_path / "label_issues.csv").write_text(listed)
    assert dropped_names(str(tmp_path / "label_issues.csv")) == {uris[-1]}


def test_more_features_than_photos_are_regressed_by_a_smaller_matrix() -> None:
    """The scores equal those of the plain regression. There may be a hundred thousand features, such as pixels."""
    chance, truth = np.random.default_rng(0), np.arange(60) % 3
    values = chance.normal(size=(60, 100)).astype(np.float32)
    found = label_issues._out_of_fold(values, truth, 3)
    centered = (values - values.mean(axis=0)) / (values - values.mean(axis=0)).std(axis=0).mean()
    folds = np.random.default_rng(0).permutation(60) % 5
    for fold in range(5):
        known, targets = centered[folds != fold], np.eye(3)[truth[folds != fold]] - 1 / 3
        weights = np.linalg.solve(known.T @ known + len(known) * np.eye(100), known.T @ targets)
        np.testing.assert_allclose(found[folds == fold], centered[folds == fold] @ weights, atol=1e-4)
    assert len(find_label_issues(np.tile(values, (1, 1000)), truth, 3).rows)
