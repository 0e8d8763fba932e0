"""``python -m pipeline classify``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pipeline
from catalogue.cli import console
from pipeline import classify


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = console.Parser(prog="python -m pipeline", description=pipeline.__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = commands.add_parser("classify", help="label a catalogue", description="Label a catalogue with a model.")
    classify.add_arguments(chosen)
    console.add_output_arguments(chosen)
    arguments, beam_flags = parser.parse_known_args(argv)

    def command() -> None:
        if beam_flags:
            from pipeline.runner import runners

            runners.refuse_unknown_beam_flags(beam_flags, chosen.flags())
        classify.run_command(arguments, beam_flags, ["python", "-m", "pipeline", *argv])

    return console.run(command, prog=chosen.prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    console.leave(main())
