"""The ``import`` command: convert a classifier trained by another program into a model directory."""

from __future__ import annotations

import argparse
import collections
from collections.abc import Sequence

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from trainer.data import idx
from trainer.data.examples import Example, find_examples
from trainer.evaluation import gates, verdict


def import_model(arguments: argparse.Namespace) -> None:
    """Evaluate the classifier on labeled photos and write a model directory."""
    a = arguments
    storage.check_new_folder(a.model_dir, "--model-dir")
    if storage.is_remote(a.model) or not storage.is_file(a.model):
        raise UserError(f"--model {a.model} is not a local file: give the path of a .keras or .h5 file")
    gates.check_gate_names(a.fail_under or (), a.labels)
    examples = find_examples(a.data, class_names=a.labels if idx.is_images_file(a.data) else ())
    _check_labels(examples, a.labels)
    say("importing TensorFlow and reading the model")
    from trainer.commands import import_job

    info = import_job.run(a, examples)
    for sentence in verdict.sentences(info):
        say(sentence)
    say(f"model {info.id} written to {a.model_dir}")


def _check_labels(examples: Sequence[Example], labels: Sequence[str]) -> None:
    unknown = collections.Counter(example.label for example in examples if example.label not in labels)
    if unknown:
        shown = ", ".join(map(repr, sorted(unknown)[:10]))
        raise UserError(f"--data has classes that --labels does not name: {shown}; name or remove them")
