"""The ``sweep`` command: one training after the other with other flags, over the same photos, read once.

What the frozen part of a network makes of the photos is computed once for all trials that need the same, so that a
trial takes as long as its fitting. A trial finds what ``train`` finds with the same flags.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import itertools
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catalogue.cli import console
from catalogue.cli.console import CommandFailed, UserError, counted, say
from catalogue.html import page
from catalogue.storage import files
from trainer import task
from trainer.commands import train_flags as options
from trainer.commands.train_flags import TrainConfig
from trainer.data import checks, dataset
from trainer.fitting import distribution, learning
from trainer.fitting.checkpoints import Checkpoints
from trainer.fitting.learning import Job, Prepared
from trainer.networks import network

_FITTING_ONLY = {
    "dropout", "hidden_units", "freeze_batch_norm", "head", "main", "batch_size", "model_dir", "checkpoint_dir",
    "checkpoint_seconds", "resume", "log_dir", "fail_under", "overwrite",
}  # fmt: skip
"""What of a `TrainConfig` does not change what is prepared."""

Values = Mapping[str, str]
"""What a trial varies: flag without its dashes -> value as it would be typed."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        values: what it varied.
        accuracy, loss: on validation, in the best epoch; None if it failed.
        best_epoch: counted from one.
        seconds: it took, without what it shared with others.
        error: why it failed.
    """

    values: Values
    accuracy: float | None
    loss: float | None
    best_epoch: int
    seconds: float
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `log` where their logarithms are drawn evenly, `whole` where they are integers."""

    low: float
    high: float
    log: bool
    whole: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``sweep``."""
    options.add_data_arguments(parser.add_argument)
    add = parser.add_argument
    add("--output", type=console.path, required=True, metavar="DIR", help="where sweep.json and report.html go")
    add(
        "--vary",
        action="append",
        nargs="+",
        required=True,
        metavar=("FLAG", "VALUE"),
        help="a flag of train without its dashes and its values, as in --vary dropout 0 0.2 0.5, yes or no for a "
        "switch; LOW..HIGH, or LOW..HIGH:log, is a range, for --trials; repeatable",
    )
    add("--one-at-a-time", action="store_true", help="vary each flag alone instead of all combinations")
    add(
        "--trials",
        type=console.positive_int,
        metavar="N",
        help="let Optuna (extra 'sweep') choose N combinations instead of trying all",
    )
    add("--model-dir", type=console.path, metavar="DIR", help="train the best once more and write its model here")
    options.add_method_arguments(parser)


def sweep(arguments: argparse.Namespace) -> None:
    """Trains with each combination of flags; writes what it found where ``--output`` says, and prints a table."""
    start = time.monotonic()
    varied = _varied(arguments)
    _check(arguments, varied)
    chosen = [] if arguments.trials else list(_combined(arguments, varied))
    trials: list[Trial] = []
    was_there = os.path.isdir(arguments.output)
    files.make_folder(arguments.output, "--output")
    try:
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            run = _Runner(arguments, Path(folder))
            for values in chosen or _sampled(arguments, varied, trials):
                trials.append(run(values))
                _show(trials[-1], len(trials))
                _write(arguments, varied, trials, time.monotonic() - start)
    except KeyboardInterrupt:
        if trials:
            say(f"the {counted(len(trials), 'trial')} that ended are in {arguments.output}")
        raise
    finally:
        if not trials and not was_there:
            os.rmdir(arguments.output)
    ranked = sorted(trials, key=_rank)
    _print(ranked, varied)
    if ranked[0].accuracy is None:
        raise CommandFailed(f"all {len(trials)} trials failed: {ranked[0].error}")
    seconds = time.monotonic() - start
    say(
        f"{counted(len(trials), 'trial')} in {seconds:.0f} s, written to {arguments.output}; the best: "
        f"{_named(ranked[0].values)}"
    )
    if arguments.model_dir:
        say("training the best once more")
        task.train(_config(arguments, ranked[0].values))


def _rank(trial: Trial) -> tuple[float, float]:
    """The best first: the highest accuracy, then the least loss; what failed last."""
    if trial.accuracy is None or trial.loss is None:
        return (math.inf, math.inf)
    return (-trial.accuracy, trial.loss)


def _varied(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Flag without dashes -> its values."""
    varied: dict[str, list[str]] = {}
    for name, *values in arguments.vary:
        flag = name.removeprefix("--")
        if not values or flag in varied:
            raise UserError(f"--vary {name}: " + ("give it once, with all values" if values else "give its values"))
        varied[flag] = values
    return varied


