"""The page of a sweep, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from catalogue.cli.logs import print_line, say
from catalogue.html import charts, page
from trainer.commands.sweep_trials import Trial, named, rank


def show(trial: Trial, number: int) -> None:
    """Says on the terminal how a trial ended."""
    found = trial.error if trial.accuracy is None else f"validation {trial.accuracy:.4f}"
    say(f"trial {number}: {named(trial.values)}: {found}")


def print_table(ranked: Sequence[Trial], varied: Mapping[str, Sequence[str]]) -> None:
    """Prints all trials as a table, the best first."""
    rows = [[*varied, "accuracy", "loss", "epoch", "seconds"]]
    for trial in ranked:
        found = ["failed", "", ""]
        if trial.accuracy is not None:
            found = [f"{trial.accuracy:.4f}", f"{trial.loss:.4f}", str(trial.best_epoch)]
        rows.append([*(trial.values.get(flag, "") for flag in varied), *found, f"{trial.seconds:.1f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_line("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def sweep_page(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]) -> str:
    """All trials as a table, and a plot of accuracy for each flag."""
    ranked = sorted(trials, key=rank)
    header = [*varied, "accuracy", "loss", "best epoch", "seconds"]
    rows = []
    for trial in ranked:
        found = [page.text(trial.error or "failed"), "", ""]
        if trial.accuracy is not None:
            found = [f"{trial.accuracy:.4f}", f"{trial.loss:.4f}", str(trial.best_epoch)]
        rows.append([*(page.text(trial.values.get(flag, "")) for flag in varied), *found, f"{trial.seconds:.1f}"])
    done = [trial for trial in trials if trial.accuracy is not None]
    plots = [
        page.section(flag, charts.dots([(t.values[flag], t.accuracy or 0.0) for t in done if flag in t.values]))
        for flag in varied
    ]
    best = ranked[0]
    cards = {"trials": f"{len(trials):,}"}
    if best.accuracy is not None:
        cards = {"best accuracy": f"{best.accuracy:.1%}", **cards, "best": named(best.values)}
    subject = f"{arguments.backbone} on {arguments.data}"
    return page.document(
        "Sweep", subject, [page.cards(cards), page.section("Trials", page.table(header, rows)), *plots]
    )
