"""Compare fine-tuning techniques, most of which `train` does not offer, on a shortened recipe with three seeds each.

``python -m benchmarks.techniques`` measures all of them; names as arguments select some. The recipe runs with one view
of each photo and half of the epochs and augmented copies, which takes a quarter of the time. Each technique replaces a
function of `trainer.fitting` in the process that trains; the rest of the trainer is unchanged. Each of the 24 runs
takes some minutes. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import TRAINING, VALIDATION, finish, scratch, timed

SEEDS = (1, 2, 3)
METRICS = ("accuracy", "log_loss")
RECIPE = ("--data", TRAINING, "--validation-data", VALIDATION, "--fine-tune", "top", "--augment", "--views", "crop",
          "--epochs", 6, "--copies", 3)  # fmt: skip
LEAST_AREA, ASPECT_RATIO = 0.35, 4 / 3
RANDAUGMENT_OPERATIONS, RANDAUGMENT_STRENGTH, RANDAUGMENT_IMAGES = 2, 0.3, 8
RATE_PER_BLOCK = 0.8
TEACHER_SHARE, TEACHER_TEMPERATURE = 0.5, 2.0


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    """Replace a function of a module or class for the rest of the process. Raises AttributeError if there is none."""
    getattr(owner, name)
    setattr(owner, name, function)


def random_resized_crop() -> None:
    """Replace rotation, shifts, shear and zoom with crops of 35% to 100% of the area (Szegedy et al., CVPR 2015)."""
    from trainer.fitting import augmentation

    varied = augmentation.variation

    def cropped(settings: Any, drawn: np.ndarray, size: int) -> Any:
        plain = dataclasses.replace(settings, rotation=0.0, zoom=0.0, shift=0.0, shear=0.0)
        variation = varied(plain, drawn, size)
        area = LEAST_AREA + (1 - LEAST_AREA) * drawn[:, 1]
        stretch = np.sqrt(ASPECT_RATIO ** (2 * drawn[:, 2] - 1))
        width, height = (np.minimum(1, np.sqrt(area) * factor) for factor in (stretch, 1 / stretch))
        left, top = (size - 1) * (1 - width) * drawn[:, 3], (size - 1) * (1 - height) * drawn[:, 4]
        moves = variation.moves.copy()
        moves[:, 0], moves[:, 2] = width * moves[:, 0], width * moves[:, 2] + left
        moves[:, 4], moves[:, 5] = height * moves[:, 4], height * moves[:, 5] + top
        return variation._replace(moves=moves)

    _replace(augmentation, "variation", cropped)


def randaugment() -> None:
    """Replace the augmentation, except for flips, with Keras's RandAugment (Cubuk et al., NeurIPS 2020)."""
    import keras

    from trainer.fitting import augmentation
    from trainer.fitting.encoder import Encoder

    varied, runner = augmentation.variation, Encoder.runner
    layer = keras.layers.RandAugment((0, 255), RANDAUGMENT_OPERATIONS, RANDAUGMENT_STRENGTH, seed=0)

    def flipped(settings: Any, drawn: np.ndarray, size: int) -> Any:
        return varied(augmentation.Augmentation(flip=True), drawn, size)

    def augmenting(self: Encoder, models: Any, **options: Any) -> Callable[..., list[np.ndarray]]:
        run = runner(self, models, **options)
        if not options.get("varied"):
            return run
        return lambda images, *how: run(_augmented(layer, images), *how)

    _replace(augmentation, "variation", flipped)
    _replace(Encoder, "runner", augmenting)


def _augmented(layer: Any, images: np.ndarray) -> np.ndarray:
    """Apply RandAugment to a few images at a time, because the layer draws its operations once per call."""
    parts = [images[start : start + RANDAUGMENT_IMAGES] for start in range(0, len(images), RANDAUGMENT_IMAGES)]
    varied = np.concatenate([layer(part.astype(np.float32), training=True).numpy() for part in parts])
    return np.clip(np.rint(varied), 0, 255).astype(np.uint8)


def cutmix() -> None:
    """Replace mixup with CutMix, which pastes a box of another photo's activations (Yun et al., ICCV 2019)."""
    import tensorflow as tf

    from trainer.fitting import batches

    def boxed(inputs: Any, partners: Any, share: Any) -> Any:
        height, width = inputs.shape[1:3]
        side = tf.sqrt(1 - share)
        inside = []
        for length in (height, width):
            extent = side * length
            start = tf.random.uniform(tf.shape(share)) * (length - extent)
            place = tf.range(length, dtype=tf.float32)[tf.newaxis] + 0.5
            inside.append((place > start[:, tf.newaxis]) & (place < (start + extent)[:, tf.newaxis]))
        box = inside[0][:, :, tf.newaxis, tf.newaxis] & inside[1][:, tf.newaxis, :, tf.newaxis]
        return tf.where(box, partners, inputs)

    _replace(batches, "_mixed", boxed)


