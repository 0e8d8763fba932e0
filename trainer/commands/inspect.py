"""The ``inspect`` command: a network drawn, what its layers make of a photo, and what in it decided the label."""

from __future__ import annotations

import argparse
from pathlib import Path

from catalogue import model_dir, storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line, say
from catalogue.html import page
from trainer.commands.inspect_page import drawing


def inspect(arguments: argparse.Namespace) -> None:
    """Prints the layers of a model and, for a photo, its labels; writes what is to be looked at."""
    output = arguments.output
    if output:
        storage.check_new_folder(output, "--output")
    if arguments.image and not output:
        raise UserError("--image needs --output: a page to look at")
    with model_dir.fetched(arguments.model_dir) as model:
        info = model.info
        _print_layers(info)
        if not output:
            return
        sections = [page.section("Network", drawing(info))]
        if arguments.image:
            from trainer.commands.inspect_photo import photo_sections  # TensorFlow, which takes seconds to import

            sections = [*photo_sections(model, arguments, flags.limits(arguments)), *sections]
    storage.make_folder(output, "--output")
    subject = f"model {info.id}: {info.training['backbone']}, {info.image.size} pixels"
    text = page.document("Network", subject, sections)
    (Path(output) / "report.html").write_text(text, encoding="utf-8")
    say(f"written to {output}")


def _print_layers(info: model_dir.ModelInfo) -> None:
    rows = [("layer", "kind", "output", "parameters", "fitted")]
    for layer in info.network:
        shape = " × ".join(map(str, layer["output"]))
        rows.append((layer["name"], layer["kind"], shape, f"{layer['parameters']:,}", "yes" if layer["fitted"] else ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, kind, shape, count, fitted in rows:
        cells = [name.ljust(widths[0]), kind.ljust(widths[1]), shape.ljust(widths[2]), count.rjust(widths[3]), fitted]
        print_line("  ".join(cells).rstrip())
    total = sum(layer["parameters"] for layer in info.network)
    fitted_count = sum(layer["parameters"] for layer in info.network if layer["fitted"])
    print_line(f"{len(info.network):,} layers, {total:,} parameters, {fitted_count:,} of them fitted")
