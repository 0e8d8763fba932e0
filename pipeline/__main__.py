"""``python -m pipeline classify`` and ``merge``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pipeline
from catalogue.cli import flags
from catalogue.cli.command import leave, run
from catalogue.cli.logs import prepare_process
from pipeline import classify_flags, merge_flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name. Returns the exit code."""
    prepare_process()
    is_last = argv is None
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = flags.Parser(prog="python -m pipeline", description=pipeline.__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = commands.add_parser("classify", help="label a catalogue", description="Label a catalogue with a model.")
    classify_flags.add_arguments(chosen)
    flags.add_output_arguments(chosen)
    joined = commands.add_parser(
        "merge", help="join finished runs", description="Join finished run directories, such as those of all shards."
    )
    merge_flags.add_arguments(joined)
    flags.add_output_arguments(joined)
    arguments, beam_flags = parser.parse_known_args(argv)
    words = ["python", "-m", "pipeline", *argv]

    def merge() -> None:
        if beam_flags:
            joined.error(f"unrecognized arguments: {' '.join(beam_flags)}")
        from pipeline.merge import merge_command

        merge_command(arguments.runs, arguments.output, words, overwrite=arguments.overwrite)

    def classify() -> None:
        settings = None if arguments.attach else classify_flags.config_from(arguments, beam_flags)
        from pipeline.classify import attach_command, run_command  # Beam, which takes seconds to import
        from pipeline.runner import runners

        if beam_flags:
            runners.refuse_unknown_beam_flags(beam_flags, chosen.flags())
        if settings:
            run_command(settings, words)
        else:
            attach_command(arguments.attach, cancel=arguments.cancel)

    command, prog = (merge, joined.prog) if arguments.command == "merge" else (classify, chosen.prog)
    return run(command, prog=prog, verbose=arguments.verbose, log_file=arguments.log_file, is_last=is_last)


if __name__ == "__main__":
    leave(main())
