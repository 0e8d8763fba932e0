"""Checks of labelled photos by their names and classes, before any photo is read."""

from __future__ import annotations

import collections
import os
from collections.abc import Sequence

from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.data.examples import Example

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def check_examples(examples: Sequence[Example], held_out: Sequence[Example]) -> None:
    """Looks at the names of photos and classes, before any photo is read.

    Args:
        examples: to train on.
        held_out: to validate on, none if a part of `examples` is to.

    Raises:
        UserError: the classes make no sense, or the same photos stand on both sides.
    """
    classes = sorted({example.label for example in examples})
    if len(classes) == 1:
        raise UserError(f"--data has one class only, {classes[0]!r}: a classifier needs at least two")
    if {name.casefold() for name in classes} <= _SPLITS:
        raise UserError(f"the folders of --data are {', '.join(map(repr, classes))}: give --data one of them")
    _check_labels(examples)
    unknown = sorted({example.label for example in held_out} - {example.label for example in examples})
    if unknown:
        raise UserError(
            f"--validation-data has classes that --data has not: {', '.join(map(repr, unknown))}; remove them"
        )
    same = {os.path.realpath(example.uri) for example in examples} & {os.path.realpath(e.uri) for e in held_out}
    if same:
        raise UserError(f"--validation-data and --data share {len(same):,} files: give photos that are not trained on")


def _check_labels(examples: Sequence[Example]) -> None:
    """Refuses labels that a person would read as one."""
    counts = collections.Counter(example.label for example in examples)
    alike = collections.defaultdict(list)
    for label in sorted(counts):
        alike["".join(label.split()).casefold()].append(label)
    for same in alike.values():
        if len(same) > 1:
            shown = ", ".join(f"{label!r} ({counted(counts[label], 'photo')})" for label in same)
            raise UserError(f"labels that differ in case or spaces only: {shown}; give them one name")


def warn_of_sub_folders(examples: Sequence[Example]) -> None:
    """Says where class folders hold folders only, as where ``--data`` is one level too high."""
    folders = collections.defaultdict(set)
    for example in examples:
        folders[example.label].add(os.path.dirname(example.uri))
    for label, found in sorted(folders.items()):
        if len(found) > 1 and not any(folder.endswith(f"/{label}") for folder in found):
            say(f"warning: all photos of {label!r} lie in {len(found)} sub-folders; is --data one level too high?")
