"""Dataflow flex template for ``classify``: its parameters and their conversion into a command line.

Source: https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline import classify_flags

# The launcher does not wait for the job, and `retries` only affects local runs.
_LEFT_OUT = ("help", "attach", "cancel", "cancel_on_interrupt", "retries")
_IMAGE = {
    "name": "sdk_container_image",
    "label": "Worker image",
    "helpText": "image of this template, which launches the job and runs its workers",
    "isOptional": False,
}


def metadata() -> dict[str, Any]:
    """Return the content of the template's metadata file.

    The parameters are the flags of ``classify`` except `_LEFT_OUT`, named with underscores, and the worker image.
    Switches take true or false.
    """
    parameters = [_parameter(name, action) for name, action in _actions()]
    return {
        "name": "Catalogue Classifier",
        "description": "Label a catalogue of images with a model and write a run directory.",
        "parameters": [*parameters, _IMAGE],
    }


def command(arguments: Sequence[str]) -> list[str]:
    """Convert the launcher's arguments, of the form ``--name=value``, into the arguments of ``classify``.

    Unknown arguments belong to Beam and are passed on unchanged.
    """
    flags, words = dict(_actions()), ["classify"]
    for word in arguments:
        name, _, value = word.removeprefix("--").partition("=")
        action = flags.get(name)
        if action is None:
            words.append(word)
        elif not value:  # an empty field of the form
            continue
        elif _is_switch(action):
            words += [action.option_strings[0]] if value.lower() == "true" else []
        else:
            words.append(f"{action.option_strings[0]}={value}")
    return words


def _actions() -> Iterator[tuple[str, argparse.Action]]:
    parser = argparse.ArgumentParser()
    classify_flags.add_arguments(parser)
    return ((action.dest, action) for action in parser._actions if action.dest not in _LEFT_OUT)


def _is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def _parameter(name: str, action: argparse.Action) -> dict[str, Any]:
    words = str(action.help)
    if action.default and not _is_switch(action):
        words = f"{words} (default: {action.default})"
    found = {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "helpText": words,
        "isOptional": not action.required,
    }
    choices = ("true", "false") if _is_switch(action) else action.choices
    return found | ({"regexes": [f"^({'|'.join(choices)})$"]} if choices else {})


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=1, ensure_ascii=False))
