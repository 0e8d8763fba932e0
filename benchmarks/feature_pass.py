"""Measure the overhead of ``train`` while it encodes the photos: its photos per second, relative to a ceiling.

Each round measures reading and decoding alone, on all cores; the frozen network alone, on all cores and in the default
precision of `train`; and `trainer.fitting.encoder.Encoder`, which does both concurrently. The ceiling is the speed of
decoding and the network in sequence on the same cores: 1 / (1 / decoding + 1 / network) photos per second. Requires
real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import collections
import os
import statistics
import sys
import time

import numpy as np

from benchmarks.commands import TRAINING, finish, scratch
from catalogue.images.spec import DEFAULT_LIMITS, ImageSpec
from trainer.data.examples import find_examples
from trainer.data.photos import Photo, read_photos
from trainer.fitting import distribution, precision
from trainer.fitting.encoder import Encoder
from trainer.networks import backbones
from trainer.networks.names import NOTHING
from trainer.networks.network import Network

ROUNDS, BATCH, SPEC = 5, 32, ImageSpec(224)


def main() -> None:
    """Run the benchmark and print one JSON line."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    with scratch() as folder:
        os.environ["KERAS_HOME"] = str(folder / "keras")
        devices = distribution.find()
        in_bfloat16 = precision.frozen_in_bfloat16("auto", devices)
        network = Network.on(backbones.build("MobileNetV2", "imagenet", SPEC.size), 10, fine_tune=NOTHING)
        examples = find_examples(str(TRAINING))
        for round_ in range(ROUNDS):
            kept = folder / f"round-{round_}"
            kept.mkdir()
            encoder = Encoder(network, devices, SPEC, DEFAULT_LIMITS, BATCH, kept, in_bfloat16)
            start = time.perf_counter()
            images = [photo.image for photo in read_photos(examples, SPEC) if isinstance(photo, Photo)]
            decoding = len(images) / (time.perf_counter() - start)
            run = encoder.runner([network.lower], in_bfloat16=in_bfloat16)
            batches = [np.stack(images[first : first + BATCH]) for first in range(0, len(images), BATCH)]
            run(batches[0])
            start = time.perf_counter()
            for batch in batches:
                run(batch)
            running = len(images) / (time.perf_counter() - start)
            start = time.perf_counter()
            encoder.encode(examples, with_features=True)
            whole = len(examples) / (time.perf_counter() - start)
            ceiling = 1 / (1 / decoding + 1 / running)
            row = {"decoding": decoding, "network": running, "encoder": whole, "of_ceiling": whole / ceiling}
            for key, value in row.items():
                found[key].append(value)
            print({key: round(value, 3) for key, value in row.items()}, file=sys.stderr)
    medians = {key: statistics.median(values) for key, values in found.items()}
    finish(medians | {"in_bfloat16": in_bfloat16}, {"0.9 of the ceiling": medians["of_ceiling"] >= 0.9})


if __name__ == "__main__":
    main()
