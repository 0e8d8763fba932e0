from __future__ import annotations

import gzip

import pytest

from catalogue.reasons import Reason, StorageError
from catalogue.storage.content_encoding import gzip_layers, without_gzip
from catalogue.storage.deadline import Deadline, TimedOut

PICTURE = b"\xff\xd8picture" * 1000


def packed(layers: int) -> bytes:
    data = PICTURE
    for _ in range(layers):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize(
    ("header", "layers"),
    [
        (None, 0),
        ("", 0),
        ("identity", 0),
        ("aws-chunked", 0),
        ("utf-8", 0),
        ("gzip", 1),
        (" X-GZIP ", 1),
        ("aws-chunked,gzip", 1),
        ("gzip, identity", 1),
        ("gzip,, gzip", 2),
    ],
)
def test_gzip_is_counted_among_other_codings(header: str | None, layers: int) -> None:
    assert gzip_layers(header) == layers


@pytest.mark.parametrize("header", ["br", "gzip, br", "Zstd,identity", "deflate", "gzip,compress"])
def test_codings_that_cannot_be_decoded_are_refused(header: str) -> None:
    with pytest.raises(StorageError, match="is not supported") as error:
        gzip_layers(header)
    assert error.value.reason is Reason.READ_FAILED


def test_each_layer_is_removed_and_a_wrong_header_is_ignored() -> None:
    for layers in range(4):
        assert without_gzip(packed(layers), layers, len(PICTURE)) == PICTURE
        assert without_gzip(packed(layers), layers + 2, len(PICTURE)) == PICTURE
    assert without_gzip(packed(2), 1, len(PICTURE)) == packed(1)


def test_no_layer_exceeds_the_limit() -> None:
    with pytest.raises(StorageError) as error:
        without_gzip(packed(2), 2, len(PICTURE) - 1)
    assert error.value.reason is Reason.TOO_MANY_BYTES


def test_many_layers_end_with_the_deadline() -> None:
    with Deadline(0), pytest.raises(TimedOut):
        without_gzip(packed(500), 500, 1 << 20)
