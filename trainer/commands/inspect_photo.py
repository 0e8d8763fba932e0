"""The sections of ``inspect`` about a photo: its labels, heat maps, activations."""

from __future__ import annotations

import argparse

import keras
import numpy as np

from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line
from catalogue.html import page
from catalogue.images.spec import Limits
from catalogue.model_dir import ModelDir
from trainer.commands.inspect_page import overlaid, shape_of, shown
from trainer.data.examples import Example
from trainer.data.photos import Unreadable, read_photo
from trainer.networks.activations import activations, heat_map


def photo_sections(model: ModelDir, arguments: argparse.Namespace, limits: Limits) -> list[str]:
    """Sections of HTML; prints the best labels. Raises UserError if it is not a photo."""
    photo = read_photo(Example(arguments.image, ""), model.info.image, limits)
    if isinstance(photo, Unreadable):
        raise UserError(f"{arguments.image} cannot be read as a photo: {photo.error}")
    classifier = keras.models.load_model(model.path / "model.keras", compile=False)
    probabilities = classifier(photo.image[np.newaxis]).numpy()[0]
    best = np.argsort(-probabilities, kind="stable")[:3].tolist()
    labels = model.info.labels
    for index in best:
        print_line(f"{labels[index]} {probabilities[index]:.4f}")
    figures = [page.figure(page.jpeg(photo.image), "as the network sees it", arguments.image)]
    for index in best:
        heat = heat_map(classifier, photo.image, index)
        bars = page.score_bars([(labels[index], float(probabilities[index]), index == best[0])])
        figures.append(page.figure(page.jpeg(overlaid(photo.image, heat)), bars, f"what speaks for {labels[index]}"))
    sections = [page.section("What decided", page.gallery(figures))]
    for activation in activations(classifier, photo.image, arguments.layers):
        pictures = shown(activation, arguments.all_filters)
        sections.append(page.section(f"{activation.layer}: {shape_of(activation)}", page.gallery(pictures)))
    return sections
