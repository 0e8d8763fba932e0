"""Command-line entry point: ``python -m pipeline classify`` and ``python -m pipeline merge``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pipeline
from catalogue.cli import flags
from catalogue.cli.command import leave, run
from catalogue.cli.logs import prepare_process
from pipeline import classify_flags, merge_flags


def build_parser() -> tuple[flags.Parser, dict[str, flags.Parser]]:
    """Return the parser of ``python -m pipeline``, and the parsers of its commands by name."""
    parser = flags.Parser(prog="python -m pipeline", description=pipeline.__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    classify = commands.add_parser(
        "classify",
        help="classify a catalogue",
        description="Classify a catalogue with a model.",
        example="python -m pipeline classify --input catalogue.csv --model-dir models/clothes --output runs/1",
    )
    classify_flags.add_arguments(classify)
    merge = commands.add_parser(
        "merge",
        help="merge finished runs",
        description="Merge finished run directories, such as the runs of all shards.",
        example="python -m pipeline merge runs/shards --output runs/1",
    )
    merge_flags.add_arguments(merge)
    for one in (classify, merge):
        flags.add_output_arguments(one)
    return parser, {"classify": classify, "merge": merge}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by the arguments and return its exit code."""
    prepare_process()
    is_last = argv is None
    argv = sys.argv[1:] if argv is None else list(argv)
    parser, parsers = build_parser()
    arguments, beam_flags = parser.parse_known_args(argv)
    chosen = parsers[arguments.command]
    words = ["python", "-m", "pipeline", *argv]

    def merge() -> None:
        if beam_flags:
            chosen.error(f"unrecognized arguments: {' '.join(beam_flags)}")
        from pipeline.merge import merge_command

        merge_command(arguments.runs, arguments.output, words, overwrite=arguments.overwrite)

    def classify() -> None:
        settings = None if arguments.attach else classify_flags.config_from(arguments, beam_flags)
        from pipeline.classify import attach_command, run_command  # Beam takes seconds to import
        from pipeline.runner import runners

        if beam_flags:
            runners.refuse_unknown_beam_flags(beam_flags, chosen.flags())
        if settings:
            run_command(settings, words)
        else:
            attach_command(arguments.attach, cancel=arguments.cancel)

    command = merge if arguments.command == "merge" else classify
    return run(command, prog=chosen.prog, verbose=arguments.verbose, log_file=arguments.log_file, is_last=is_last)


if __name__ == "__main__":
    leave(main())
