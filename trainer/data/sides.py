"""The labelled photos of a run, by what they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.data import idx
from trainer.data.examples import Example, dropped_names, find_examples, name_of
from trainer.data.identity import names_digest


@dataclasses.dataclass(frozen=True)
class Sides:
    """The labelled photos of a run.

    Attributes:
        training: to train on; a part of them validates if `validation` is empty.
        validation: to choose the best epoch by, and to calibrate on.
        test: to measure the finished model on, once.
    """

    training: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(sorted({example.label for example in self.training}))

    @property
    def all(self) -> tuple[Example, ...]:
        """The photos of all sides."""
        return (*self.training, *self.validation, *self.test)

    @property
    def digest(self) -> str:
        """Identifies the photos by name, label and side."""
        return names_digest(self.training, self.validation, self.test)


def find_sides(
    data: str,
    validation_data: str | None,
    test_data: str | None,
    drop: str | None = None,
    *,
    labelled: bool = True,
    class_names: Sequence[str] = (),
) -> Sides:
    """Lists the photos of a run.

    Args:
        data, labelled, class_names: see `trainer.data.examples.find_examples`.
        validation_data, test_data: the like; None for none.
        drop: a list of photos to leave out, see `trainer.data.examples.dropped_names`; None for none.

    Raises:
        UserError: there are none, or a list cannot be read.
    """
    numbered = {where: idx.is_images_file(where) for where in (data, validation_data, test_data) if where}
    if class_names and not any(numbered.values()):
        raise UserError(f"--class-names is for IDX files, whose labels are numbers; {data} is none")

    def names(where: str) -> Sequence[str]:
        return class_names if numbered[where] else ()

    found = [find_examples(data, labelled=labelled, class_names=names(data))]
    found += [find_examples(where, class_names=names(where)) if where else [] for where in (validation_data, test_data)]
    if drop:
        found = _without(found, drop)
    return Sides(*map(tuple, found))


def _without(sides: Sequence[Sequence[Example]], drop: str) -> list[list[Example]]:
    """Leaves out the photos that a list names."""
    dropped = dropped_names(drop)
    named = [[example for example in examples if name_of(example.uri) in dropped] for examples in sides]
    left_out = sum(map(len, named))
    if not left_out:
        raise UserError(f"--drop {drop} names none of the photos")
    unknown = sorted(dropped - {name_of(example.uri) for examples in named for example in examples})
    also = f"; {counted(len(unknown), 'other row')} of it name no photo here, such as {unknown[0]}" if unknown else ""
    say(f"left out {counted(left_out, 'photo')} that {drop} names{also}")
    return [[example for example in examples if name_of(example.uri) not in dropped] for examples in sides]
