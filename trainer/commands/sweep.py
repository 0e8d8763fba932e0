"""The ``sweep`` command: train on the same photos with many combinations of flags, and rank the results.

Trials that need the same outputs of the frozen layers share them, so only the first of these trials computes them. A
trial fits the same network as ``train`` with the same flags.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from catalogue import storage
from catalogue.cli.errors import CommandFailed
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.commands import sweep_file
from trainer.commands.sweep_flags import check, train_config, varied_flags
from trainer.commands.sweep_report import page_name, print_table, show, sweep_page
from trainer.commands.sweep_trials import Trial, combined, named, rank, sampled
from trainer.commands.train import train
from trainer.data import checks
from trainer.data.identity import contents_digest, contents_of
from trainer.data.sides import find_sides


def sweep(arguments: argparse.Namespace) -> None:
    """Train with each combination of flags, write the results to ``--output``, and print a table."""
    start = time.monotonic()
    varied = varied_flags(arguments)
    check(arguments, varied)
    chosen = [] if arguments.trials else list(combined(arguments, varied))
    config = train_config(arguments, {})
    sides = find_sides(
        config.data, config.validation_data, config.test_data, config.drop, class_names=config.class_names
    )
    checks.check_sides(sides)
    own = sweep_file.identity(arguments, varied, sides.digest)
    finished: list[Trial] = []
    if arguments.resume:
        finished, seconds = sweep_file.earlier(
            arguments.output,
            own,
            lambda: contents_digest(contents_of(sides.all, config.limits)),
        )
        start -= seconds
    if finished:
        say(f"resuming with {counted(len(finished), 'finished trial')} in {arguments.output}")
    trials: list[Trial] = []
    with _output(arguments.output, trials), tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        run = None
        for values in chosen or sampled(arguments, varied, trials):
            ended = next((trial for trial in finished if trial.values == values), None)
            if ended:
                finished.remove(ended)
                trials.append(ended)
                continue
            if run is None:
                say("importing TensorFlow and building the network")
                from trainer.commands.sweep_runner import Runner

                has_earlier = any(trial.accuracy is not None for trial in (*trials, *finished))
                run = Runner(arguments, Path(folder), sides, has_earlier=has_earlier)
            trial, about = run(values)
            trials.append(trial)
            show(trial, len(trials))
            if about:
                storage.write_text(f"{arguments.output}/{page_name(len(trials))}", about)
            sweep_file.write(arguments, own, run.contents, trials, time.monotonic() - start)
            storage.write_text(f"{arguments.output}/report.html", sweep_page(arguments, varied, trials))
    ranked = sorted(trials, key=rank)
    print_table(ranked, varied)
    if ranked[0].accuracy is None:
        failed = counted(len(trials), "trial")
        raise CommandFailed(f"{failed} failed and none finished; the first error is: {ranked[0].error}")
    seconds = time.monotonic() - start
    say(
        f"{counted(len(trials), 'trial')} in {seconds:.0f} s, written to {arguments.output}; best trial: "
        f"{named(ranked[0].values)}"
    )
    if arguments.model_dir:
        say("training the best trial again")
        train(train_config(arguments, ranked[0].values))


@contextlib.contextmanager
def _output(folder: str, trials: Sequence[Trial]) -> Iterator[None]:
    """Create the output folder; if it is new and no trial ends, remove it again."""
    was_there = os.path.isdir(folder)
    storage.make_folder(folder, "--output")
    try:
        yield
    except KeyboardInterrupt:
        if trials:
            ended = counted(len(trials), "finished trial")
            say(f"{ended} kept in {folder}: resume with the same flags and --resume")
        raise
    finally:
        if not trials and not was_there:
            os.rmdir(folder)
