"""``python -m trainer.task``: the ``train`` command under the module name that Vertex AI expects."""

from __future__ import annotations

from collections.abc import Sequence

from catalogue.cli import command, flags, logs
from trainer.commands import train, train_flags


def main(argv: Sequence[str] | None = None, prog: str = "python -m trainer.task") -> int:
    """Parse the command line, train, and return the exit code."""
    logs.prepare_process()
    parser = flags.Parser(prog=prog, description="Train a classifier on labeled photos and write a model directory.")
    train_flags.add_arguments(parser)
    flags.add_output_arguments(parser)
    arguments, unknown = parser.parse_known_args(argv)

    def run() -> None:
        flags.refuse_unknown(unknown, parser.flags())
        train.train(train_flags.config_from(arguments))

    return command.run(run, prog=prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    command.leave(main())
