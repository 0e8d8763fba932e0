"""Command line: ``python -m trainer preview | train | sweep | import | evaluate | inspect | predict | sign``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trainer
from catalogue.cli import command, flags, logs
from trainer.commands import (
    evaluate,
    evaluate_flags,
    import_flags,
    import_model,
    inspect,
    inspect_flags,
    predict,
    predict_flags,
    preview,
    preview_flags,
    sign,
    sign_flags,
    sweep,
    sweep_flags,
    train,
    train_flags,
)


class Command(NamedTuple):
    """A command of ``python -m trainer``: its summary, flags, function and example."""

    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], object]
    example: str


COMMANDS = {
    "preview": Command(
        "preview labeled photos before training",
        preview_flags.add_arguments,
        preview.preview,
        "--data photos --output looks/photos",
    ),
    "train": Command(
        "train a classifier on labeled photos",
        train_flags.add_arguments,
        lambda arguments: train.train(train_flags.config_from(arguments)),
        "--data photos --model-dir models/clothes --fine-tune top --augment",
    ),
    "sweep": Command(
        "train with many combinations of flags and rank the results",
        sweep_flags.add_arguments,
        sweep.sweep,
        "--data photos --output sweeps/1 --vary learning-rate 0.01 0.001 --vary dropout 0 0.2 0.5",
    ),
    "import": Command(
        "convert a .keras or .h5 classifier into a model directory",
        import_flags.add_arguments,
        import_model.import_model,
        "--model classifier.keras --labels labels.txt --data photos --model-dir models/imported",
    ),
    "evaluate": Command(
        "evaluate a model on labeled photos",
        evaluate_flags.add_arguments,
        evaluate.evaluate,
        "--model-dir models/clothes --data more-photos --output evaluation",
    ),
    "inspect": Command(
        "show the layers, activations and kernels of a network",
        inspect_flags.add_arguments,
        inspect.inspect,
        "--model-dir models/clothes --image photo.jpg --output look",
    ),
    "predict": Command(
        "classify a few photos",
        predict_flags.add_arguments,
        predict.predict,
        "--model-dir models/clothes photo.jpg another.jpg",
    ),
    "sign": Command(
        "sign a model directory",
        sign_flags.add_arguments,
        sign.sign,
        "--model-dir models/clothes --key key.pem",
    ),
}


def build_parser() -> tuple[flags.Parser, dict[str, flags.Parser]]:
    """Return the parser of ``python -m trainer``, and the parsers of its commands by name."""
    parser = flags.Parser(prog="python -m trainer", description=trainer.__doc__)
    sub_parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {}
    for name, chosen in COMMANDS.items():
        parsers[name] = sub_parsers.add_parser(
            name,
            help=chosen.description,
            description=f"{chosen.description.capitalize()}.",
            example=f"python -m trainer {name} {chosen.example}",
        )
        chosen.add_arguments(parsers[name])
        flags.add_output_arguments(parsers[name])
    return parser, parsers


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by the arguments and return its exit code."""
    logs.prepare_process()
    parser, parsers = build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    chosen = parsers[arguments.command]

    def run() -> None:
        flags.refuse_unknown(unknown, chosen.flags())
        COMMANDS[arguments.command].run(arguments)

    return command.run(run, prog=chosen.prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    command.leave(main())
