"""The ``evaluate`` command: evaluate a model on labeled photos, alone or compared with another model."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from catalogue import model_dir, storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line, say
from catalogue.cli.text import counted
from catalogue.images.spec import Limits
from catalogue.model_dir import ModelInfo
from catalogue.reasons import StorageError
from trainer.data import idx, labels
from trainer.data.examples import Example, find_examples
from trainer.evaluation import inference, metrics
from trainer.evaluation.evaluated import Comparison, Evaluated
from trainer.evaluation.gates import check_gate_names, check_gates
from trainer.evaluation.inference import Classified
from trainer.evaluation.metrics import measure
from trainer.evaluation.report import evaluation_page
from trainer.export import training_photos

LISTED = 50


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate a model on labeled photos, print the metrics and, with ``--output``, write them to files."""
    output, limits, gates = arguments.output, flags.limits(arguments), arguments.fail_under or []
    if output:
        storage.check_new_folder(output, "--output")
    examples = find_examples(arguments.data, class_names=arguments.class_names or ())
    with model_dir.fetched(arguments.model_dir) as model:
        info = model.info
        examples = _by_name(examples, info)
        _check_labels(arguments.data, examples, info)
        check_gate_names(gates, info.labels)
        from catalogue.model_dir import saved_model  # importing TensorFlow takes seconds

        other = None
        if arguments.compare:
            other = _classified_by(arguments.compare, arguments.data, examples, limits, saved_model.load)
        result = inference.classify(examples, len(examples), info.image, limits, saved_model.load(model))
        known = training_photos.count_known(model, result.content_hashes)
    if not result.examples:
        raise UserError(
            f"{arguments.data} contains {counted(len(examples), 'file')}, but none can be read as a photo: choose "
            "another --data"
        )
    index = {label: number for number, label in enumerate(info.labels)}
    truth = np.array([index[example.label] for example in result.examples])
    measured = measure(truth, result.probabilities, info.labels, info.temperature)
    comparison = _compared(info, truth, result, other) if other else None
    _print_metrics(info, measured, result)
    if known:
        print_line(
            f"warning: the model was trained on {known:,} of the {counted(len(result.examples), 'photo')}: the metrics "
            "are too optimistic"
        )
    if comparison:
        _print_comparison(info, comparison)
    if output:
        uris = tuple(example.uri for example in result.examples)
        unreadable = len(result.unreadable)
        evaluated = Evaluated(
            f"{counted(len(uris), 'photo')} of {arguments.data}", uris, truth, result.probabilities, unreadable
        )
        try:
            _write(output, info, measured, result, evaluated, comparison)
        except StorageError as error:
            raise UserError(f"--output {output} cannot be written: {error.message}") from error
    check_gates(measured, gates)


def _by_name(examples: Sequence[Example], info: ModelInfo) -> list[Example]:
    """Return the examples with their labels replaced by the model's class names.

    Labels may be WordNet IDs of ImageNet classes, and the model's class names may use another Unicode normalization
    form, see `trainer.data.labels`.
    """
    names = {labels.normalized(label): label for label in info.labels}
    names |= dict(zip(info.training.get("class_ids", ()), info.labels, strict=False))
    return [dataclasses.replace(example, label=names.get(example.label, example.label)) for example in examples]


def _check_labels(data: str, examples: Sequence[Example], info: ModelInfo, purpose: str = "") -> None:
    unknown = sorted({example.label for example in examples} - set(info.labels))
    if unknown:
        shown = ", ".join(map(repr, unknown[:10]))
        advice = "give --class-names" if idx.is_images_file(data) else "remove them"
        raise UserError(f"{purpose}{data} has classes that model {info.id} does not know: {shown}; {advice}")


def _classified_by(
    path: str,
    data: str,
    examples: Sequence[Example],
    limits: Limits,
    load: Callable[[model_dir.ModelDir], inference.Network],
) -> tuple[ModelInfo, Classified]:
    """Classify the examples with the model directory at `path`, the value of ``--compare``."""
    with model_dir.fetched(path) as model:
        _check_labels(data, examples, model.info, "--compare: ")
        say(f"classifying with model {model.info.id} of --compare")
        return model.info, inference.classify(examples, len(examples), model.info.image, limits, load(model))


