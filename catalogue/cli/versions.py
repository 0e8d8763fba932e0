"""Versions of installed packages, for `model.json` and `run.json`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each installed package in `packages`, by name."""
    from importlib import metadata

    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