def layerwise_rates() -> None:
    """Lower the learning rate by a fifth with each block further below the head (Howard and Ruder, ACL 2018)."""
    import keras

    from trainer.fitting import optimizers

    class LayerwiseAdam(keras.optimizers.Adam):
        """Adam with a learning rate per block."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            """Update one variable with the learning rate of its block."""
            path = self._trainable_variables[self._get_variable_index(variable)].path
            super().update_step(gradient, variable, learning_rate * RATE_PER_BLOCK ** _blocks_above(path))

    made = optimizers.optimizer

    def layerwise(model: Any, stage: Any, steps: int) -> Any:
        plain = made(model, stage, steps)
        own = LayerwiseAdam(plain._learning_rate, weight_decay=plain.weight_decay)
        own.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
        own.build(model.trainable_variables)
        return own

    _replace(optimizers, "optimizer", layerwise)


def _blocks_above(path: str) -> int:
    """Count the blocks of MobileNetV2 above the block of a variable: 0 for the head, 1 for the last convolution."""
    block = re.search(r"block_(\d+)", path)
    if block:
        return 18 - int(block[1])
    return 1 if "Conv_1" in path else 0


def distillation(teachers: str) -> None:
    """Distill the ensemble of the recipe's three models: its scores are half of each target (Hinton et al., 2015).

    Args:
        teachers: folder of the model directories of the ensemble.
    """
    from trainer.fitting import batches, training

    scores: list[np.ndarray] = []
    prepare, targets = training.prepare, batches.Batches._targets

    def prepared(job: Any, *photos: Any) -> Any:
        found = prepare(job, *photos)
        scores.append(_ensemble_scores(Path(teachers), found.encoded.examples, job.config))
        return found

    def softened(self: Any, rows: np.ndarray) -> np.ndarray:
        return (1 - TEACHER_SHARE) * targets(self, rows) + TEACHER_SHARE * scores[0][rows]

    _replace(training, "prepare", prepared)
    _replace(batches.Batches, "_targets", softened)


def _ensemble_scores(teachers: Path, examples: Sequence[Any], config: Any) -> np.ndarray:
    """Return the mean probabilities of several models, softened by a temperature: float [N, K]."""
    from catalogue import model_dir
    from catalogue.model_dir import saved_model
    from trainer.evaluation import inference

    found = []
    for path in sorted(teachers.iterdir()):
        with model_dir.fetched(str(path)) as model:
            network = saved_model.load(model)
            scores = inference.classify(examples, len(examples), config.image, config.limits, network).probabilities
        soft = scores.astype(float) ** (1 / TEACHER_TEMPERATURE)
        found.append(soft / soft.sum(axis=1, keepdims=True))
    return np.mean(found, axis=0)


@dataclasses.dataclass(frozen=True)
class Variant:
    """The recipe with one change.

    Attributes:
        flags: flags added to the recipe.
        change: function that patches the trainer; None for flags alone.
        needs_teachers: whether `change` takes the folder of the recipe's models as its argument.
    """

    flags: tuple[str, ...] = ()
    change: Callable[..., None] | None = None
    needs_teachers: bool = False


VARIANTS = {
    "recipe": Variant(),
    "random-resized-crop": Variant(change=random_resized_crop),
    "RandAugment": Variant(change=randaugment),
    "CutMix": Variant(("--mixup", "1"), cutmix),
    "mixup": Variant(("--mixup", "0.2")),
    "layer-wise rates": Variant(change=layerwise_rates),
    "distillation": Variant(change=distillation, needs_teachers=True),
    "not averaged": Variant(("--ema", "0")),
}


def train(name: str, teachers: str, arguments: list[str]) -> int:
    """Train with a variant in this process. Return the exit code."""
    from trainer import task

    variant = VARIANTS[name]
    if variant.change:
        variant.change(*[teachers] * variant.needs_teachers)
    return task.main([*arguments, *variant.flags])


def metrics(name: str, folder: Path, keras_home: Path) -> dict[str, list[float]]:
    """Return accuracy and log loss on the validation photos, each by seed."""
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for seed in SEEDS:
        model = folder / name / str(seed)
        arguments = [*RECIPE, "--model-dir", model, "--seed", seed]
        timed("benchmarks.techniques", "--train", name, folder / "recipe", *arguments, keras_home=keras_home)
        measured = json.loads((model / "model.json").read_text())["metrics"]
        for metric, values in found.items():
            values.append(measured[metric])
        print(name, seed, measured["accuracy"], measured["log_loss"], file=sys.stderr, flush=True)
    return found


def compared(values: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    """Return the values of a variant by seed, their mean, and the mean gain over the recipe with its standard error."""
    gains = [value - base for value, base in zip(values, baseline, strict=True)]
    return {
        "values": values,
        "mean": statistics.mean(values),
        "gain": statistics.mean(gains),
        "standard_error": statistics.stdev(gains) / math.sqrt(len(gains)),
    }


def main(names: list[str]) -> None:
    """Measure variants, always starting with the unchanged recipe, and print one JSON line."""
    measured: dict[str, dict[str, Any]] = {}
    baseline: dict[str, list[float]] = {}
    with scratch() as folder:
        for name in dict.fromkeys(["recipe", *(names or VARIANTS)]):
            values = metrics(name, folder / "models", folder / "keras")
            baseline = baseline or values
            measured[name] = {metric: compared(values[metric], baseline[metric]) for metric in METRICS}
    finish({"seeds": SEEDS, "variants": measured})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        sys.exit(train(sys.argv[2], sys.argv[3], sys.argv[4:]))
    main(sys.argv[1:])
