"""Conversion to sRGB by CICP code points, or by gamma and chromaticities. Part of the image policy.

Code points (ITU-T H.273) come from the ``cICP`` chunk of a PNG, or from the ``nclx`` box or AV1 stream of an AVIF or
HEIC; gamma and chromaticities come from the ``gAMA`` and ``cHRM`` chunks of a PNG. All primaries in `_CHROMATICITIES`
are supported, and these transfer characteristics: sRGB, television (treated as sRGB), powers, linear light, PQ and HLG.
For PQ and HLG, white is at 203 cd/m², following ITU-R BT.2408; brighter values are clipped to white.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from PIL import Image

from catalogue.reasons import ImageError, Reason

WHITE_NITS, HLG_PEAK_NITS, HLG_GAMMA = 203.0, 1000.0, 1.2
_D65, _ILLUMINANT_C, _DCI_WHITE = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_BT709, _BT2020, _UNSPECIFIED = 1, 9, 2
# (x, y) of white, red, green and blue, by `ColourPrimaries` of H.273, table 2.
_CHROMATICITIES = {
    1: (_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    4: (_ILLUMINANT_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: (_DCI_WHITE, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
# `TransferCharacteristics` of H.273, table 3.
_AS_SRGB, _POWERS, _LINEAR, _PQ, _HLG = (1, 6, 13, 14, 15), {4: 2.2, 5: 2.8}, 8, 16, 18
_BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]


class CodePoints(NamedTuple):
    """Code points of H.273: color primaries, transfer characteristics, and whether the range is full (0 to 255)."""

    primaries: int
    transfer: int
    is_full_range: bool = True


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Conversion of RGB images to sRGB.

    Attributes:
        linear: float64 [256], linear light for each 8-bit value; 1 is white.
        matrix: float64 [3, 3], from linear light to linear sRGB.
        is_hlg: whether `linear` is HLG scene light, which still has to be converted to display light.
        mode: Pillow mode of the images, always RGB.
    """

    linear: np.ndarray
    matrix: np.ndarray
    is_hlg: bool = False
    mode: str = "RGB"

    def to_srgb(self, picture: Image.Image) -> Image.Image:
        """Convert an RGB image to sRGB."""
        light = self.linear[np.asarray(picture)]
        if self.is_hlg:
            brightness = np.maximum(light @ _BT2020_LUMINANCE, 0)[..., None]
            light = light * brightness ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / WHITE_NITS)
        light = (light @ self.matrix.T).clip(0, 1)
        values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return Image.fromarray(np.rint(255 * values).astype(np.uint8))


@functools.lru_cache(maxsize=64)
def conversion_of(points: CodePoints) -> Conversion | None:
    """Return the conversion for code points; None if they mean sRGB, as unspecified code points with full range do.

    Raises:
        ImageError: the code points are not supported.
    """
    primaries = _BT709 if points.primaries == _UNSPECIFIED else points.primaries
    transfer = _AS_SRGB[0] if points.transfer == _UNSPECIFIED else points.transfer
    if primaries not in _CHROMATICITIES or transfer not in (*_AS_SRGB, *_POWERS, _LINEAR, _PQ, _HLG):
        raise ImageError(
            Reason.UNSUPPORTED,
            f"color primaries {points.primaries} with transfer characteristics {points.transfer} (ITU-T H.273) are not "
            "supported",
        )
    if primaries == _BT709 and transfer in _AS_SRGB and points.is_full_range:
        return None
    values = np.arange(256) / 255
    if not points.is_full_range:
        values = ((255 * values - 16) / 219).clip(0, 1)
    return Conversion(_linear(transfer, values), _to_srgb_matrix(_CHROMATICITIES[primaries]), transfer == _HLG)


@functools.lru_cache(maxsize=64)
def conversion_of_gamma(gamma: float, chromaticities: Chromaticities | None) -> Conversion | None:
    """Return the conversion for ``gAMA`` and ``cHRM`` of a PNG; None if they are close to sRGB, or invalid.

    Args:
        gamma: exponent with which linear light is encoded.
        chromaticities: (x, y) of white, red, green and blue; None for the chromaticities of sRGB.
    """
    chromaticities = chromaticities or _CHROMATICITIES[_BT709]
    has_own_primaries = np.abs(np.subtract(chromaticities, _CHROMATICITIES[_BT709])).max() > 0.01
    is_near_srgb = abs(gamma * 2.2 - 1) < 0.05  # libpng's threshold
    if gamma <= 0 or (is_near_srgb and not has_own_primaries):
        return None
    values = np.arange(256) / 255
    linear = _srgb_to_linear(values) if is_near_srgb else values ** (1 / gamma)
    try:
        return Conversion(linear, _to_srgb_matrix(chromaticities))
    except (np.linalg.LinAlgError, ZeroDivisionError):  # invalid primaries, which browsers ignore too
        return None


def _linear(transfer: int, values: np.ndarray) -> np.ndarray:
    """Convert encoded values in [0, 1] to linear light, where 1 is white; for HLG, to scene light."""
    if transfer in _POWERS:
        return values ** _POWERS[transfer]
    if transfer == _LINEAR:
        return values
    if transfer == _PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = values ** (1 / m2)
        return 10_000 / WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    if transfer == _HLG:  # ITU-R BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return _srgb_to_linear(values)


def _srgb_to_linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _to_srgb_matrix(chromaticities: Chromaticities) -> np.ndarray:
    """Return the matrix that converts linear light to linear sRGB, with Bradford adaptation to the white of sRGB."""
    white, srgb_white = (_xyz(found[0]) for found in (chromaticities, _CHROMATICITIES[_BT709]))
    adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ srgb_white) / (_BRADFORD @ white)) @ _BRADFORD
    return np.linalg.inv(_to_xyz(_CHROMATICITIES[_BT709])) @ adapted @ _to_xyz(chromaticities)


def _to_xyz(chromaticities: Chromaticities) -> np.ndarray:
    white, *primaries = (_xyz(found) for found in chromaticities)
    columns = np.stack(primaries, axis=1)
    return columns * np.linalg.solve(columns, white)


def _xyz(chromaticity: tuple[float, float]) -> np.ndarray:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])
