"""Reads the color description (CICP code points) from the sequence header of an AV1 image.

This description is needed for AVIF files without an ``nclx`` box.

Source: AV1 Bitstream & Decoding Process Specification, version 1.0.0 with errata 1, sections 5.3 and 5.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from catalogue.images.cicp import CodePoints

_SEQUENCE_HEADER = 1
_SELECTED_PER_FRAME = 2
_MAX_UNITS, _MAX_HEADER_BYTES = 16, 256


class _Bits:
    """Reads unsigned integers from bytes, most significant bit first. Bits after the end are read as zeros."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data)
        self._position = 0

    def read(self, count: int = 1) -> int:
        """Return the next `count` bits as an integer."""
        found = self._bits[self._position : self._position + count]
        self._position += count
        return int(found.ljust(count, "0"), 2) if count else 0

    def read_exp_golomb(self) -> int:
        """Return the next number, which is coded as ``uvlc``."""
        zeros = 0
        while self._position < len(self._bits) and not self.read():
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros) if zeros < 32 else 0


def code_points(data: bytes) -> CodePoints | None:
    """Return the code points in the first sequence header of an AV1 stream; None if there are none.

    The result always has full range, because AVIF decoders convert limited range to full range themselves.
    """
    units = itertools.islice(_units(data), _MAX_UNITS)
    header = next((body for kind, body in units if kind == _SEQUENCE_HEADER), None)
    return _colors(_Bits(header[:_MAX_HEADER_BYTES])) if header else None


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and content of each open bitstream unit (OBU)."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 4 else 1
        end = len(data)
        if header & 2:
            size, position = _leb128(data, position)
            end = position + size
        yield header >> 3 & 15, data[position:end]
        position = end


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the LEB128 integer at a position, and the position after it.

    Both are the length of the data if the integer does not end.
    """
    value = 0
    for index, byte in enumerate(data[position : position + 8]):
        value |= (byte & 127) << 7 * index
        if not byte & 128:
            return value, position + index + 1
    return len(data), len(data)


def _colors(bits: _Bits) -> CodePoints | None:
    """Read a sequence header up to the code points in its ``color_config``; return None if it has none."""
    profile = bits.read(3)
    bits.read()  # still_picture
    is_reduced = bool(bits.read())
    if is_reduced:
        bits.read(5)  # seq_level_idx
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width_bits), bits.read(height_bits)
    if not is_reduced and bits.read():  # frame_id_numbers_present_flag
        bits.read(4 + 3)
    bits.read(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not is_reduced:
        _skip_tools_between_frames(bits)
    bits.read(3)  # enable_superres, enable_cdef, enable_restoration
    if bits.read() and profile == 2:  # high_bitdepth
        bits.read()  # twelve_bit
    if profile != 1:
        bits.read()  # mono_chrome
    return CodePoints(bits.read(8), bits.read(8)) if bits.read() else None


def _skip_operating_points(bits: _Bits) -> None:
    has_decoder_model, delay_bits = False, 0
    if bits.read():  # timing_info_present_flag
        bits.read(32 + 32)
        if bits.read():  # equal_picture_interval
            bits.read_exp_golomb()
        has_decoder_model = bool(bits.read())
        if has_decoder_model:
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_display_delay = bool(bits.read())
    for _ in range(bits.read(5) + 1):
        bits.read(12)  # operating_point_idc
        if bits.read(5) > 7:  # seq_level_idx
            bits.read()  # seq_tier
        if has_decoder_model and bits.read():
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read():
            bits.read(4)


def _skip_tools_between_frames(bits: _Bits) -> None:
    bits.read(4)  # enable_interintra_compound to enable_dual_filter
    has_order_hint = bool(bits.read())
    if has_order_hint:
        bits.read(2)  # enable_jnt_comp, enable_ref_frame_mvs
    screen_content = _SELECTED_PER_FRAME if bits.read() else bits.read()
    if screen_content and not bits.read():  # seq_choose_integer_mv
        bits.read()  # seq_force_integer_mv
    if has_order_hint:
        bits.read(3)  # order_hint_bits_minus_1
