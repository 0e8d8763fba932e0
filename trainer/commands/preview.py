"""The ``preview`` command: labelled photos as ``train`` would divide, resize and vary them, before it fits anything."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from catalogue import storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line, say
from catalogue.cli.progress import Progress
from catalogue.html import page
from catalogue.images.spec import ImageSpec, Limits
from trainer.commands import data_flags, image_flags
from trainer.data import checks
from trainer.data.examples import Example, own_image_size
from trainer.data.photos import Photo, content_hashes, read_photo
from trainer.data.sides import Sides, find_sides
from trainer.data.split import Split, held_out_test, split_by_content
from trainer.evaluation import split_sections
from trainer.fitting import augmentation
from trainer.fitting.augmentation import Augmentation
from trainer.networks import names

COPIES = 23
_WHOLE_ARRAY = 1024  # numbers; of larger ones the edges are shown


def preview(arguments: argparse.Namespace) -> None:
    """Prints how many photos of each class are on each side; writes a page to look at."""
    a, limits = arguments, flags.limits(arguments)
    data_flags.check(a)
    storage.check_new_folder(a.output, "--output")
    found = find_sides(a.data, a.validation_data, a.test_data, a.drop, class_names=a.class_names or ())
    checks.check_sides(found)
    size = a.image_size or own_image_size(a.data) or names.default_image_size("")
    spec = image_flags.image_spec(size, a.resize, a.views)
    sides = _divided(found, a.validation_fraction, a.test_fraction or 0.0, limits)
    _print_counts(sides, found.labels)
    photo = _first(sides["training"], spec, limits)
    image = photo.image
    about = f"{' × '.join(map(str, image.shape))}, {image.dtype}, {image.min()} to {image.max()}"
    print_line(f"the first photo: {about}")
    sections = [
        page.cards({name: f"{len(examples):,}" for name, examples in sides.items()} | {"an image": about}),
        split_sections.counts(sides, found.labels),
        *split_sections.photos(sides),
        page.section("The first photo", _array(photo)),
    ]
    varied = image_flags.augmentation(a)
    if varied:
        sections.append(page.section("The first photo, varied", _copies(photo, varied, a.seed)))
    storage.make_folder(a.output, "--output")
    storage.write_text(f"{a.output}/report.html", page.document("Photos", f"{a.data}, before training", sections))
    say(f"written to {a.output}")


def _divided(sides: Sides, validation: float, test: float, limits: Limits) -> dict[str, list[Example]]:
    """The photos by what they are for, as ``train`` divides them but for near-duplicates, which only it looks for."""
    if sides.validation and (sides.test or not test):
        given = {"training": sides.training, "validation": sides.validation, "test": sides.test}
        return {name: list(examples) for name, examples in given.items() if examples}
    hashed = list(_hashed(sides.training, limits))
    examples, labels = [example for example, _ in hashed], np.array([example.label for example, _ in hashed])
    hashes = np.array([content_hash for _, content_hash in hashed])
    tests = held_out_test(labels, hashes, 0.0 if sides.test else test)
    validates = np.zeros(len(examples), bool)
    if not sides.validation:
        validates[~tests] = split_by_content(labels[~tests], hashes[~tests], validation)
    split = Split.of(validates, tests)
    found = {
        "training": [examples[row] for row in split.training],
        "validation": [*sides.validation, *(examples[row] for row in split.validation)],
        "test": [*sides.test, *(examples[row] for row in split.test)],
    }
    return {name: own for name, own in found.items() if own}


def _hashed(examples: Sequence[Example], limits: Limits) -> Iterator[tuple[Example, str]]:
    """The photos that can be read, with the hashes of their contents."""
    with Progress("reading photos", len(examples), "photos") as progress:
        for example, content_hash in zip(examples, content_hashes(examples, limits), strict=True):
            if content_hash:
                yield example, content_hash
            progress.advance(1)


def _print_counts(sides: Mapping[str, Sequence[Example]], labels: Sequence[str]) -> None:
    width, counts = max(map(len, labels)), [Counter(example.label for example in own) for own in sides.values()]
    print_line(f"{'class':{width}}  {'  '.join(f'{name:>10}' for name in sides)}")
    for label in labels:
        print_line(f"{label:{width}}  {'  '.join(f'{count[label]:10,}' for count in counts)}")


def _first(examples: Sequence[Example], spec: ImageSpec, limits: Limits) -> Photo:
    """The first photo that can be read. Raises UserError if none can."""
    for example in examples:
        photo = read_photo(example, spec, limits)
        if isinstance(photo, Photo):
            return photo
    raise UserError("none of the files can be read as a photo")


def _array(photo: Photo) -> str:
    """A photo as the network sees it, and as numbers."""
    image = photo.image
    is_grey = (image == image[..., :1]).all()
    channels = {"all channels": image[..., 0]} if is_grey else dict(zip(("red", "green", "blue"), image.T, strict=True))
    parts = [page.gallery([page.figure(page.jpeg(image), page.text(photo.example.label), photo.example.uri)])]
    for name, values in channels.items():
        shown = values if is_grey else values.T
        numbers = np.array2string(shown, max_line_width=400, threshold=_WHOLE_ARRAY, edgeitems=6)
        parts.append(f"<p>{name}</p>{page.preformatted(numbers)}")
    return "".join(parts)


def _copies(photo: Photo, varied: Augmentation, seed: int) -> str:
    from trainer.fitting import warping  # TensorFlow, which takes seconds to import

    side = photo.image.shape[1]
    drawn = np.concatenate([augmentation.draws(seed, copy, 1) for copy in range(1, COPIES + 1)])
    images = np.repeat(photo.image[np.newaxis], COPIES, axis=0)
    made = warping.apply(images, *augmentation.variation(varied, drawn, side)).numpy()
    figures = [page.figure(page.jpeg(photo.image), "<b>as it is</b>", photo.example.uri)]
    figures += [page.figure(page.jpeg(image), f"{number}", f"copy {number}") for number, image in enumerate(made, 1)]
    return page.gallery(figures)
