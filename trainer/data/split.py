"""The split of photos into training, validation and test sets."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from catalogue.cli.errors import UserError
from trainer.data.examples import Example
from trainer.data.groups import components

_TOLERANCE = 0.25


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of N photos.

    Attributes:
        training, validation, test: int, row numbers of each set in order; the sets are disjoint.
    """

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, validates: np.ndarray, tests: np.ndarray) -> Split:
        """Build a split from masks, bool [N]; rows in neither mask are for training."""
        return cls(*(np.flatnonzero(mask) for mask in (~validates & ~tests, validates & ~tests, tests)))

    def sides(self, examples: Sequence[Example]) -> dict[str, list[Example]]:
        """Return the photos of each non-empty split, by name."""
        rows = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: [examples[row] for row in own] for name, own in rows.items() if len(own)}


def held_out_test(
    labels: Sequence[str] | np.ndarray,
    content_hashes: Sequence[str] | np.ndarray,
    fraction: float,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Choose test photos like `split_by_content`, but independently of the validation split. Bool [N]."""
    if not fraction:
        return np.zeros(len(labels), bool)
    others = [hashlib.sha256(f"test {content_hash}".encode()).hexdigest() for content_hash in content_hashes]
    return split_by_content(labels, others, fraction, groups)


def split_by_content(
    labels: Sequence[str] | np.ndarray,
    content_hashes: Sequence[str] | np.ndarray,
    fraction: float,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Split photos into training and validation sets by their content, class by class.

    A photo goes to validation if the hash of its group is in the lowest `fraction` of the hash range, so it keeps its
    side when files are renamed, and usually when photos are added. Photos with the same content form a group, whatever
    their labels are. If the number of validation photos of a class misses its target by more than a quarter and by more
    than one photo, the groups whose hashes are nearest to the threshold change sides. Every class gets photos on both
    sides.

    Args:
        labels: labels of the N photos.
        content_hashes: SHA-256 of the N photos in hexadecimal.
        fraction: share of the photos for validation, between 0 and 1.
        groups: int [N], group numbers of photos that must also stay together; None for none. They are ignored in a
            class that would form a single group.

    Returns:
        bool [N], True for validation.

    Raises:
        UserError: a class has fewer than two different photos.
    """
    names, hashes = np.array(labels), np.array(content_hashes)
    for label in np.unique(names):
        _check_different(str(label), hashes[names == label])
    units = _units(names, hashes, groups)
    ordered = np.argsort(hashes)
    keys = hashes[ordered][np.unique(units[ordered], return_index=True)[1]]  # lowest hash of each unit
    chosen = np.array([int(key[:8], 16) < fraction * 2**32 for key in keys], bool)
    for label in np.unique(names):
        own, sizes = np.unique(units[names == label], return_counts=True)
        _adjust(chosen, own[np.argsort(keys[own])], dict(zip(own.tolist(), sizes.tolist(), strict=True)), fraction)
    return chosen[units]


def _check_different(label: str, hashes: np.ndarray) -> None:
    if len(np.unique(hashes)) < 2:
        count = f"{len(hashes)} identical photos" if len(hashes) > 1 else "one photo"
        raise UserError(f"class {label!r} has {count}: add a different photo, or give --validation-data")


def _units(names: np.ndarray, hashes: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the unit of each photo, int [N], from 0. Photos with the same content or in the same group form a unit."""
    _, same = np.unique(hashes, return_inverse=True)
    if groups is None:
        return same
    links = []
    for division in (same, groups):
        _, first, place = np.unique(division, return_index=True, return_inverse=True)
        links += list(enumerate(first[place].tolist()))  # link each photo to the first photo of its group
    units = components(len(names), links)
    for label in np.unique(names):
        inside = names == label
        if len(np.unique(units[inside])) < 2:
            dissolved = np.isin(units, units[inside])
            units = np.where(dissolved, units.max() + 1 + same, units)
    return np.unique(units, return_inverse=True)[1]


def _adjust(chosen: np.ndarray, units: np.ndarray, sizes: dict[int, int], fraction: float) -> None:
    """Move units of a class between sides until its validation share is close to the fraction.

    Args:
        chosen: bool, whether each unit is for validation; changed in place.
        units: units of the class, sorted by key.
        sizes: unit -> number of its photos in the class.
        fraction: share of the photos for validation.
    """
    target = fraction * sum(sizes.values())
    tolerance = max(1.0, _TOLERANCE * target)

    def count() -> int:
        return sum(sizes[unit] for unit in units.tolist() if chosen[unit])

    training, validating = collections.deque[int](), collections.deque[int]()
    for unit in units.tolist():
        (validating if chosen[unit] else training).append(unit)
    while training and (not validating or count() < target - tolerance) and (len(training) > 1 or not validating):
        unit = training.popleft()  # training unit with the lowest key
        chosen[unit] = True
        validating.append(unit)
    while len(validating) > 1 and (not training or count() > target + tolerance):
        unit = validating.pop()  # validation unit with the highest key
        chosen[unit] = False
        training.appendleft(unit)
