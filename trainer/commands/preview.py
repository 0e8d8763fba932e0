"""The ``preview`` command: show the split, the input of the network and the augmentation before training.

The split of ``train`` can differ slightly, since ``train`` also keeps near-duplicates together.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np
import PIL.Image

from catalogue import storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line, say
from catalogue.cli.progress import Progress
from catalogue.html import page
from catalogue.images.spec import ImageSpec, Limits
from trainer.commands import data_flags, image_flags
from trainer.data.checks import check_sides
from trainer.data.examples import Example, own_image_size
from trainer.data.photos import NO_IMAGE, Photo, Unreadable, read_photo, read_photos
from trainer.data.sides import find_sides
from trainer.evaluation import split_sections
from trainer.fitting import augmentation, checks
from trainer.fitting.augmentation import Augmentation
from trainer.fitting.encoded import Encoded
from trainer.networks import names

COPIES = 23
_WHOLE_ARRAY = 1024  # numbers; only the edges of larger arrays are shown


def preview(arguments: argparse.Namespace) -> None:
    """Print the number of photos per class in each split, and write a report."""
    a, limits = arguments, flags.limits(arguments)
    data_flags.check(a)
    storage.check_new_folder(a.output, "--output")
    found = find_sides(a.data, a.validation_data, a.test_data, a.drop, class_names=a.class_names or ())
    check_sides(found)
    size = a.image_size or own_image_size(a.data) or names.default_image_size("")
    spec = image_flags.image_spec(size, a.resize, a.views)
    read = _read(found.all, spec, limits)
    checks.report_unreadable(read, len(found.all))
    validation, test = ({example.uri for example in own} for own in (found.validation, found.test))
    split = checks.choose_split(read, validation, test, None, a.validation_fraction, a.test_fraction or 0.0)
    checks.report_classes(read, split, found.labels)
    sides = split.sides(read.examples)
    photo = read_photo(sides["training"][0], spec, limits)
    if isinstance(photo, Unreadable):
        raise UserError(
            f"{photo.example.uri} could be read at first, but not a second time ({photo.error}): run the command again"
        )
    image = _colored(photo.image, a.color_mode)
    shape = f"{' × '.join(map(str, image.shape[:2]))}, gray" if _is_gray(image) else " × ".join(map(str, image.shape))
    about = f"{shape}, {image.dtype}, {image.min()} to {image.max()}"
    print_line(f"the first photo: {about}")
    sections = [
        page.cards({name: f"{len(examples):,}" for name, examples in sides.items()} | {"an image": about}),
        split_sections.counts(sides, found.labels),
        *split_sections.photos(sides),
        page.section("The first photo", _array(photo, image)),
    ]
    varied = image_flags.augmentation(a)
    if varied:
        sections.append(page.section("The first photo, augmented", _copies(photo, varied, a.seed, a.color_mode)))
    storage.make_folder(a.output, "--output")
    storage.write_text(f"{a.output}/report.html", page.document("Photos", f"{a.data}, before training", sections))
    say(f"report written to {a.output}")


def _read(examples: Sequence[Example], spec: ImageSpec, limits: Limits) -> Encoded:
    """Read the photos as ``train`` does, without keeping their pixels."""
    good: list[Photo] = []
    unreadable: list[Unreadable] = []
    with Progress("reading photos", len(examples), "photos") as progress:
        for photo in read_photos(examples, spec, limits):
            if isinstance(photo, Photo):
                good.append(dataclasses.replace(photo, image=NO_IMAGE))
            else:
                unreadable.append(photo)
            progress.advance(1)
    uris, hashes = tuple(photo.example for photo in good), tuple(photo.content_hash for photo in good)
    return Encoded(np.zeros((len(good), 0)), None, uris, hashes, tuple(unreadable))


def _is_gray(image: np.ndarray) -> bool:
    return bool((image == image[..., :1]).all())


def _colored(image: np.ndarray, color_mode: str) -> np.ndarray:
    """Convert an RGB image to a color mode; grayscale is ITU-R BT.601 luma, repeated in three channels."""
    if color_mode == "rgb":
        return image
    return np.asarray(PIL.Image.fromarray(image).convert("L").convert("RGB"))


def _array(photo: Photo, image: np.ndarray) -> str:
    """Return HTML with the network's input for a photo, both as a picture and as numbers."""
    is_gray = _is_gray(image)
    channels = {"gray": image[..., 0]} if is_gray else dict(zip(("red", "green", "blue"), image.T, strict=True))
    parts = [page.gallery([page.figure(page.jpeg(image), page.text(photo.example.label), photo.example.uri)])]
    for name, values in channels.items():
        shown = values if is_gray else values.T
        numbers = np.array2string(shown, max_line_width=400, threshold=_WHOLE_ARRAY, edgeitems=6)
        parts.append(f"<p>{name}</p>{page.preformatted(numbers)}")
    return "".join(parts)


def _copies(photo: Photo, varied: Augmentation, seed: int, color_mode: str) -> str:
    from trainer.fitting import warping  # importing TensorFlow takes seconds

    side = photo.image.shape[1]
    drawn = np.concatenate([augmentation.draws(seed, copy, 1) for copy in range(1, COPIES + 1)])
    images = np.repeat(photo.image[np.newaxis], COPIES, axis=0)
    made = warping.apply(images, *augmentation.variation(varied, drawn, side)).numpy()
    shown = [page.jpeg(_colored(image, color_mode)) for image in (photo.image, *made)]
    figures = [page.figure(shown[0], "<b>original</b>", photo.example.uri)]
    figures += [page.figure(picture, f"{number}", f"copy {number}") for number, picture in enumerate(shown[1:], 1)]
    return page.gallery(figures)
