"""Globs, the same for local and remote paths.

``*`` stays within a folder, ``**`` crosses folders, and ``**/`` may match no folder at all.
"""

from __future__ import annotations

import collections
import glob
import os
import re
from collections.abc import Callable, Iterator

from catalogue.storage.operations import list_files
from catalogue.storage.paths import HIDDEN, is_glob, is_remote, is_visible
from catalogue.storage.values import Listed


def in_folder(folder: str, left_out: collections.Counter[str] | None = None) -> Iterator[Listed]:
    """Every file below a folder that is not hidden, and not in a hidden folder; none without such a remote folder.

    Args:
        folder: where to look.
        left_out: counts the others, by the hidden name.

    Raises:
        StorageError: it cannot be listed.
    """
    start = len(folder.rstrip("/")) + 1
    for file in list_files(folder):
        hidden = HIDDEN.search(file.location, start)
        if not hidden:
            yield file
        elif left_out is not None:
            left_out[hidden[1]] += 1


def matches(pattern: str) -> Iterator[Listed]:
    """The files that match a glob; hidden ones, and those in hidden folders, only if the glob names one.

    Raises:
        StorageError: its folder cannot be listed.
        re.error: it is not a glob.
    """
    folder, rest = _split(pattern)
    matched = _matcher(folder, rest)
    return (file for file in list_files(folder, rest) if matched(file.location))


def names(where: str, path: str) -> bool:
    """Whether a folder or a glob would name the file `path`, if it existed."""
    folder, pattern = _split(where) if is_glob(where) else (where, "**")
    if not is_remote(where):
        folder, path = os.path.realpath(folder), os.path.realpath(path)
    return path.startswith(f"{folder.rstrip('/')}/") and _matcher(folder, pattern)(path)


def _split(pattern: str) -> tuple[str, str]:
    """A glob's folder before the first component with a wildcard, made absolute, and the rest."""
    components = pattern.split("/")
    fixed = next(number for number, component in enumerate(components) if glob.has_magic(component))
    folder = "/".join(components[:fixed]) or ("/" if fixed else ".")
    return folder if is_remote(folder) else os.path.abspath(folder), "/".join(components[fixed:])


def _matcher(folder: str, pattern: str) -> Callable[[str], bool]:
    """A function that says whether a path below `folder` matches; a hidden file only if the pattern names one."""
    expression, start = re.compile(_expression(pattern)), len(folder.rstrip("/")) + 1
    hidden_too = not is_visible(pattern)
    return lambda path: bool(expression.fullmatch(path[start:])) and (hidden_too or is_visible(path[start:]))


def _expression(pattern: str) -> str:
    """A glob as a regular expression."""
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and len(token) > 1:
            inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
        return wildcards.get(token) or re.escape(token)

    return "".join(map(translate, re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, flags=re.DOTALL)))
