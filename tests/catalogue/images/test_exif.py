"""The orientation in EXIF data that Pillow does not read."""

from __future__ import annotations

import struct

import pytest
from PIL import ExifTags, Image

from catalogue.images import exif

ORIENTATION = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
FAR_AWAY = struct.pack("<HHII", 0x10F, 2, 50, 99_999_999)  # a text whose offset is past the end of the data


def data_of(*entries: bytes) -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)


def test_damaged_entries_do_not_hide_the_orientation() -> None:
    assert exif.orientation(data_of(ORIENTATION)) == 6
    assert exif.orientation(data_of(FAR_AWAY, ORIENTATION)) == 6
    assert exif.orientation(data_of(FAR_AWAY)) is None
    assert exif.orientation(b"Exif\0\0" + data_of(ORIENTATION)) == 6
    for kind, values in ((1, "BBBB"), (3, "HH"), (4, "I"), (8, "hh"), (9, "i")):
        numbers = (6, *[0] * (len(values) - 1))
        entry = struct.pack(f"<HHI{values}", 0x112, kind, len(values), *numbers)
        assert exif.orientation(data_of(entry)) == 6


@pytest.mark.parametrize("value", range(1, 9))
def test_what_pillow_writes(value: int) -> None:
    written = Image.Exif()
    written[ExifTags.Base.Make] = "a maker with a name"
    written[ExifTags.Base.Orientation] = value
    assert exif.orientation(written.tobytes()) == value


@pytest.mark.parametrize(
    "data",
    [
        b"", b"Exif\0\0", b"II*\0", data_of(ORIENTATION)[:22], b"MM\0*" + b"\xff" * 8,
        data_of(struct.pack("<HHIHH", 0x112, 3, 1, 9, 0)), data_of(struct.pack("<HHII", 0x112, 2, 1, 6)),
    ],
)  # fmt: skip
def test_without_a_valid_orientation(data: bytes) -> None:
    assert exif.orientation(data) is None


def test_the_text_of_imagemagick() -> None:
    data = data_of(ORIENTATION)
    digits = data.hex()
    assert exif.from_text(f"\nexif\n{len(data):8}\n{digits[:72]}\n{digits[72:]}\n") == data
    assert exif.from_text("\nexif\n  4\nnot hex\n") == b""
    assert exif.from_text("") == b""
