"""The report of a sweep, and its terminal output."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from catalogue.cli.logs import print_line, say
from catalogue.cli.text import counted
from catalogue.html import charts, page
from trainer.commands.sweep_flags import train_config
from trainer.commands.sweep_trials import Trial, named, rank
from trainer.evaluation.report import curves

_ABOUT_TABLE = (
    "<p>Best trial first. The number of a trial links to its report, unless the trial failed. Accuracy and loss are "
    "measured on the validation photos. An empty cell in the column of a flag means its value without --vary.</p>"
)

_NOT_VARIED = "not varied"


def show(trial: Trial, number: int) -> None:
    """Print the result of a trial."""
    found = trial.error if trial.accuracy is None else f"validation {trial.accuracy:.4f}"
    say(f"trial {number}: {named(trial.values)}: {found}")


def page_name(number: int) -> str:
    """Return the path of a trial's report in the folder of the sweep; trials are counted from one."""
    return f"trials/{number:03}.html"


def print_table(ranked: Sequence[Trial], varied: Mapping[str, Sequence[str]]) -> None:
    """Print all trials as a table, in the given order."""
    header, cells = _columns(ranked, varied)
    rows = [header, *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_line("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def _columns(
    trials: Sequence[Trial],
    varied: Mapping[str, Sequence[str]],
    failed: Callable[[Trial], str] = lambda trial: "failed",
) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of the table of trials; `failed` returns the text for a failed trial."""
    are_tested = any(trial.test_accuracy is not None for trial in trials)
    header = [*varied, "accuracy", *(["test accuracy"] if are_tested else []), "loss", "best epoch", "seconds"]
    rows = []
    for trial in trials:
        cells = [trial.values.get(flag, "") for flag in varied]
        if trial.accuracy is None:
            cells += [failed(trial), *([""] if are_tested else []), "", ""]
        else:
            cells.append(f"{trial.accuracy:.4f}")
            cells += [f"{trial.test_accuracy:.4f}"] if trial.test_accuracy is not None else [""] * are_tested
            cells += [f"{trial.loss:.4f}", str(trial.best_epoch)]
        rows.append([*cells, f"{trial.seconds:.1f}"])
    return header, rows


def sweep_page(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]) -> str:
    """Return the page: a table of trials with links to their reports, a plot per flag, and the curves of all trials.

    Args:
        arguments: parsed flags of ``sweep``.
        varied: varied flags and their values.
        trials: trials in the order in which they ran.
    """
    numbers = sorted(range(len(trials)), key=lambda number: rank(trials[number]))
    ranked = [trials[number] for number in numbers]
    header, cells = _columns(ranked, varied, lambda trial: trial.error or "failed")
    rows = [
        [page.file_link(page_name(n + 1), f"{n + 1}") if trials[n].accuracy is not None else f"{n + 1}",
         *map(page.text, row)]
        for n, row in zip(numbers, cells, strict=True)
    ]  # fmt: skip
    best, headline = ranked[0], ""
    cards = {"trials": f"{len(trials):,}"}
    if best.accuracy is not None:
        cards = {"best accuracy": f"{best.accuracy:.1%}", **cards, "best": named(best.values)}
        headline = f"Best of {counted(len(trials), 'trial')}: {best.accuracy:.1%} with {named(best.values)}"
    subject = f"{arguments.backbone} on {arguments.data}"
    table = page.section("Trials", _ABOUT_TABLE, page.table(["trial", *header], rows))
    return page.document(
        "Sweep",
        subject,
        [page.cards(cards), table, *_plots(arguments, varied, trials), *_curves(trials)],
        headline=headline,
    )


def _plots(
    arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]
) -> Iterator[str]:
    """Yield a section for each flag, with a plot of accuracy by value.

    With ``--one-at-a-time``, the trial whose settings are those without ``--vary`` is in every plot.
    """
    done = [(trial, trial.accuracy) for trial in trials if trial.accuracy is not None]
    unvaried = []
    if arguments.one_at_a_time:
        plain = train_config(arguments, {})
        unvaried = [own for own in done if train_config(arguments, own[0].values) == plain]
    for flag in varied:
        points = [(trial.values[flag], accuracy) for trial, accuracy in done if flag in trial.values]
        points += [(_NOT_VARIED, accuracy) for trial, accuracy in unvaried if flag not in trial.values]
        yield page.section(flag, charts.dots(points))


def _curves(trials: Sequence[Trial]) -> Iterator[str]:
    """Yield a section for accuracy and a section for loss, each with the curves of all trials on a shared scale."""
    shown = [(number, trial) for number, trial in enumerate(trials, 1) if trial.epochs]
    for name in ("accuracy", "loss") if shown else ():
        values = [epoch[key] for _, trial in shown for epoch in trial.epochs for key in (name, f"val_{name}")]
        bounds = min(values), max(values)
        if name == "loss":  # a diverged trial would flatten the other curves
            bounds = bounds[0], min(bounds[1], 4 * statistics.median(values))
        parts = (
            (f"{number}: {named(trial.values)}", curves(trial.epochs, name, trial.best_epoch, bounds))
            for number, trial in shown
        )
        yield page.section(f"{name.capitalize()} of each trial", page.side_by_side(parts))
