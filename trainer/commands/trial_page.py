"""HTML page of one trial of a sweep: the report of ``train`` with the same flags."""

from __future__ import annotations

import dataclasses

from catalogue.html import page
from trainer.evaluation import metrics
from trainer.evaluation.evaluated import Evaluated
from trainer.evaluation.report import evaluation_page
from trainer.export.describing import describe_trained
from trainer.fitting.training import Job, Prepared, TrainingResult


def trial_page(job: Job, prepared: Prepared, result: TrainingResult, name: str) -> str:
    """Return the whole page.

    Args:
        job, prepared, result: job, prepared photos and training result of the trial.
        name: varied flags and their values, as text.
    """
    config, split, fit, labels = job.config, prepared.split, result.final_fit, job.labels
    truth = prepared.truth[split.validation]
    temperature = metrics.fit_temperature(fit.logits, truth)
    probabilities = metrics.softmax(fit.logits / temperature)
    tested = None
    rows, shown, which = (
        split.validation,
        probabilities,
        f"validation photos from {config.validation_data or config.data}",
    )
    if len(split.test):
        rows, shown = split.test, metrics.softmax(fit.test_logits / temperature)
        which = f"test photos from {config.test_data or config.data}"
        tested = metrics.measure(prepared.truth[rows], shown, labels, temperature)
    info = dataclasses.replace(
        describe_trained(job, prepared, result, None),
        temperature=temperature,
        metrics=metrics.measure(truth, probabilities, labels, temperature, calibrated_here=True),
        test_metrics=tested,
    )
    uris = [prepared.encoded.examples[row].uri for row in rows]
    unreadable = len(prepared.encoded.unreadable)
    evaluated = Evaluated(f"{name} · {which}", uris, prepared.truth[rows], shown, unreadable)
    parent = page.file_link("../report.html", "Sweep")
    return evaluation_page(info, tested or info.metrics, evaluated, fitting=True, parent=parent)
