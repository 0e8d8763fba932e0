"""What a sweep writes and prints."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from catalogue.cli.logs import print_line, say
from catalogue.html import charts, page
from trainer.commands.sweep_flags import train_config
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


def write(
    arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial], seconds: float
) -> None:
    """Writes sweep.json and report.html."""
    best = min(trials, key=rank)
    content = {
        "data": arguments.data,
        "validation_data": arguments.validation_data,
        "options": train_config(arguments, {}).result_settings,
        "varied": {flag: list(values) for flag, values in varied.items()},
        "trials": [dataclasses.asdict(trial) for trial in trials],
        "best": None if best.accuracy is None else dict(best.values),
        "seconds": round(seconds, 1),
    }
    folder = Path(arguments.output)
    (folder / "sweep.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "report.html").write_text(_page(arguments, varied, trials), encoding="utf-8")


def _page(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]) -> str:
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
