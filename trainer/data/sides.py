"""The labeled photos of a run: training, validation and test photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.data import idx
from trainer.data.examples import Example, dropped_names, find_examples, name_of
from trainer.data.identity import names_digest

_MOST_DROPPED = 0.1  # more wrong labels than this are unlikely: the list was probably not reviewed


@dataclasses.dataclass(frozen=True)
class Sides:
    """The labeled photos of a run.

    Attributes:
        training: training photos; some of them are held out later for validation if `validation` is empty.
        validation: photos for choosing the best epoch and for calibration.
        test: photos for measuring the finished model once.
    """

    training: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in order."""
        return tuple(sorted({example.label for example in self.training}))

    @property
    def all(self) -> tuple[Example, ...]:
        """Photos of all splits."""
        return (*self.training, *self.validation, *self.test)

    @property
    def digest(self) -> str:
        """Hash of the photos' URIs, labels and splits."""
        return names_digest(self.training, self.validation, self.test)


def find_sides(
    data: str,
    validation_data: str | None,
    test_data: str | None,
    drop: str | None = None,
    *,
    labeled: bool = True,
    class_names: Sequence[str] = (),
) -> Sides:
    """List the photos of a run.

    Args:
        data, labeled, class_names: arguments of `trainer.data.examples.find_examples`.
        validation_data, test_data: paths in any form that `data` accepts; None for none.
        drop: a list of photos to omit, see `trainer.data.examples.dropped_names`; None for none.

    Raises:
        UserError: no photos were found, a list cannot be read, or `drop` or `class_names` does not apply to the data.
    """
    numbered = {where: idx.is_images_file(where) for where in (data, validation_data, test_data) if where}
    if class_names and not any(numbered.values()):
        raise UserError(f"--class-names applies only to IDX files, and {data} is not one: omit it")

    def names(where: str) -> Sequence[str]:
        return class_names if numbered[where] else ()

    found = [find_examples(data, labeled=labeled, class_names=names(data))]
    found += [find_examples(where, class_names=names(where)) if where else [] for where in (validation_data, test_data)]
    if drop:
        found = _without(found, drop)
    return Sides(*map(tuple, found))


def _without(sides: Sequence[Sequence[Example]], drop: str) -> list[list[Example]]:
    """Omit the photos that a list names."""
    dropped = dropped_names(drop)
    named = [[example for example in examples if name_of(example.uri) in dropped] for examples in sides]
    left_out = sum(map(len, named))
    if not left_out:
        raise UserError(f"--drop {drop} names none of the photos: check its column uri, or omit --drop")
    unknown = sorted(dropped - {name_of(example.uri) for examples in named for example in examples})
    also = f"; no photo matches {counted(len(unknown), 'other row')}, for example {unknown[0]}" if unknown else ""
    say(f"omitted {counted(left_out, 'photo')} named by --drop {drop}{also}")
    share = left_out / sum(map(len, sides))
    if share > _MOST_DROPPED:
        say(
            f"warning: --drop omits {share:.0%} of the photos: unless each was checked, the accuracy will be too high, "
            "since the photos that are hard to classify are missing"
        )
    return [[example for example in examples if name_of(example.uri) not in dropped] for examples in sides]
