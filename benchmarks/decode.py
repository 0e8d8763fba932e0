"""Measure how fast large JPEGs are reduced: by scaled decoding, and by full decoding followed by resizing.

The large JPEGs have 12 megapixels and are made of real photos. A mosaic of 66 photos in their own resolution has as
much detail as a large photo; an enlarged photo is as smooth as a slightly blurred photo. The two methods alternate on
each JPEG. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.commands import TRAINING, finish
from catalogue.images.reader import read_image
from catalogue.images.spec import ImageSpec

WIDTH, HEIGHT = 4032, 3024
SPEC = ImageSpec(224, "stretch")
PHOTOS, ROUNDS = 8, 5


def mosaics(photos: list[Path]) -> Iterator[bytes]:
    """Yield large JPEGs, each a mosaic of many photos."""
    files = iter(photos)
    for _ in range(PHOTOS):
        large = Image.new("RGB", (WIDTH, HEIGHT))
        for x in range(0, WIDTH, 400):
            for y in range(0, HEIGHT, 533):
                with Image.open(next(files)) as photo:
                    large.paste(photo, (x, y))
        yield as_jpeg(large)


def enlarged(photos: list[Path]) -> Iterator[bytes]:
    """Yield large JPEGs, each enlarged from one photo."""
    for file in photos[:PHOTOS]:
        with Image.open(file) as photo:
            yield as_jpeg(photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def as_jpeg(image: Image.Image) -> bytes:
    """Encode an image as a JPEG with the typical quality of a phone."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def plainly(data: bytes) -> np.ndarray:
    """Decode all pixels and resize them: uint8 [224, 224, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((SPEC.size, SPEC.size), Image.Resampling.BILINEAR))


def main() -> None:
    """Run the benchmark and print one JSON line."""
    photos = sorted(TRAINING.rglob("*.jpg"))
    chosen = [photos[number] for number in np.random.default_rng(0).permutation(len(photos))]
    result: dict[str, dict[str, float]] = {}
    for name, make in {"mosaics": mosaics, "enlarged": enlarged}.items():
        seconds = {"plain": 0.0, "scaled": 0.0}
        differences = []
        for data in make(chosen):
            for _ in range(ROUNDS):
                start = time.perf_counter()
                plain = plainly(data)
                middle = time.perf_counter()
                scaled = read_image(data, SPEC)
                seconds["plain"] += middle - start
                seconds["scaled"] += time.perf_counter() - middle
            differences.append(np.abs(plain.astype(int) - scaled).mean())
        count = PHOTOS * ROUNDS
        result[name] = {
            "plain_ms": 1000 * seconds["plain"] / count,
            "scaled_ms": 1000 * seconds["scaled"] / count,
            "ratio": seconds["plain"] / seconds["scaled"],
            "mean_difference": float(np.mean(differences)),
            "largest_mean_difference": float(np.max(differences)),
        }
    wanted = {f"{name}: four times as fast": own["ratio"] >= 4 for name, own in result.items()}
    finish(
        result,
        wanted
        | {f"{name}: mean difference at most 1.5": own["mean_difference"] <= 1.5 for name, own in result.items()},
    )


if __name__ == "__main__":
    main()
