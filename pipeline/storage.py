"""Files on a local disk and in an object store alike: the one place that tells their paths apart.

Local paths go through the standard library, since Beam takes ``[`` and ``*`` in a path for a pattern; all others
through Beam's FileSystems. The bytes of images are read in `pipeline.sources`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import GoogleAPIError

from catalogue.cli.console import UserError
from catalogue.storage.files import is_remote

# What reading and writing may raise: BeamIOError is an OSError, a path of no known kind a ValueError.
ERRORS = (OSError, ValueError, GoogleAPIError)


def check(path: str) -> None:
    """Refuses a path of a kind that cannot be used here, before anything is started.

    Raises:
        UserError: it is on the web, or in an object store whose extra is not installed.
    """
    if path.startswith(("http://", "https://")):
        raise UserError(f"{path}: from the web only images are read; download it, or name it in a list")
    if path.startswith("s3://") and not importlib.util.find_spec("boto3"):
        raise UserError(f"{path}: s3:// needs the extra aws: pip install -e '.[aws]'")


@functools.cache
def amazon_client() -> Any:
    """The process's client for ``s3://``; safe to use from any thread."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))


def absolute(path: str) -> str:
    """A path that means the same in every working directory, without a slash at its end."""
    path = without_file_scheme(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def without_file_scheme(uri: str) -> str:
    """The path of a ``file://`` URI, whose percent signs stand for other characters; any other URI as it is."""
    if uri[:7].lower() != "file://":
        return uri
    path = uri[7:].removeprefix("localhost")
    return urllib.parse.unquote(path) if path.startswith("/") else uri  # a share of another host is none of ours


def files(folder: str) -> list[str]:
    """Every file below a folder, sorted; none if there is no such folder."""
    if not is_remote(folder):
        return sorted(os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    found = FileSystems.match([f"{folder}/**"])[0].metadata_list
    return sorted(file.path for file in found if not file.path.endswith("/"))


def exists(path: str) -> bool:
    """Whether there is such a file."""
    return FileSystems.exists(path) if is_remote(path) else os.path.exists(path)


def read_text(path: str) -> str:
    """The content of a UTF-8 file."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read().decode("utf-8")


def write_text(path: str, content: str) -> None:
    """Writes a UTF-8 file, making its folder if need be."""
    if not content and path.startswith("s3://"):  # Beam uploads in parts, and S3 takes no upload without any
        bucket, _, key = path.removeprefix("s3://").partition("/")
        amazon_client().put_object(Bucket=bucket, Key=key, Body=b"")
        return
    with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(content.encode("utf-8"))


def copy(source: str, target: str) -> None:
    """Copies a file between any two paths, unchanged."""
    with (
        FileSystems.open(source, compression_type=CompressionTypes.UNCOMPRESSED) as reader,
        FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED) as writer,
    ):
        while block := reader.read(1 << 20):
            writer.write(block)


def copy_within(sources: Sequence[str], targets: Sequence[str]) -> None:
    """Copies files within one file system: by links, or by the object store itself, so that no bytes pass by here."""
    if targets and is_remote(targets[0]):
        FileSystems.copy(list(sources), list(targets))
        return
    for source, target in zip(sources, targets, strict=True):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copyfile(source, target)


def remove(path: str) -> None:
    """Removes a file, or a folder with all that is in it, if it is there."""
    if is_remote(path):
        FileSystems.delete(files(path) + ([path] if FileSystems.exists(path) else []))
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