def _check(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]]) -> None:
    """Refuses what cannot work before anything is read."""
    ranges = [flag for flag, values in varied.items() if any(_range(value) for value in values)]
    if ranges and not arguments.trials:
        raise UserError(f"--vary {ranges[0]}: a range needs --trials")
    if arguments.trials and arguments.one_at_a_time:
        raise UserError("--trials and --one-at-a-time do not go together")
    for flag, values in varied.items():
        if len(values) > 1 and flag in ranges:
            raise UserError(f"--vary {flag}: give one range, or values")
        for value in values:
            own = _range(value)
            for text in (_text(own.low, own), _text(own.high, own)) if own else (value,):
                _config(arguments, {flag: text})
    if arguments.trials:
        _optuna()
    if os.environ.get("TF_CONFIG"):
        raise UserError("a sweep runs on one machine: start it without TF_CONFIG")
    for flag, folder in (("--output", arguments.output), ("--model-dir", arguments.model_dir)):
        if folder:
            files.check_new_folder(folder, flag)


def _config(arguments: argparse.Namespace, values: Values) -> TrainConfig:
    """The flags of ``train`` with some values in the place of what was given. Raises UserError."""
    parser = console.Parser()
    options.add_method_arguments(parser)
    actions = {action.option_strings[0].removeprefix("--"): action for action in parser._actions}
    made = copy.copy(arguments)
    for flag, text in values.items():
        action = actions.get(flag)
        if action is None or flag == "-h":
            console.refuse_unknown([f"--{flag}"], [f"--{name}" for name in actions])
        else:
            setattr(made, action.dest, _parsed(action, text))
    given = {"model_dir": arguments.model_dir or "", "checkpoint_dir": None, "checkpoint_seconds": 30.0}
    given |= {"head": options.HEADS[0], "resume": False, "log_dir": None, "fail_under": None, "overwrite": False}
    return options.config_from(argparse.Namespace(**{**vars(made), **given}))


def _parsed(action: argparse.Action, text: str) -> Any:
    flag = action.option_strings[0]
    if action.nargs == 0:  # a switch
        if text not in ("yes", "no"):
            raise UserError(f"--vary {flag.removeprefix('--')}: {text!r} is neither yes nor no")
        return text == "yes"
    try:
        value = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--vary {flag.removeprefix('--')}: {error}") from error
    if action.choices and value not in action.choices:
        raise UserError(f"--vary {flag.removeprefix('--')}: {text!r} is none of {', '.join(action.choices)}")
    return value


def _range(text: str) -> Range | None:
    """``LOW..HIGH`` or ``LOW..HIGH:log``; None for anything else."""
    span, _, kind = text.partition(":")
    low, dots, high = span.partition("..")
    try:
        found = Range(float(low), float(high), kind == "log", "." not in low + high and "e" not in low + high)
    except ValueError:
        return None
    if not dots or kind not in ("", "log") or found.low >= found.high or (found.log and found.low <= 0):
        raise UserError(f"{text!r} is no range: give LOW..HIGH or LOW..HIGH:log, LOW below HIGH, above 0 for log")
    return found


def _text(value: float, own: Range) -> str:
    return str(int(value)) if own.whole else repr(float(value))


def _combined(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]]) -> Iterator[Values]:
    """The values of each trial that is to be made, those that are prepared alike one after the other.

    Raises:
        UserError: they contradict each other.
    """
    chosen: list[dict[str, str]] = [
        dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())
    ]
    if arguments.one_at_a_time:
        chosen = [{flag: value} for flag, values in varied.items() for value in values]
    configs: list[TrainConfig] = []
    distinct: list[dict[str, str]] = []
    by_preparation: dict[str, list[Values]] = {}
    for values in chosen:
        config = _config(arguments, values)
        if config in configs:  # one at a time, the values that are given anyway come up for each flag
            distinct[configs.index(config)].update(values)
            continue
        configs.append(config)
        distinct.append(values)
        by_preparation.setdefault(json.dumps(_preparation(config)), []).append(values)
    return itertools.chain.from_iterable(by_preparation.values())


def _preparation(config: TrainConfig) -> dict[str, Any]:
    """What `trainer.fitting.learning.prepare` depends on."""
    found = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FITTING_ONLY}
    found["with_features"] = config.head is not None
    if not (config.augmentation and config.fine_tune != network.EVERYTHING):
        found.pop("copies")
    return found


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError("--trials needs Optuna: pip install 'catalogue-classifier[sweep]'") from None
    return optuna


