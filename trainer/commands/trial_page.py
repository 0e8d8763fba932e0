"""HTML page of one trial of a sweep: the report of ``train`` with the same flags."""

from __future__ import annotations

import dataclasses

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
    split, fit, labels = prepared.split, result.final_fit, job.labels
    truth = prepared.truth[split.validation]
    temperature = metrics.fit_temperature(fit.logits, truth)
    probabilities = metrics.softmax(fit.logits / temperature)
    tested = None
    if len(split.test):
        scores = metrics.softmax(fit.test_logits / temperature)
        tested = metrics.measure(prepared.truth[split.test], scores, labels, temperature)
    info = dataclasses.replace(
        describe_trained(job, prepared, result, None),
        temperature=temperature,
        metrics=metrics.measure(truth, probabilities, labels, temperature, calibrated_here=True),
        test_metrics=tested,
    )
    uris = [prepared.encoded.examples[row].uri for row in split.validation]
    subject = f"{name}; validation photos of {job.config.validation_data or job.config.data}"
    evaluated = Evaluated(subject, uris, truth, probabilities, len(prepared.encoded.unreadable))
    return evaluation_page(info, info.metrics, evaluated, fitting=True)
