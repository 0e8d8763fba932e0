"""File format of chunks: results of images, and the manifest rows that name them.

A chunk is written by one bundle and has two sections and a footer::

    rows      gzip of pickles: the URIs and fields of each image. Read only by the job that wrote them.
    results   zlib of JSON: the settings of the run, and for each image a list of the attributes of `Result`. Also read
              by later runs, which need not trust the writer.
    footer    the CRC-32 of the rows, the length of the results, _MAGIC
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from catalogue import storage
from catalogue.images.spec import Limits
from catalogue.reasons import Reason, StorageError
from pipeline.journal.chunk_names import chunk_name
from pipeline.records import FinishedImage, ListedImage, Result

_MAGIC = b"chunk\x01\r\n"
_FOOTER = struct.Struct(f">IQ{len(_MAGIC)}s")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a run that its results depend on.

    Attributes:
        model_id: id of the model.
        policy: version of the image policy, see `catalogue.images.reader`.
        top_k: maximum number of labels per image.
        limits: size limits of images.
        reads_heic: whether the HEIC extra was installed on the machine that started the run.
    """

    model_id: str
    policy: int
    top_k: int
    limits: Limits
    reads_heic: bool = False

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Settings:
        """Invert `dataclasses.asdict`. Raises KeyError or TypeError."""
        return cls(**content | {"limits": Limits(**content["limits"])})


class ChunkWriter:
    """Writer of a chunk. The file appears, complete and durable, once the writer is closed.

    Args:
        folder: folder of the file.
        settings: settings of the run.

    Raises:
        StorageError: the chunk cannot be written; from every method.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._file = _Summed(storage.NewFile(f"{folder}/{chunk_name(())}"))
        self._rows = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1, mtime=0)
        self._results: list[Result] = []
        self._packets = set[int]()

    def write(self, image: FinishedImage) -> None:
        """Add an image."""
        pickle.dump(image.listed.rows, self._rows, pickle.HIGHEST_PROTOCOL)
        self._results.append(image.result)
        if image.listed.location:
            self._packets.add(image.listed.packet)

    def close(self) -> str:
        """Finish the file. Returns its path."""
        self._rows.close()
        content = {"settings": dataclasses.asdict(self._settings), "results": self._results}
        packed = zlib.compress(json.dumps(content).encode("ascii"), level=1)
        footer = _FOOTER.pack(self._file.crc, len(packed), _MAGIC)
        self._file.new.write(packed + footer)
        path = f"{self._folder}/{chunk_name(self._packets)}"
        self._file.new.commit(path)
        return path


class _Summed:
    """File wrapper that computes the CRC-32 of the written data."""

    def __init__(self, new: storage.NewFile) -> None:
        self.new, self.crc = new, 0

    def write(self, data: bytes) -> int:
        self.crc = zlib.crc32(data, self.crc)
        return self.new.write(data)

    def flush(self) -> None:
        """Do nothing: the file does not exist before it is committed."""


def read_results(path: str) -> tuple[Settings, list[Result]]:
    """Read the results of a chunk and the settings they depend on.

    Raises:
        StorageError: the chunk cannot be read, or is damaged.
    """
    with storage.open_file(path) as file:
        settings, results, _, _ = _results_of(file, path)
    return settings, results


def read_images(path: str) -> Iterator[FinishedImage]:
    """Stream the images of a chunk with their rows. The rows are unpickled, so read only chunks that this job wrote.

    Raises:
        StorageError: the chunk cannot be read, or is damaged.
    """
    with storage.open_file(path) as file:
        _, results, length, crc = _results_of(file, path)
        file.seek(0)
        packed = file.read(length)
    if zlib.crc32(packed) != crc:
        raise _damaged(path, "checksum mismatch")
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as rows:
        for result in results:
            yield FinishedImage(ListedImage(result.location, pickle.load(rows)), result)


def _results_of(file: BinaryIO, path: str) -> tuple[Settings, list[Result], int, int]:
    """Return the settings and results of a chunk, and the length and checksum of its rows section."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _FOOTER.size, 0))
    footer = file.read(_FOOTER.size)
    if len(footer) < _FOOTER.size or not footer.endswith(_MAGIC):
        raise _damaged(path, "no footer")
    crc, length, _ = _FOOTER.unpack(footer)
    start = size - _FOOTER.size - length
    if start < 0:
        raise _damaged(path, "invalid footer")
    file.seek(start)
    try:
        content = json.loads(zlib.decompress(file.read(length)))
        results = [_result_from(*row) for row in content["results"]]
        return Settings.from_json(content["settings"]), results, start, crc
    except (zlib.error, ValueError, LookupError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _result_from(
    location: str,
    version: str | None,
    content_hash: str | None,
    top: list[tuple[str, float]],
    reason: str | None,
    transient: bool,
    message: str,
) -> Result:
    """Build a result from its JSON values, with lists turned back into tuples."""
    return Result(
        location, version, content_hash, tuple((label, score) for label, score in top), reason, transient, message
    )


def _damaged(path: str, message: str) -> StorageError:
    return StorageError(Reason.READ_FAILED, f"{path} is damaged: {message}")
