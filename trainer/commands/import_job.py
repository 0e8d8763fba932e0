"""The work of ``import``: wrap a Keras classifier, evaluate it and export it as a model directory."""

from __future__ import annotations

import argparse
import datetime
import platform
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from catalogue.cli.versions import versions
from catalogue.images.spec import POLICY, ImageSpec, Limits
from catalogue.model_dir import ModelInfo, file_digest
from trainer.commands import image_flags
from trainer.commands.import_flags import FIND_OUT
from trainer.data.examples import Example
from trainer.data.identity import contents_digest
from trainer.evaluation import gates, inference, metrics
from trainer.evaluation.evaluated import Evaluated
from trainer.evaluation.report import evaluation_page
from trainer.evaluation.split_sections import spread
from trainer.export import publishing, writing
from trainer.export.describing import PACKAGES
from trainer.fitting import checks
from trainer.networks import compiling, foreign
from trainer.networks.network import Network

TRIED_ON, SURELY = 200, 0.01


def run(arguments: argparse.Namespace, examples: Sequence[Example]) -> ModelInfo:
    """Import the classifier and write its model directory.

    Args:
        arguments: parsed flags of ``import``.
        examples: labeled photos to evaluate on.

    Returns:
        The content of ``model.json``.

    Raises:
        UserError: the file is not an image classifier or does not match the labels, none of the photos can be read, or
            no preparation is clearly the best.
        CommandFailed: a metric is below ``--fail-under``.
    """
    a, limits = arguments, flags.limits(arguments)
    model = foreign.load(a.model)
    if model.output_shape[1] != len(a.labels):
        raise UserError(
            f"the model needs {counted(model.output_shape[1], 'class name')}, but --labels has {len(a.labels):,}: name "
            "every class"
        )
    spec = image_flags.image_spec(foreign.image_size(model, a.image_size), a.resize, None)
    preparation = a.preparation
    if preparation == FIND_OUT:
        preparation = _best_preparation(model, spec, limits, spread(examples, TRIED_ON), a.labels)
    network = foreign.network(model, spec.size, preparation)
    classifier = network.calibrated(1.0)
    result = inference.classify(examples, len(examples), spec, limits, compiling.compiled(classifier))
    checks.report_unreadable(result, len(examples))
    truth = _truth(result.examples, a.labels)
    measured = metrics.measure(truth, result.probabilities, a.labels)
    gates.check_gates(measured, a.fail_under or ())
    uris = [example.uri for example in result.examples]
    tried = Evaluated(f"photos from {a.data}", uris, truth, result.probabilities, len(result.unreadable))
    info = ModelInfo(
        id="",
        labels=tuple(a.labels),
        image=spec,
        policy=POLICY,
        temperature=1.0,
        class_shares={},
        metrics=measured,
        training={
            "backbone": network.backbone.name,
            "weights": Path(a.model).name,
            "weights_hash": file_digest(Path(a.model)),
            "preparation": preparation,
            "epochs_run": [],
        },
        network=tuple(network.layers()),
        data={
            "training_photos": 0,
            "validation_photos": len(uris),
            "unreadable_photos": len(result.unreadable),
            "validation": "given",
            "contents": contents_digest(result.contents),
        },
        versions={"python": platform.python_version()} | versions(PACKAGES),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        files={},
    )
    info = writing.identified(classifier, info)
    report = evaluation_page(info, measured, tried)
    with publishing.workplace(a.model_dir) as workplace:
        return writing.write_and_publish(workplace, a.model_dir, classifier, info, tried, limits, report)


def _best_preparation(
    model: keras.Model, spec: ImageSpec, limits: Limits, examples: Sequence[Example], labels: Sequence[str]
) -> str:
    """Return the preparation with a significantly higher accuracy than every other one.

    Raises:
        UserError: the best preparation is not significantly better than another, or no photo can be read.
    """
    right = dict[str, np.ndarray]()
    for name in foreign.preparations(model):
        made: Network = foreign.network(model, spec.size, name)
        run = compiling.compiled(made.calibrated(1.0))
        result = inference.classify(examples, len(examples), spec, limits, run)
        checks.report_unreadable(result, len(examples))
        right[name] = result.probabilities.argmax(axis=1) == _truth(result.examples, labels)
        say(f"--preparation {name}: accuracy {right[name].mean():.3f}")
    best, *others = sorted(right, key=lambda name: -right[name].mean())
    for other in others:
        fixed, broken = (int((right[a] & ~right[b]).sum()) for a, b in ((best, other), (other, best)))
        if metrics.mcnemar(fixed, broken) > SURELY:
            raise UserError(
                f"--preparation {best} has an accuracy of {right[best].mean():.1%}, and {other} has "
                f"{right[other].mean():.1%}, too close to choose: give the one that the model was trained with"
            )
    say(f"chose --preparation {best}")
    return best


def _truth(examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray:
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[example.label] for example in examples])
