"""Folders and globs, local and remote alike, to the paths of the files they name.

In a glob ``*`` stays within a folder, ``**`` crosses folders, and ``**/`` matches none of them, too.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from catalogue.storage.files import files_below, is_remote


def in_folder(folder: str) -> Iterator[str]:
    """Every file below a folder whose name does not begin with a dot; none if there is no such remote folder.

    Raises:
        OSError: a local folder cannot be listed.
    """
    return filter(_visible, _files_below(folder))


def matches(pattern: str) -> Iterator[str]:
    """The files that match a glob; hidden ones only if the glob asks for them.

    Raises:
        OSError: a local folder cannot be listed.
        re.error: the glob is none.
    """
    folder, rest = _split(pattern)
    return _matching(folder, rest, _files_below(folder))


def names(where: str, path: str) -> bool:
    """Whether a folder or a glob would name the file `path`, if it existed."""
    folder, pattern = _split(where) if is_glob(where) else (where, "**")
    if not is_remote(where):
        folder, path = os.path.realpath(folder), os.path.realpath(path)
    return path.startswith(f"{folder.rstrip('/')}/") and any(_matching(folder, pattern, iter([path])))


def is_glob(where: str) -> bool:
    """Whether a path has wildcards, and is no local file or folder with such a name."""
    return glob.has_magic(where) and not os.path.exists(where)


def _files_below(folder: str) -> Iterator[str]:
    if not is_remote(folder):
        yield from files_below(folder)
        return
    for result in FileSystems.match([f"{folder.rstrip('/')}/**"]):
        yield from (file.path for file in result.metadata_list if not file.path.endswith("/"))


def _split(pattern: str) -> tuple[str, str]:
    """A glob's folder before the first component with a wildcard, made absolute, and the rest."""
    components = pattern.split("/")
    fixed = next(number for number, component in enumerate(components) if glob.has_magic(component))
    folder = "/".join(components[:fixed]) or ("/" if fixed else ".")
    return folder if is_remote(folder) else os.path.abspath(folder), "/".join(components[fixed:])


def _matching(folder: str, pattern: str, paths: Iterator[str]) -> Iterator[str]:
    """Those of the paths below `folder` whose rest matches; a hidden file only if the pattern asks for one."""
    expression, start = re.compile(_expression(pattern)), len(folder.rstrip("/")) + 1
    hidden_too = not _visible(pattern)
    return (path for path in paths if expression.fullmatch(path[start:]) and (hidden_too or _visible(path)))


def _visible(path: str) -> bool:
    return not path.rpartition("/")[2].startswith(".")


def _expression(pattern: str) -> str:
    """A glob to a regular expression, the same for local and remote paths."""
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and len(token) > 1:
            inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
        return wildcards.get(token) or re.escape(token)

    return "".join(map(translate, re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, flags=re.DOTALL)))
