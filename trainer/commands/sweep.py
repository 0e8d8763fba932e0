"""The ``sweep`` command: one training after the other with other flags, over the same photos, read once.

What the frozen part of a network makes of the photos is computed once for all trials that need the same, so that a
trial takes as long as its fitting. A trial finds what ``train`` finds with the same flags.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from catalogue import storage
from catalogue.cli.errors import CommandFailed
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.commands.sweep_flags import check, train_config, varied_flags
from trainer.commands.sweep_report import print_table, show, write
from trainer.commands.sweep_trials import Trial, combined, named, rank, sampled
from trainer.commands.train import train
from trainer.data import checks
from trainer.data.examples import find_examples


def sweep(arguments: argparse.Namespace) -> None:
    """Trains with each combination of flags; writes what it found where ``--output`` says, and prints a table."""
    start = time.monotonic()
    varied = varied_flags(arguments)
    check(arguments, varied)
    chosen = [] if arguments.trials else list(combined(arguments, varied))
    config = train_config(arguments, {})
    examples = find_examples(config.data)
    held_out = find_examples(config.validation_data) if config.validation_data else []
    checks.check_examples(examples, held_out)
    trials: list[Trial] = []
    was_there = os.path.isdir(arguments.output)
    storage.make_folder(arguments.output, "--output")
    try:
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            say("importing TensorFlow and building the network")
            from trainer.commands.sweep_runner import Runner

            run = Runner(arguments, Path(folder), examples, held_out)
            for values in chosen or sampled(arguments, varied, trials):
                trials.append(run(values))
                show(trials[-1], len(trials))
                write(arguments, varied, trials, time.monotonic() - start)
    except KeyboardInterrupt:
        if trials:
            say(f"the {counted(len(trials), 'trial')} that ended are in {arguments.output}")
        raise
    finally:
        if not trials and not was_there:
            os.rmdir(arguments.output)
    ranked = sorted(trials, key=rank)
    print_table(ranked, varied)
    if ranked[0].accuracy is None:
        raise CommandFailed(f"all {len(trials)} trials failed: {ranked[0].error}")
    seconds = time.monotonic() - start
    say(
        f"{counted(len(trials), 'trial')} in {seconds:.0f} s, written to {arguments.output}; the best: "
        f"{named(ranked[0].values)}"
    )
    if arguments.model_dir:
        say("training the best once more")
        train(train_config(arguments, ranked[0].values))
