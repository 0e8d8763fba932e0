"""Parsing of the ``Content-Encoding`` of web responses and stored objects, and decompression of gzip.

Source: RFC 9110, 8.4.
"""

from __future__ import annotations

import zlib

from catalogue.reasons import Reason, StorageError
from catalogue.storage.deadline import some_deadline
from catalogue.storage.values import too_many_bytes

_GZIP = ("gzip", "x-gzip")
_UNSUPPORTED = ("deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz")
_GZIP_MAGIC = b"\x1f\x8b"
_LEAST_BLOCK_BYTES, _BLOCK_BYTES = 1 << 10, 1 << 20


def gzip_layers(content_encoding: str | None) -> int:
    """Return how many times data is gzipped according to its ``Content-Encoding``.

    Other words are ignored: ``identity``, mistakes such as ``utf-8``, and ``aws-chunked``, which describes an upload to
    S3 but stays in the object's metadata.

    Raises:
        StorageError: one of the codings is not supported.
    """
    codings = [word.strip().lower() for word in (content_encoding or "").split(",")]
    unsupported = [coding for coding in codings if coding in _UNSUPPORTED]
    if unsupported:
        message = f"the Content-Encoding {unsupported[0]} is not supported: store or send the image without it"
        raise StorageError(Reason.READ_FAILED, message)
    return sum(coding in _GZIP for coding in codings)


def without_gzip(data: bytes, layers: int, max_bytes: int) -> bytes:
    """Decompress data that is gzipped `layers` times according to its ``Content-Encoding``.

    Stops early at data that is not gzipped: the header was wrong.

    Raises:
        StorageError: the decompressed data exceeds `max_bytes`, or the data is truncated or damaged.
        TimedOut: decompression exceeds the deadline.
    """
    with some_deadline():
        for _ in range(layers):
            if not data.startswith(_GZIP_MAGIC):
                break
            data = _without_layer(data, max_bytes)
    return data


def _without_layer(data: bytes, max_bytes: int) -> bytes:
    unpacked, start = bytearray(), 0
    with some_deadline() as deadline:  # a file may consist of millions of empty members
        while data.startswith(_GZIP_MAGIC, start):  # a file may have several members
            start = _unpack_member(data, start, unpacked, max_bytes)
            deadline.check()
    return bytes(unpacked)


def _unpack_member(data: bytes, start: int, unpacked: bytearray, max_bytes: int) -> int:
    """Append a decompressed gzip member to `unpacked`. Return the offset of its end."""
    unpacker, size = zlib.decompressobj(wbits=31), _LEAST_BLOCK_BYTES
    while not unpacker.eof:
        block, size = data[start : start + size], min(2 * size, _BLOCK_BYTES)
        if not block:
            raise StorageError(Reason.READ_FAILED, "the Content-Encoding is gzip, but the data is truncated")
        try:
            unpacked += unpacker.decompress(block, max_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise StorageError(
                Reason.READ_FAILED, f"the Content-Encoding is gzip, but the data is damaged: {error}"
            ) from error
        if len(unpacked) > max_bytes:
            raise too_many_bytes(max_bytes)
        start += len(block) - len(unpacker.unused_data)
    return start
