"""Locations as text: local paths and URIs. Nothing here touches a storage."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import urllib.parse
import uuid

from catalogue.cli.errors import UserError

WEB = ("http", "https")
# Hidden files and folders, and those that systems and programs keep beside what people put there.
HIDDEN = re.compile(
    r"(?<![^/])(\.[^/]*|@eaDir|@Recycle|#recycle|#snapshot|__MACOSX|\$RECYCLE\.BIN|System Volume Information"
    r"|lost\+found|(?:eh)?Thumbs\.db(?::encryptable)?|desktop\.ini)(?=/|$)",
    re.IGNORECASE,
)


def scheme(location: str) -> str:
    """The scheme of a URI in lower case; empty for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", location)
    return found[1].lower() if found else ""


def is_remote(location: str) -> bool:
    """Whether a location begins with a scheme, such as ``gs://``."""
    return bool(scheme(location))


def split(location: str) -> tuple[str, str]:
    """The bucket or container of ``SCHEME://BUCKET/KEY``, and the key."""
    bucket, _, key = location.partition("://")[2].partition("/")
    return bucket, key


def absolute(path: str) -> str:
    """A path that means the same in every working directory, without a slash at its end."""
    path = without_file_scheme(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def without_file_scheme(uri: str) -> str:
    """The path of a ``file://`` URI, percent-decoded; any other URI as it is."""
    if uri[:7].lower() != "file://":
        return uri
    path = uri[7:].removeprefix("localhost")
    return urllib.parse.unquote(path) if path.startswith("/") else uri  # a share of another host stays remote


def temporary_name() -> str:
    """A name for a file that is written beside its place, until it is whole."""
    return f".{uuid.uuid4().hex}.new"


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` gave a name: such a file was left by a process that was killed."""
    return bool(re.fullmatch(r"\.[0-9a-f]{32}\.new", name))


def check(path: str) -> None:
    """Refuses a path of a kind that cannot hold lists, models or runs, before anything is started.

    Raises:
        UserError: it is on the web, or in an object store whose extra is not installed.
    """
    if scheme(path) in WEB:
        raise UserError(f"{path}: from the web only images are read; download it, or name it in a list")
    if scheme(path) == "s3" and not importlib.util.find_spec("boto3"):
        raise UserError(f"{path}: s3:// needs the extra aws: pip install -e '.[aws]'")


def is_glob(where: str) -> bool:
    """Whether a path has wildcards, and is not a local file or folder with such a name."""
    return glob.has_magic(where) and not os.path.exists(where)


def is_unicode(text: str) -> bool:
    """Whether text can be written as UTF-8: names of files need not be."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def is_visible(path: str) -> bool:
    """Whether no part of a path is hidden."""
    return not HIDDEN.search(path)
