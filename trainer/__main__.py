"""``python -m trainer preview | train | sweep | import | evaluate | inspect | predict | sign``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

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

Command = tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], object], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name. Returns the exit code."""
    logs.prepare_process()
    commands: dict[str, Command] = {
        "preview": (preview_flags.add_arguments, preview.preview, "look at labelled photos before training"),
        "train": (
            train_flags.add_arguments,
            lambda arguments: train.train(train_flags.config_from(arguments)),
            "train a classifier on labelled photos",
        ),
        "sweep": (sweep_flags.add_arguments, sweep.sweep, "train with many combinations of flags"),
        "import": (
            import_flags.add_arguments,
            import_model.import_model,
            "make a model directory of a classifier that Keras has saved",
        ),
        "evaluate": (evaluate_flags.add_arguments, evaluate.evaluate, "measure a model on labelled photos"),
        "inspect": (inspect_flags.add_arguments, inspect.inspect, "look into a network"),
        "predict": (predict_flags.add_arguments, predict.predict, "classify a few photos"),
        "sign": (sign_flags.add_arguments, sign.sign, "sign a model directory"),
    }
    parser = flags.Parser(prog="python -m trainer", description=trainer.__doc__)
    sub_parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {}
    for name, (add_arguments, _, help_text) in commands.items():
        parsers[name] = sub_parsers.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        add_arguments(parsers[name])
        flags.add_output_arguments(parsers[name])
    arguments, unknown = parser.parse_known_args(argv)
    chosen = parsers[arguments.command]

    def run() -> None:
        flags.refuse_unknown(unknown, chosen.flags())
        commands[arguments.command][1](arguments)

    return command.run(run, prog=chosen.prog, verbose=arguments.verbose, log_file=arguments.log_file)


if __name__ == "__main__":
    command.leave(main())
