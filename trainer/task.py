"""``python -m trainer.task``: ``train`` under the name that Vertex AI gives a trainer's entry module."""

from __future__ import annotations

from collections.abc import Sequence

from catalogue.cli import command, flags, logs
from trainer.commands import train, train_flags


def main(argv: Sequence[str] | None = None, prog: str = "python -m trainer.task") -> int:
    """Parses the command line and trains. Returns the exit code."""
    logs.prepare_process()
    parser = flags.Parser(prog=prog, description="Train a classifier on labelled photos and write a model directory.")
    train_flags.add_arguments(parser)
    flags.add_output_arguments(parser)
    arguments, unknown = parser.parse_known_args(argv)

    def run() -> None:
        flags.refuse_unknown(unknown, parser.flags())
        train.train(train_flags.config_from(arguments))

    return command.run(run, prog=prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    command.leave(main())
