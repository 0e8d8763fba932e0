"""Gates: minimum values of metrics (``--fail-under``)."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from catalogue.cli import flags
from catalogue.cli.errors import CommandFailed, UserError
from trainer.evaluation.metrics import CLASS_GATES, GATES, gate_value


def add_gate_argument(parser: argparse._ActionsContainer) -> None:
    """Add ``--fail-under``, which `check_gates` applies."""
    parser.add_argument(
        "--fail-under",
        type=gate,
        action="append",
        metavar="METRIC=VALUE",
        help=f"fail if a metric is below a value: {', '.join(GATES)}, recall:LABEL, precision:LABEL or f1:LABEL; "
        "repeatable",
    )


def gate(text: str) -> tuple[str, float]:
    """Parse a command-line argument ``METRIC=VALUE``."""
    name, _, value = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not METRIC=VALUE")
    return name, flags.rate(value)


def check_gate_names(gates: Sequence[tuple[str, float]], labels: Sequence[str]) -> None:
    """Reject gates on unknown metrics or classes, before anything is measured. Raises UserError."""
    known = {*GATES, *(f"{kind}:{label}" for kind in CLASS_GATES for label in labels)}
    for name, _ in gates:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1) or [f"recall:{labels[0]}"]
            raise UserError(
                f"--fail-under {name} names an unknown metric or class: give {', '.join(GATES)}, or "
                f"recall, precision or f1 of a class, such as {nearest[0]}"
            )


def check_gates(metrics: dict[str, Any], gates: Sequence[tuple[str, float]]) -> None:
    """Check that metrics reach their gates.

    Raises:
        CommandFailed: a metric is below its gate, or cannot be measured.
    """
    missed = []
    for name, least in gates:
        try:
            value = gate_value(metrics, name)
        except ValueError as error:
            missed.append(f"{name} cannot be measured ({error})")
        else:
            if value < least:
                missed.append(f"{name} is {value:.4f}, below {least:g}")
    if missed:
        raise CommandFailed("the model is not good enough: " + "; ".join(missed))
