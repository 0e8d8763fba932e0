"""The model card in Markdown: quality, weaknesses, training settings and intended use of a model.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from catalogue.model_dir import ModelInfo
from trainer.evaluation import facts, verdict

NAME = "model_card.md"


def model_card(info: ModelInfo) -> str:
    """Return the card of a model; sections on metrics are omitted if it was not measured."""
    return "\n".join(_lines(info)) + "\n"


def _lines(info: ModelInfo) -> Iterator[str]:
    yield f"# Model {info.id}"
    yield ""
    yield f"A photo classifier with {len(info.labels):,} classes, written {info.created}."
    if sentences := list(verdict.sentences(info)):
        yield from ("", "## Performance", "")
        yield from (f"- {sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    measured = info.test_metrics or info.metrics
    if measured:
        which = "test" if info.test_metrics else "validation" if info.training["epochs_run"] else "evaluation"
        yield from ("", "## Errors", "", f"The classes, weakest first, on the {which} photos:", "")
        yield from _table(
            ("class", "precision", "recall", "F1", "photos"),
            (
                (_escaped(one.label), *map(_percent, (one.precision, one.recall, one.f1)), f"{one.photos:,}")
                for one in facts.weakest_first(measured)
            ),
        )
        pairs = facts.confused_pairs(measured)
        yield from ("", "Most frequent confusions:" if pairs else "No classes are confused with each other.")
        if pairs:
            yield ""
            yield from _table(
                ("true class", "predicted class", "photos", "share of the class"),
                ((_escaped(p.truth), _escaped(p.predicted), f"{p.photos:,}", f"{p.share:.0%}") for p in pairs),
            )
    yield from ("", "## How it was trained", "")
    yield from (f"- {name[0].upper()}{name[1:]}: {_escaped(words)}." for name, words in facts.settings(info))
    packages = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    yield f"- Written with {packages}."
    yield from ("", "## Intended use", "")
    yield "Classify photos like those the model was trained on. The model assigns one of its classes to any other photo"
    yield 'too, often with a low score, because it has no "none of these" class.'
    if info.class_shares:
        yield from ("", "The classes and their shares of the training photos:", "")
        yield from (f"- {_escaped(label)}: {share:.1%}" for label, share in sorted(info.class_shares.items()))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _escaped(words: str) -> str:
    """Escape Markdown in a text, and collapse its whitespace."""
    flat = " ".join(words.split())
    return "".join(f"\\{character}" if character in r"\`*_[]<>|#" else character for character in flat)
