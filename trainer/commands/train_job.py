"""The work of ``train``: set up devices and checkpoints, train, evaluate and export the model."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from catalogue import model_dir, storage
from catalogue.cli.errors import CommandFailed, UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.config import TrainConfig
from trainer.data import label_issues
from trainer.data.examples import Example
from trainer.data.identity import contents_digest, contents_of
from trainer.data.sides import Sides
from trainer.evaluation import data_sections, gates, inference, metrics, split_sections
from trainer.evaluation.evaluated import Evaluated
from trainer.evaluation.inference import Classified
from trainer.evaluation.report import evaluation_page
from trainer.export import publishing, training_photos, writing
from trainer.export.describing import describe, describe_trained
from trainer.fitting import checkpoints, checks, distribution, events, training
from trainer.fitting.checkpoints import FEATURES, Checkpoints
from trainer.fitting.training import Job, Prepared
from trainer.networks import compiling, pretrained


class BelowGateError(CommandFailed):
    """A metric is below ``--fail-under``: the model is not written, and its checkpoints are kept."""


def run(config: TrainConfig, sides: Sides) -> model_dir.ModelInfo | None:
    """Train a model and write its model directory.

    Args:
        config: settings of the run.
        sides: photos of the run.

    Returns:
        The content of ``model.json``; None on workers other than the chief.
    """
    classes = pretrained.classes() if config.keep_top else None
    labels = classes.names if classes else sides.labels
    if classes:
        gates.check_gate_names(config.fail_under, labels)
    devices = distribution.find()
    with contextlib.ExitStack() as stack:
        workplace = stack.enter_context(publishing.workplace(config.model_dir)) if devices.is_chief else None
        kept = stack.enter_context(_kept(config, sides.digest)) if devices.is_chief else Checkpoints(None)
        scratch = stack.enter_context(_scratch(kept))
        watch = stack.enter_context(events.written(config.log_dir if devices.is_chief else None))
        job = Job(config, labels, sides.digest, devices, kept, scratch, watch)
        with devices.together():
            if classes:
                return _export_pretrained(job, classes, sides.training, workplace) if workplace else None
            return _train(job, sides, workplace)


@contextlib.contextmanager
def _kept(config: TrainConfig, photos: str) -> Iterator[Checkpoints]:
    """Open the run's checkpoints, and remove them at the end.

    They are kept if the run is interrupted, crashes or misses ``--fail-under``, and if a resumed run fails.
    """
    folder = config.checkpoint_dir.rstrip("/")
    opened = checkpoints.opened(
        folder,
        checkpoints.run_of(config.result_settings, photos),
        resume=config.resume,
        seconds=config.checkpoint_seconds,
    )
    try:
        yield opened
    except BelowGateError:
        raise
    except (UserError, CommandFailed):
        if not opened.resumed:
            checkpoints.remove(folder)
        raise
    except KeyboardInterrupt:
        say(f"checkpoints kept in {folder}: resume with the same flags and --resume")
        raise
    checkpoints.remove(folder)


@contextlib.contextmanager
def _scratch(kept: Checkpoints) -> Iterator[Path]:
    """Open a local folder for the outputs of the frozen layers: in the checkpoint folder if local, else temporary."""
    if kept.folder and not storage.is_remote(kept.folder):
        features = Path(kept.folder, FEATURES)
        features.mkdir(exist_ok=True)
        yield features
        return
    with tempfile.TemporaryDirectory(prefix="trainer-") as folder:
        yield Path(folder)


def _train(job: Job, sides: Sides, workplace: Path | None) -> model_dir.ModelInfo | None:
    config = job.config
    prepared = training.prepare(job, sides.training, sides.validation)
    result = training.fit(job, prepared)
    if workplace is None:
        return None
    validation = prepared.split.validation
    truth, final_fit = prepared.truth[validation], result.final_fit
    temperature = metrics.fit_temperature(final_fit.logits, truth)
    model = training.portable(job, result.network).calibrated(temperature)
    probabilities = metrics.softmax(final_fit.logits / temperature)
    validating = [prepared.encoded.examples[row] for row in validation]
    run = compiling.compiled(model)
    # Without --refit, the metrics are those of the exported network, which computes in full precision.
    if job.dtype_policy != training.FULL_PRECISION and not config.refit:
        probabilities = inference.classify(validating, len(validating), config.image, config.limits, run).probabilities
    subject = f"validation photos from {config.validation_data or config.data}"
    uris = [example.uri for example in validating]
    validated = Evaluated(subject, uris, truth, probabilities, len(prepared.encoded.unreadable))
    testing = [*sides.test, *(prepared.encoded.examples[row] for row in prepared.split.test)]
    tested = _tested(job, testing, prepared, run) if testing else None
    info = dataclasses.replace(
        describe_trained(job, prepared, result, tested),
        temperature=temperature,
        metrics=metrics.measure(truth, probabilities, job.labels, temperature, calibrated_here=True),
        test_metrics=_measured(tested, job.labels, temperature) if tested else None,
    )
    info, found = writing.identified(model, info), _looked_at(job, prepared)
    about_data = [*_sides(job, prepared, sides), *found.sections]
    shown = _evaluated_test(tested, job, config.test_data or config.data) if tested else validated
    report = evaluation_page(info, info.test_metrics or info.metrics, shown, fitting=True, about_data=about_data)
    try:
        gates.check_gates(info.test_metrics or info.metrics, config.fail_under)
    except CommandFailed as error:
        where = job.checkpoints.keep_report(report, found.files.get(label_issues.FILE))
        raise BelowGateError(f"{error}; {where}") from error
    written = writing.write_and_publish(
        workplace, config.model_dir, model, info, validated, config.limits, report, found.files
    )
    if found.suspicious:
        where = f"{config.model_dir.rstrip('/')}/{label_issues.FILE}"
        say(
            f"{counted(found.suspicious, 'photo')} may have the wrong label: delete the rows of {where} whose label "
            "is right, then pass the file to --drop"
        )
    return written


def _sides(job: Job, prepared: Prepared, sides: Sides) -> list[str]:
    """Return the report's sections on the split of the photos."""
    found = prepared.split.sides(prepared.encoded.examples)
    if sides.test:
        found["test"] = list(sides.test)
    shown = {
        name: own for name, own in found.items() if name != "validation"
    }  # the report shows validation photos with their scores
    return [split_sections.counts(found, job.labels), *split_sections.photos(shown)]


