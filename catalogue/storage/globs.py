"""Globs with the same syntax for local and remote paths.

``*`` matches within a folder, ``**`` matches across folders, and ``**/`` matches zero or more folders.
"""

from __future__ import annotations

import collections
import glob
import os
import re
from collections.abc import Callable, Iterator

from catalogue.storage.operations import list_all
from catalogue.storage.paths import HIDDEN, is_glob, is_remote, is_visible
from catalogue.storage.values import Listed


def in_folder(folder: str, left_out: collections.Counter[str] | None = None) -> Iterator[Listed]:
    """Yield every file below a folder, except hidden files and files in hidden folders.

    A subfolder that cannot be listed is yielded with its error. A remote folder that does not exist yields nothing.

    Args:
        folder: folder to search.
        left_out: counter to update with the omitted files, by the name of the hidden file or folder.

    Raises:
        StorageError: the folder cannot be listed.
    """
    start = len(folder.rstrip("/")) + 1
    for file in list_all(folder):
        hidden = HIDDEN.search(file.location, start)
        if not hidden:
            yield file
        elif left_out is not None:
            left_out[hidden[1]] += 1


def matches(pattern: str) -> Iterator[Listed]:
    """Return the files that match a glob.

    Hidden files, and files in hidden folders, match only if a component of the glob is a hidden name. A folder that may
    hold matching files but cannot be listed is returned with its error.

    Raises:
        StorageError: the folder of the glob cannot be listed.
        re.error: the glob is malformed.
    """
    folder, rest = _split(pattern)
    matched, leads = _matcher(folder, rest), _folder_matcher(folder, rest)
    return (file for file in list_all(folder, rest) if (leads if file.error else matched)(file.location))


def names(where: str, path: str) -> bool:
    """Return whether a folder or a glob would include the file `path` if the file existed."""
    folder, pattern = _split(where) if is_glob(where) else (where, "**")
    if not is_remote(where):
        folder, path = os.path.realpath(folder), os.path.realpath(path)
    return path.startswith(f"{folder.rstrip('/')}/") and _matcher(folder, pattern)(path)


def _split(pattern: str) -> tuple[str, str]:
    """Split a glob before its first component with a wildcard: the absolute folder, and the pattern below it."""
    components = pattern.split("/")
    fixed = next(number for number, component in enumerate(components) if glob.has_magic(component))
    folder = "/".join(components[:fixed]) or ("/" if fixed else ".")
    return folder if is_remote(folder) else os.path.abspath(folder), "/".join(components[fixed:])


def _matcher(folder: str, pattern: str) -> Callable[[str], bool]:
    """Return a predicate for paths below `folder`. Hidden files match only if the pattern contains a hidden name."""
    expression, start = re.compile(_expression(pattern)), len(folder.rstrip("/")) + 1
    hidden_too = not is_visible(pattern)
    return lambda path: bool(expression.fullmatch(path[start:])) and (hidden_too or is_visible(path[start:]))


def _folder_matcher(folder: str, pattern: str) -> Callable[[str], bool]:
    """Return a predicate that tells whether a folder below `folder` may hold matching files."""
    start, hidden_too = len(folder.rstrip("/")) + 1, not is_visible(pattern)
    expressions = [re.compile(_expression(part)) for part in pattern.partition("**")[0].split("/")[:-1]]

    def leads(path: str) -> bool:
        pairs = zip(expressions, path[start:].split("/"), strict=False)  # deeper components are not compared
        return all(own.fullmatch(name) for own, name in pairs) and (hidden_too or is_visible(path[start:]))

    return leads


def _expression(pattern: str) -> str:
    """Translate a glob into a regular expression."""
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and len(token) > 1:
            inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
        return wildcards.get(token) or re.escape(token)

    return "".join(map(translate, re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, flags=re.DOTALL)))
