"""The ``inspect`` command: show network layers, their activations for photos, and Grad-CAM heat maps."""

from __future__ import annotations

import argparse
import contextlib

from catalogue import model_dir, storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.logs import print_line, say
from catalogue.html import page
from trainer.commands.inspect_page import drawing


def inspect(arguments: argparse.Namespace) -> None:
    """Print the layers of models; with ``--image``, also the labels of photos; with ``--output``, write a report."""
    output, wants_page = arguments.output, arguments.image or arguments.kernels
    if output:
        storage.check_new_folder(output, "--output")
    if wants_page and not output:
        raise UserError(f"--{'image' if arguments.image else 'kernels'} needs --output: give a folder for the report")
    if arguments.filters and arguments.all_filters:
        raise UserError("--filters and --all-filters cannot be combined: give only one of them")
    with contextlib.ExitStack() as stack:
        paths = list(dict.fromkeys(arguments.model_dir))
        models = [stack.enter_context(model_dir.fetched(path)) for path in paths]
        for path, model in zip(paths, models, strict=True):
            if len(models) > 1:
                print_line(f"{path}:")
            _print_layers(model.info)
        if not output:
            return
        sections = []
        if wants_page:
            from trainer.commands.inspect_photo import sections_of  # importing TensorFlow takes seconds

            sections = sections_of(dict(zip(paths, models, strict=True)), arguments, flags.limits(arguments))
        for path, model in zip(paths, models, strict=True):
            sections.append(page.section(f"Network of {path}" if len(models) > 1 else "Network", drawing(model.info)))
    subject = "; ".join(
        f"model {model.info.id}: {model.info.training['backbone']}, {model.info.image.size} pixels" for model in models
    )
    storage.make_folder(output, "--output")
    storage.write_text(f"{output}/report.html", page.document("Network", subject, sections))
    say(f"report written to {output}")


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
