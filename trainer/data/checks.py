"""Checks of the names and classes of labeled photos, before any photo is read."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Sequence

from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.data.examples import Example
from trainer.data.sides import Sides

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def check_sides(sides: Sides) -> None:
    """Check the classes and file names of a run, before any photo is read.

    Raises:
        UserError: the classes cannot be trained on, or two of the given splits share files.
    """
    classes = sides.labels
    if len(classes) == 1:
        raise UserError(f"--data has only one class, {classes[0]!r}: a classifier needs at least two")
    if {name.casefold() for name in classes} <= _SPLITS:
        shown = ", ".join(map(repr, classes))
        raise UserError(f"the classes in --data are the splits {shown}: give one of them as --data")
    _check_labels(sides.training)
    given = {"--data": sides.training, "--validation-data": sides.validation, "--test-data": sides.test}
    for flag, examples in given.items():
        unknown = sorted({example.label for example in examples} - set(classes))
        if unknown:
            raise UserError(f"{flag} has classes that --data lacks: {', '.join(map(repr, unknown))}; remove them")
    files = {flag: {os.path.realpath(example.uri) for example in examples} for flag, examples in given.items()}
    for one, other in itertools.combinations(files, 2):
        same = files[one] & files[other]
        if same:
            raise UserError(
                f"{other} and {one} share {counted(len(same), 'file')}: remove the shared files from one of the two"
            )


def _check_labels(examples: Sequence[Example]) -> None:
    """Reject labels that differ only in case or whitespace."""
    counts = collections.Counter(example.label for example in examples)
    alike = collections.defaultdict(list)
    for label in sorted(counts):
        alike["".join(label.split()).casefold()].append(label)
    for same in alike.values():
        if len(same) > 1:
            shown = ", ".join(f"{label!r} ({counted(counts[label], 'photo')})" for label in same)
            raise UserError(f"labels differ only in case or spaces: {shown}; use one spelling")


def warn_of_sub_folders(examples: Sequence[Example]) -> None:
    """Warn about classes with photos only in subfolders, two or more: ``--data`` may be one level too high."""
    folders = collections.defaultdict(set)
    for example in examples:
        folders[example.label].add(os.path.dirname(example.uri))
    for label, found in sorted(folders.items()):
        if len(found) > 1 and not any(folder.endswith(f"/{label}") for folder in found):
            say(f"warning: all photos of {label!r} are in {len(found)} subfolders; is --data one level too high?")
