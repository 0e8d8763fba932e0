"""Feed broken image files to the image reader: ``python tests/fuzz_images.py --count 50000``.

Small files of every format are mutated: bits are flipped, ends cut off, pieces spliced, repeated or dropped, and
lengths overwritten. Each mutated file must yield a picture or a reason within two seconds, and the process must stay
below 640 MB. The first file that fails is saved, and the seed that reproduces it is printed. If no file fails, the last
line of output is a summary in JSON.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import io
import json
import os
import random
import resource
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin  # noqa: E402

from catalogue.images.reader import read_image  # noqa: E402
from catalogue.images.spec import ImageSpec  # noqa: E402
from catalogue.reasons import ImageError  # noqa: E402
from demo import draw  # noqa: E402

MAX_SECONDS, MAX_BYTES = 2.0, 640 * 2**20
SPECS = [ImageSpec(64, "stretch"), ImageSpec(64, "crop"), ImageSpec(64, "pad")]
MAX_SEED_FILE = 60_000
PNG = b"\x89PNG\r\n\x1a\n"


def drawn_files() -> dict[str, bytes]:
    """Return one picture in every format and in unusual variants of some."""
    picture = draw.draw("dress", random.Random(0)).resize((48, 64))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    ways: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "jpeg": (picture, "JPEG", {"exif": exif}),
        "progressive": (picture, "JPEG", {"progressive": True}),
        "restarts": (picture, "JPEG", {"restart_marker_rows": 1}),
        "cmyk": (picture.convert("CMYK"), "JPEG", {}),
        "png": (picture, "PNG", {}),
        "palette": (picture.quantize(16), "PNG", {"transparency": 3}),
        "deep": (picture.convert("L").convert("I;16"), "PNG", {}),
        "alpha": (picture.convert("RGBA"), "PNG", {}),
        "gif": (picture.quantize(32), "GIF", {}),
        "webp": (picture, "WEBP", {"exif": exif}),
        "lossless": (picture.convert("RGBA"), "WEBP", {"lossless": True}),
        "animated": (picture, "WEBP", {"save_all": True, "append_images": [picture.rotate(90)]}),
        "bmp": (picture, "BMP", {}),
        "tiff": (picture, "TIFF", {}),
        "lzw": (picture, "TIFF", {"compression": "tiff_lzw"}),
        "group4": (picture.convert("1"), "TIFF", {"compression": "group4"}),
        "float": (picture.convert("F"), "TIFF", {}),
        "avif": (picture, "AVIF", {}),
    }
    texts = PngImagePlugin.PngInfo()
    for keyword in ("xmp", "icc_profile", "transparency", "exif"):
        texts.add_text(keyword, "a text", zip=keyword == "exif")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[34675] = b"a profile"
    ways |= {"texts": (picture, "PNG", {"pnginfo": texts}), "profile": (picture, "TIFF", {"tiffinfo": tags})}
    inks = np.asarray(picture.convert("CMYK"))
    samples = np.concatenate([inks, inks[..., :1]], axis=-1)
    files = {}
    for name, values, more in (
        ("inks and alpha", samples, {"planarconfig": "contig", "tile": (16, 16), "compression": "lzw"}),
        (
            "separate",
            np.moveaxis(samples.astype(np.uint16) * 257, -1, 0),
            {"planarconfig": "separate", "rowsperstrip": 9},
        ),
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, values, photometric="separated", extrasamples=["unassalpha"], **more)
        files[name] = buffer.getvalue()
    for name, (image, format_, options) in ways.items():
        buffer = io.BytesIO()
        image.save(buffer, format_, **options)
        files[name] = buffer.getvalue()
    return files


def seed_files() -> dict[str, bytes]:
    """Return the drawn files, and the small real ones if available."""
    shared = Path(os.environ.get("CATALOGUE_CLASSIFIER_SHARED", REPOSITORY.parent / "shared"))
    odd = sorted((shared / "datasets/odd-images").glob("*"))
    return drawn_files() | {file.name: file.read_bytes() for file in odd if file.stat().st_size <= MAX_SEED_FILE}


def flip_bits(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    for _n in range(chance.choice([1, 1, 2, 5, 20])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def flip_header_bits(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    data[chance.randrange(min(len(data), 200))] ^= 1 << chance.randrange(8)
    return data


def cut(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    return data[: chance.randrange(len(data))]


def splice(data: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    other = chance.choice(others)
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def overwrite_length(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    form = chance.choice([">H", "<H", ">I", "<I"])
    size = struct.calcsize(form)
    value = chance.choice([0, 1, 255, 9_999, 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1])
    where = chance.randrange(max(1, min(len(data), chance.choice([60, 400, len(data)])) - size))
    data[where : where + size] = struct.pack(form, value)
    return data


def repeat_or_drop(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    start = chance.randrange(len(data))
    piece = data[start : start + chance.randrange(1, 600)]
    return data[:start] + piece * chance.choice([0, 2, 50]) + data[start + len(piece) :]


def with_checksums(data: bytearray) -> bytearray:
    """Correct the checksums of a PNG, so that they do not reveal the damage."""
    position = len(PNG)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return data


MUTATIONS = (flip_bits, flip_header_bits, cut, splice, overwrite_length, repeat_or_drop)


def mutated(files: dict[str, bytes], seed: str) -> tuple[str, bytes]:
    """Return a case: the name of the original file, and the mutated bytes."""
    chance = random.Random(seed)
    name = chance.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(chance.choice([1, 1, 2, 3])):
        if data:
            data = chance.choice(MUTATIONS)(data, chance, list(files.values()))
    if data.startswith(PNG) and chance.random() < 0.7:
        data = with_checksums(data)
    return name, bytes(data)


def outcome(data: bytes, spec: ImageSpec) -> str:
    try:
        image = read_image(data, spec)
    except ImageError as error:
        return error.reason.code
    assert image.shape == (spec.size, spec.size, 3)
    assert image.dtype == "uint8"
    return "picture"


def peak_bytes() -> int:
    """Return the peak memory of this process. On Linux, getrusage would include the peak of the parent process."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", type=Path, default=Path("."), help="folder where a case that fails is saved")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    files, outcomes, slowest, peak = seed_files(), collections.Counter[str](), 0.0, 0
    for number in range(arguments.count):
        seed = f"{arguments.seed}-{number}"
        name, data = mutated(files, seed)
        faulthandler.dump_traceback_later(10 * MAX_SECONDS, exit=True)
        start, problem = time.perf_counter(), ""
        try:
            outcomes[outcome(data, SPECS[number % len(SPECS)])] += 1
        except Exception as error:
            problem = repr(error)
        seconds = time.perf_counter() - start
        slowest, peak = max(slowest, seconds), max(peak, peak_bytes())
        if seconds > MAX_SECONDS:
            problem = f"{seconds:.1f} s"
        if peak > MAX_BYTES:
            problem = f"{peak / 2**20:.0f} MB"
        if problem:
            case = arguments.keep / f"fuzz-{seed}-{name}"
            case.write_bytes(data)
            print(f"case {seed} ({name}) in {case}: {problem}", flush=True)
            return 1
    faulthandler.cancel_dump_traceback_later()
    result = {"cases": arguments.count, "seed": arguments.seed, "slowest_seconds": round(slowest, 3)}
    print(json.dumps(result | {"peak_mb": peak >> 20, "outcomes": dict(outcomes.most_common())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
