"""``python -m trainer train | sweep | evaluate | inspect | predict``."""

from __future__ import annotations

from collections.abc import Sequence

import trainer
from catalogue.cli import console
from trainer import task
from trainer.commands import evaluate, predict, sweep
from trainer.commands import inspect as activations
from trainer.commands import train_flags as options


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name. Returns the exit code."""
    parser = console.Parser(prog="python -m trainer", description=trainer.__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    entries = {
        "train": (options.add_arguments, task.run, "train a classifier on labelled photos"),
        "sweep": (sweep.add_arguments, sweep.sweep, "train with many combinations of flags"),
        "evaluate": (evaluate.add_arguments, evaluate.evaluate, "measure a model on labelled photos"),
        "inspect": (activations.add_arguments, activations.inspect, "look into a network"),
        "predict": (predict.add_arguments, predict.predict, "classify a few photos"),
    }
    parsers = {}
    for name, (add_arguments, _, help_text) in entries.items():
        parsers[name] = commands.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        add_arguments(parsers[name])
        console.add_output_arguments(parsers[name])
    arguments, unknown = parser.parse_known_args(argv)
    chosen = parsers[arguments.command]

    def command() -> None:
        console.refuse_unknown(unknown, chosen.flags())
        entries[arguments.command][1](arguments)

    return console.run(command, prog=chosen.prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    console.leave(main())