def _compared(
    info: ModelInfo, truth: np.ndarray, result: Classified, other: tuple[ModelInfo, Classified]
) -> Comparison:
    """Compare two models on the photos that both could read."""
    before, theirs = other
    index = {label: number for number, label in enumerate(info.labels)}
    names = [before.labels[number] for number in theirs.probabilities.argmax(axis=1)]
    said = {example.uri: index.get(name, -1) for example, name in zip(theirs.examples, names, strict=True)}
    both = np.array([example.uri in said for example in result.examples])
    if not both.any():
        raise UserError(f"model {before.id} of --compare can read none of the photos: choose another --data")
    old = np.array([said.get(example.uri, -1) for example in result.examples])
    new = result.probabilities.argmax(axis=1)
    was, now = old == truth, new == truth
    compared = metrics.compared(truth[both], old[both], new[both], info.labels)
    return Comparison(before.id, compared, old, fixed=both & ~was & now, broken=both & was & ~now)


def _print_metrics(info: ModelInfo, measured: dict[str, Any], result: Classified) -> None:
    width = max(map(len, info.labels))
    print_line(f"{'class':{width}}  precision  recall     F1  photos  share in training")
    for label, values in measured["per_class"].items():
        cells = ("–" if values[name] is None else f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))
        precision, recall, f1 = cells
        share = f"{info.class_shares.get(label, 0):.1%}"
        print_line(f"{label:{width}}  {precision:>9}  {recall:>6}  {f1:>5}  {values['support']:6,}  {share:>17}")
    low, high = measured["accuracy_interval"]
    print_line(
        f"accuracy {measured['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})  photos {measured['examples']:,}"
    )
    chance = "; the model is no better than chance" if metrics.is_chance(measured) else ""
    print_line(f"baseline accuracy (most frequent label) {measured['baseline_accuracy']:.4f}{chance}")
    print_line(f"top-5 accuracy {measured['top_5_accuracy']:.4f}  macro F1 {measured['macro_f1']:.4f}")
    print_line(
        f"log loss {measured['log_loss']:.4f}  calibration error {measured['calibration_error']:.4f}, before "
        f"temperature scaling {measured['calibration_error_before']:.4f}  model {info.id}"
    )
    if result.unreadable:
        reasons = collections.Counter(photo.error.reason.code for photo in result.unreadable)
        print_line("unreadable: " + ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()))


def _print_comparison(info: ModelInfo, comparison: Comparison) -> None:
    found = comparison.result
    width = max(map(len, info.labels))
    print_line(f"\n{'class':{width}}  fixed  broken")
    for label, counts in found["per_class"].items():
        print_line(f"{label:{width}}  {counts['fixed']:5,}  {counts['broken']:6,}")
    print_line(
        f"model {comparison.before} of --compare has accuracy {found['accuracy_before']:.4f}, model {info.id} "
        f"has {found['accuracy']:.4f}: {counted(found['fixed'], 'photo')} fixed, {found['broken']:,} broken, "
        f"p = {found['p_value']:.3g} (McNemar)"
    )


def _write(
    output: str,
    info: ModelInfo,
    measured: dict[str, Any],
    result: Classified,
    evaluated: Evaluated,
    comparison: Comparison | None,
) -> None:
    def write(name: str, content: str) -> None:
        storage.write_text(f"{output.rstrip('/')}/{name}", content)

    def listed(rows: np.ndarray) -> list[dict[str, Any]]:
        return [_row(info, evaluated, row) for row in rows[:LISTED]]

    content = {"model_id": info.id, "labels": list(info.labels), **measured}
    content |= {"most_wrong": listed(evaluated.most_wrong), "least_sure": listed(evaluated.least_certain)}
    content["unreadable"] = [
        {"uri": p.example.uri, "reason": p.error.reason.code, "message": p.error.message} for p in result.unreadable
    ]
    if comparison:
        flips = np.flatnonzero(comparison.fixed | comparison.broken)
        names = [*info.labels, None]  # index -1, for a label that the new model does not have, gives None
        rows = [_row(info, evaluated, row) | {"before": names[comparison.old[row]]} for row in flips.tolist()]
        content["comparison"] = {"model_id": comparison.before, **comparison.result, "flips": rows}
    write("evaluation.json", json.dumps(content, indent=1))  # ASCII, since file names need not be valid UTF-8
    lines = []
    for example, row in zip(result.examples, result.probabilities, strict=True):
        scores = {label: float(score) for label, score in zip(info.labels, row, strict=True)}
        record = {"uri": example.uri, "truth": example.label, "label": info.labels[row.argmax()], "scores": scores}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    write("predictions.jsonl", "".join(lines))
    write("report.html", evaluation_page(info, measured, evaluated, comparison=comparison))
    say(f"results written to {output}")


def _row(info: ModelInfo, evaluated: Evaluated, row: int) -> dict[str, Any]:
    label = evaluated.predicted[row]
    return {
        "uri": evaluated.uris[row],
        "truth": info.labels[evaluated.truth[row]],
        "label": info.labels[label],
        "score": float(evaluated.probabilities[row, label]),
    }
