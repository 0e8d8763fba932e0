"""Report sections of ``inspect`` on photos and weights: labels, heat maps, activations and kernels."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np

from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line
from catalogue.html import page
from catalogue.images.spec import Limits
from catalogue.model_dir import ModelDir
from trainer.commands.inspect_flags import ALL
from trainer.commands.inspect_page import Filters, kernel_figures, overlaid, shape_of, shown
from trainer.data.examples import Example
from trainer.data.photos import Photo, Unreadable, read_photo
from trainer.networks.activations import activations, heat_map, layer_names
from trainer.networks.kernels import kernels

BEST = 3


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A model and the photos resized for it.

    Attributes:
        name: path of the model, for titles; empty if it is the only model.
        labels: class names.
        classifier: Keras model, uint8 images to probabilities.
        photos: photos in the order given.
    """

    name: str
    labels: Sequence[str]
    classifier: keras.Model
    photos: Sequence[Photo]


def sections_of(models: Mapping[str, ModelDir], arguments: argparse.Namespace, limits: Limits) -> list[str]:
    """Return the HTML sections, and print the best labels of the photos.

    Args:
        models: path -> model directory.
        arguments: parsed flags of ``inspect``.
        limits: size limits of photos.

    Raises:
        UserError: a file cannot be read as a photo, a named layer does not exist, or no chosen layer has a chosen
            filter or kernels.
    """
    uris = list(dict.fromkeys(arguments.image or ()))
    subjects = [
        _Subject(
            path if len(models) > 1 else "",
            model.info.labels,
            keras.models.load_model(model.path / "model.keras", compile=False),
            [_read(uri, model, limits) for uri in uris],
        )
        for path, model in models.items()
    ]
    filters = Filters(arguments.filters, every=arguments.all_filters)
    chosen = _layers(subjects, arguments.layers)
    sections = [page.section("Predictions and heat maps", *map(_decided, subjects))] if uris else []
    drawn = 0
    if uris:
        sections += _activations(subjects, chosen, filters)
    for subject, layers in zip(subjects, chosen, strict=True):
        if arguments.kernels:
            kernel_sections = list(_kernels(subject, layers, filters))
            drawn += len(kernel_sections)
            sections += kernel_sections
    if arguments.kernels and not drawn:
        which = f" of --layers {' '.join(arguments.layers)}" if arguments.layers else ""
        raise UserError(f"--kernels: no layer{which} has kernels: choose convolutions or omit --kernels")
    return sections


def _layers(subjects: Sequence[_Subject], names: Sequence[str] | None) -> list[Sequence[str] | None]:
    """Return the layers to show for each network: the named layers that it has, or None for its default layers.

    Raises:
        UserError: a named layer exists in none of the networks.
    """
    if names is None:
        return [None] * len(subjects)
    known = [layer_names(subject.classifier, every=True) for subject in subjects]
    if names == [ALL]:
        return list(known)
    unknown = [name for name in names if not any(name in own for own in known)]
    if unknown:
        raise UserError(f"--layers: unknown layer {unknown[0]!r}: choose one of the layers listed above")
    return [[name for name in names if name in own] for own in known]


def _read(uri: str, model: ModelDir, limits: Limits) -> Photo:
    photo = read_photo(Example(uri, ""), model.info.image, limits)
    if isinstance(photo, Unreadable):
        raise UserError(f"{uri} cannot be read as a photo: {photo.error}")
    return photo


def _decided(subject: _Subject) -> str:
    """Return HTML with the best labels of each photo and a heat map for each label; print the labels."""
    parts = [f"<h3>{page.text(subject.name)}</h3>"] if subject.name else []
    probabilities = subject.classifier(np.stack([photo.image for photo in subject.photos])).numpy()
    for photo, row in zip(subject.photos, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:BEST].tolist()
        if subject.name or len(subject.photos) > 1:
            print_line(f"{subject.name}: {photo.example.uri}:" if subject.name else f"{photo.example.uri}:")
        figures = [page.figure(page.jpeg(photo.image), "network input", photo.example.uri)]
        for index in best:
            label = subject.labels[index]
            print_line(f"{label} {row[index]:.4f}")
            heat = overlaid(photo.image, heat_map(subject.classifier, photo.image, index))
            bars = page.score_bars([(label, float(row[index]), index == best[0])])
            figures.append(page.figure(page.jpeg(heat), bars, f"heat map for {label}"))
        parts.append(page.gallery(figures))
    return "".join(parts)


def _activations(
    subjects: Sequence[_Subject], chosen: Sequence[Sequence[str] | None], filters: Filters
) -> Iterator[str]:
    """Yield a section for each layer, with a row of images for each photo and each model that has the layer.

    Raises:
        UserError: no layer has a chosen filter.
    """
    rows: dict[str, list[str]] = {}
    pictures = 0
    for subject, layers in zip(subjects, chosen, strict=True):
        for photo in subject.photos:
            for activation in activations(subject.classifier, photo.image, layers):
                figures = shown(activation, filters)
                pictures += len(figures)
                name = os.path.basename(photo.example.uri)
                title = " · ".join(filter(None, (subject.name, name, shape_of(activation))))
                gallery = page.gallery(figures) if figures else "<p>No such filter.</p>"
                rows.setdefault(activation.layer, []).append(f"<h3>{page.text(title)}</h3>{gallery}")
    if rows and not pictures:
        raise UserError(f"--filters: no chosen layer has filter {max(filters.numbers or (0,))}: choose lower numbers")
    for layer, parts in rows.items():
        yield page.section(layer, *parts)


def _kernels(subject: _Subject, layers: Sequence[str] | None, filters: Filters) -> Iterator[str]:
    """Yield a section for each layer that has kernels; if `layers` is None, only for the first such layer."""
    for name, kernel in kernels(subject.classifier, layers).items():
        title = f"{subject.name} kernels of {name}: {' × '.join(map(str, kernel.shape))}".strip()
        yield page.section(title[0].upper() + title[1:], page.gallery(kernel_figures(name, kernel, filters)))
