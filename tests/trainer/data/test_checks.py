from __future__ import annotations

import hashlib

import numpy as np
import pytest

from catalogue.cli.errors import CommandFailed, UserError
from catalogue.reasons import ImageError, Reason
from trainer.data.checks import check_sides
from trainer.data.examples import Example
from trainer.data.photos import Unreadable
from trainer.data.sides import Sides
from trainer.data.split import Split
from trainer.fitting import checks
from trainer.fitting.encoded import Encoded


def encoded(labels: list[str], unreadable: int = 0) -> Encoded:
    examples = tuple(Example(f"{number}.jpg", label) for number, label in enumerate(labels))
    hashes = tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(labels)))
    error = ImageError(Reason.TRUNCATED, "the end is missing")
    bad = tuple(Unreadable(Example(f"bad{number}.jpg", "a"), error) for number in range(unreadable))
    return Encoded(np.zeros((len(labels), 1)), None, examples, hashes, bad)


def split_of(validates: np.ndarray) -> Split:
    return Split.of(validates, np.zeros(len(validates), bool))


@pytest.mark.parametrize("labels", [["Hat", "hat"], ["t shirt", "t-shirt", "tshirt", "t  shirt"], ["a", "a "]])
def test_labels_that_read_alike_are_refused(labels: list[str]) -> None:
    with pytest.raises(UserError, match=r"differ only in case or spaces: .* \(1 photo\)"):
        check_sides(Sides(tuple(Example(f"{label}/1.jpg", label) for label in labels)))


@pytest.mark.parametrize(("side", "flag"), [("validation", "--validation-data"), ("test", "--test-data")])
def test_classes_and_files_of_all_sides(side: str, flag: str) -> None:
    photos = (Example("a/1.jpg", "a"), Example("b/1.jpg", "b"))
    with pytest.raises(UserError, match=f"{flag} has classes that --data lacks: 'c'"):
        check_sides(Sides(photos, **{side: (Example("c/1.jpg", "c"),)}))
    with pytest.raises(UserError, match=f"{flag} and --data share 1 file:"):
        check_sides(Sides(photos, **{side: (Example("x/../a/1.jpg", "a"),)}))
    check_sides(Sides(photos, **{side: (Example("a/2.jpg", "a"),)}))
    with pytest.raises(UserError, match="--test-data and --validation-data share 1 file:"):
        check_sides(Sides(photos, (Example("a/2.jpg", "a"),), (Example("a/2.jpg", "a"),)))


def test_classes_that_make_no_sense() -> None:
    with pytest.raises(UserError, match="only one class, 'a'"):
        check_sides(Sides((Example("a/1.jpg", "a"),)))
    with pytest.raises(UserError, match="are the splits 'Validation', 'train': give one of them"):
        check_sides(Sides((Example("x.jpg", "train"), Example("y.jpg", "Validation"))))


def test_one_class_that_is_nearly_all_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    photos = encoded(["hat"] * 198 + ["shoes"] * 2)
    validates = np.zeros(200, bool)
    validates[[0, 1, 2, 3, 4, 5, 6, 7, 8, 199]] = True
    checks.report_classes(photos, split_of(validates), ["hat", "shoes"])
    shown = capfd.readouterr().err
    assert "99.5% of the training photos are 'hat'" in shown
    assert "--class-weights balanced" in shown
    assert "hat           189           9" in shown
    assert "shoes           1           1" in shown


def test_few_photos_to_validate_on_are_reported(capfd: pytest.CaptureFixture[str]) -> None:
    photos = encoded(["hat", "shoes"] * 50)
    validates = np.arange(100) < 9
    checks.report_classes(photos, split_of(validates), ["hat", "shoes"])
    assert "only 9 validation photos for 2 classes" in capfd.readouterr().err
    checks.report_classes(photos, split_of(np.arange(100) < 10), ["hat", "shoes"])
    assert "warning" not in capfd.readouterr().err


def test_a_class_without_photos_is_refused() -> None:
    validates = np.array([False, False, True])
    with pytest.raises(UserError, match="no readable training photos of 'shoes'"):
        checks.report_classes(encoded(["hat", "hat", "shoes"]), split_of(validates), ["hat", "shoes"])
    with pytest.raises(UserError, match="none of the validation photos can be read"):
        checks.report_classes(encoded(["hat", "shoes"]), split_of(np.zeros(2, bool)), ["hat", "shoes"])


def test_unreadable_photos_are_counted_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    checks.report_unreadable(encoded(["hat"], unreadable=12), 13)
    shown = capfd.readouterr().err.splitlines()
    assert shown[0] == "skipped unreadable photos: 12 of 13 (12 truncated)"
    assert shown[1] == "  bad0.jpg: truncated: the end is missing"
    assert shown[-1] == "  and 2 more"
    with pytest.raises(UserError, match="found 12 files, but none can be read"):
        checks.report_unreadable(encoded([], unreadable=12), 12)


def test_a_network_that_is_worse_than_guessing_has_diverged() -> None:
    """Calibration does not matter. A network that is overconfident or has learned nothing has not diverged."""
    chance, truth = np.random.default_rng(0), np.arange(400) % 4
    sure = np.eye(4)[np.where(np.arange(400) % 3 == 0, chance.integers(0, 4, 400), truth)]
    checks.check_fitted(60 * sure, truth)
    checks.check_fitted(chance.normal(0, 3, (400, 4)), truth)
    with pytest.raises(CommandFailed, match=r"the validation loss is \d\d,\d\d\d\.\d, that of uniform .* is 1\.4"):
        checks.check_fitted(1e5 * sure, truth)