class _LookedAt(NamedTuple):
    """Findings about the training data.

    Attributes:
        files: files for the model directory, name -> content.
        sections: HTML sections for the report.
        suspicious: number of photos whose label may be wrong.
    """

    files: dict[str, bytes]
    sections: list[str]
    suspicious: int


def _looked_at(job: Job, prepared: Prepared) -> _LookedAt:
    encoded, truth = prepared.encoded, prepared.truth
    uris = [example.uri for example in encoded.examples]
    fitted_to = prepared.varied if job.config.refit else prepared.split.training
    training_hashes = [encoded.content_hashes[row] for row in fitted_to]
    files, issues = {training_photos.NAME: training_photos.content(training_hashes)}, None
    is_enough = len(truth) >= label_issues.LEAST_PER_CLASS * len(job.labels)
    if encoded.features is not None and prepared.duplicates is not None and is_enough:
        issues = label_issues.find_label_issues(encoded.features, truth, len(job.labels))
        listed = label_issues.as_csv(issues, uris, truth, job.labels)
        files[label_issues.FILE] = listed.encode("utf-8", "surrogateescape")
    sections = data_sections.sections(uris, truth, job.labels, prepared.duplicates, issues)
    return _LookedAt(files, sections, len(issues.rows) if issues else 0)


def _tested(job: Job, examples: Sequence[Example], prepared: Prepared, run: inference.Network) -> Classified:
    """Classify the test photos with the finished network.

    Raises:
        UserError: none of the photos can be read.
    """
    config, encoded = job.config, prepared.encoded
    tested = inference.classify(examples, len(examples), config.image, config.limits, run)
    checks.report_unreadable(tested, len(examples))
    seen = np.concatenate([prepared.split.training, prepared.split.validation])
    same = len(set(tested.content_hashes) & {encoded.content_hashes[row] for row in seen})
    checks.warn_of_tested(same)
    return tested


def _measured(tested: Classified, labels: Sequence[str], temperature: float) -> dict[str, Any]:
    return metrics.measure(_truth(tested, labels), tested.probabilities, labels, temperature)


def _evaluated_test(tested: Classified, job: Job, data: str) -> Evaluated:
    uris = [example.uri for example in tested.examples]
    truth = _truth(tested, job.labels)
    return Evaluated(f"test photos from {data}", uris, truth, tested.probabilities, len(tested.unreadable))


def _truth(tested: Classified, labels: Sequence[str]) -> np.ndarray:
    return np.searchsorted(labels, [example.label for example in tested.examples])


def _export_pretrained(
    job: Job, classes: pretrained.Classes, examples: Sequence[Example], workplace: Path
) -> model_dir.ModelInfo:
    """Write the model directory of a pretrained network with its own head; the photos serve only to evaluate it."""
    config = job.config
    network = pretrained.build(config.backbone, config.weights, config.image.size, len(config.image.views))
    model = network.calibrated(1.0)
    result = inference.classify(examples, len(examples), config.image, config.limits, compiling.compiled(model))
    checks.report_unreadable(result, len(examples))
    truth = classes.numbers_of([example.label for example in result.examples])
    known = truth >= 0
    measured = metrics.measure(truth[known], result.probabilities[known], job.labels) if known.any() else {}
    if config.fail_under and not measured:
        raise UserError(
            "--fail-under needs photos with ImageNet labels, but --data has none: add some, or omit --fail-under"
        )
    gates.check_gates(measured, config.fail_under)
    if measured and not known.all():
        say(f"not evaluated: {counted(int((~known).sum()), 'photo')} without an ImageNet label")
    shown = known if measured else ~known
    uris = [result.examples[row].uri for row in np.flatnonzero(shown)]
    tried = Evaluated(
        f"photos from {config.data}", uris, truth[shown], result.probabilities[shown], len(result.unreadable)
    )
    data = {
        "training_photos": 0,
        "validation_photos": int(known.sum()),
        "unreadable_photos": len(result.unreadable),
        "validation": "given",
        "contents": contents_digest(contents_of(examples, config.limits)),
    }
    fitting = {"policy": training.FULL_PRECISION, "class_ids": list(classes.ids)}
    info = writing.identified(model, dataclasses.replace(describe(job, network, fitting, {}, data), metrics=measured))
    report = evaluation_page(info, info.metrics, tried)
    return writing.write_and_publish(workplace, config.model_dir, model, info, tried, config.limits, report)