def _sampled(
    arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]
) -> Iterator[Values]:
    """The values of one trial after the other; `trials` are those that have been made by then."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=arguments.seed))
    for _ in range(arguments.trials):
        asked = study.ask()
        values = {}
        for flag, given in varied.items():
            own = _range(given[0])
            if own is None:
                values[flag] = asked.suggest_categorical(flag, list(given))
            elif own.whole:
                values[flag] = _text(asked.suggest_int(flag, int(own.low), int(own.high), log=own.log), own)
            else:
                values[flag] = _text(asked.suggest_float(flag, own.low, own.high, log=own.log), own)
        yield values
        accuracy = trials[-1].accuracy
        state = optuna.trial.TrialState.FAIL if accuracy is None else None
        study.tell(asked, accuracy, state=state)


class _Runner:
    """Makes trials; remembers what it prepared for the last one."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments, self._folder = arguments, folder
        config = _config(arguments, {})
        self._examples = dataset.find_examples(config.data)
        self._held_out = dataset.find_examples(config.validation_data) if config.validation_data else []
        checks.check_examples(self._examples, self._held_out)
        self._labels = tuple(sorted({example.label for example in self._examples}))
        say("importing TensorFlow and building the network")
        self._devices = distribution.find()
        self._key: dict[str, Any] = {}
        self._prepared: Prepared | None = None
        self._fitted = False

    def __call__(self, values: Values) -> Trial:
        config = _config(self._arguments, values)
        job = Job(config, self._labels, "", self._devices, Checkpoints(None), self._folder, _nobody)
        start = time.monotonic()
        try:
            prepared = self._prepare(job)
            start = time.monotonic()
            learnt = learning.fit(job, prepared)
        except (UserError, CommandFailed) as error:  # such as a layer to cut behind that this backbone has not
            if isinstance(error, UserError) and not self._fitted:
                raise  # nothing would be lost, and the others are likely to end so, too
            return Trial(values, None, None, 0, time.monotonic() - start, str(error))
        self._fitted = True
        best = learnt.main.epochs[learnt.main.best_epoch - 1]
        seconds = time.monotonic() - start
        return Trial(values, best["val_accuracy"], best["val_loss"], learnt.main.best_epoch, seconds)

    def _prepare(self, job: Job) -> Prepared:
        key = _preparation(job.config)
        if self._prepared is None or key != self._key:
            self._prepared, self._key = None, key
            for before in self._folder.iterdir():
                shutil.rmtree(before)
            job = dataclasses.replace(job, scratch=Path(tempfile.mkdtemp(dir=self._folder)))
            self._prepared = learning.prepare(job, self._examples, self._held_out)
        return self._prepared


def _nobody(stage: str, epoch: int, values: dict[str, float]) -> None:
    """Watches nothing."""


def _named(values: Values) -> str:
    return "  ".join(f"{flag} {value}" for flag, value in values.items())


def _show(trial: Trial, number: int) -> None:
    found = trial.error if trial.accuracy is None else f"validation {trial.accuracy:.4f}"
    say(f"trial {number}: {_named(trial.values)}: {found}")


def _print(ranked: Sequence[Trial], varied: Mapping[str, Sequence[str]]) -> None:
    rows = [[*varied, "accuracy", "loss", "epoch", "seconds"]]
    for trial in ranked:
        found = ["failed", "", ""]
        if trial.accuracy is not None:
            found = [f"{trial.accuracy:.4f}", f"{trial.loss:.4f}", str(trial.best_epoch)]
        rows.append([*(trial.values.get(flag, "") for flag in varied), *found, f"{trial.seconds:.1f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def _write(
    arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial], seconds: float
) -> None:
    best = min(trials, key=_rank)
    content = {
        "data": arguments.data,
        "validation_data": arguments.validation_data,
        "options": _config(arguments, {}).what_changes_the_result,
        "varied": {flag: list(values) for flag, values in varied.items()},
        "trials": [dataclasses.asdict(trial) for trial in trials],
        "best": None if best.accuracy is None else dict(best.values),
        "seconds": round(seconds, 1),
    }
    folder = Path(arguments.output)
    (folder / "sweep.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "report.html").write_text(_page(arguments, varied, trials), encoding="utf-8")


def _page(arguments: argparse.Namespace, varied: Mapping[str, Sequence[str]], trials: Sequence[Trial]) -> str:
    """All trials as a table, and a plot of accuracy for each flag."""
    ranked = sorted(trials, key=_rank)
    head = [*varied, "accuracy", "loss", "best epoch", "seconds"]
    rows = []
    for trial in ranked:
        found = [page.text(trial.error or "failed"), "", ""]
        if trial.accuracy is not None:
            found = [f"{trial.accuracy:.4f}", f"{trial.loss:.4f}", str(trial.best_epoch)]
        rows.append([*(page.text(trial.values.get(flag, "")) for flag in varied), *found, f"{trial.seconds:.1f}"])
    done = [trial for trial in trials if trial.accuracy is not None]
    plots = [
        page.section(flag, page.dots([(t.values[flag], t.accuracy or 0.0) for t in done if flag in t.values]))
        for flag in varied
    ]
    best = ranked[0]
    cards = {"trials": f"{len(trials):,}"}
    if best.accuracy is not None:
        cards = {"best accuracy": f"{best.accuracy:.1%}", **cards, "best": _named(best.values)}
    subject = f"{arguments.backbone} on {arguments.data}"
    return page.document("Sweep", subject, [page.cards(cards), page.section("Trials", page.table(head, rows)), *plots])
