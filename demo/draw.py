"""Draw labeled pictures of clothes in ten classes, and a catalogue of more pictures with a few broken files.

``python -m demo.draw FOLDER`` writes::

    FOLDER/photos/<class>/*.jpg     training photos
    FOLDER/catalogue/*              images to classify: mostly JPEGs, a few other formats, a few broken files
    FOLDER/catalogue.csv            uri, sku, supplier: all files of catalogue/, one of them twice, and a missing file
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 240, 320
PHOTOS_PER_CLASS = 60
CATALOGUE_PER_CLASS = 18

Point = tuple[float, float]
Polygon = list[Point]


def _torso(bottom: float, width: float, neck: float = 0.1) -> Polygon:
    """Return the outline of a garment from the shoulders to the hem, in a unit square."""
    return [
        (0.5 - neck, 0.14),
        (0.5, 0.19),
        (0.5 + neck, 0.14),
        (0.72, 0.2),
        (0.5 + width, 0.38),
        (0.5 + width, bottom),
        (0.5 - width, bottom),
        (0.5 - width, 0.38),
        (0.28, 0.2),
    ]


def _sleeves(length: float, spread: float, cuff: float) -> list[Polygon]:
    left = [(0.3, 0.19), (0.3 - spread, 0.2 + length), (0.3 - spread + cuff, 0.23 + length), (0.35, 0.36)]
    return [left, [(1 - x, y) for x, y in left]]


def _legs(bottom: float, hem: float) -> list[Polygon]:
    left = [(0.3, 0.12), (0.5, 0.12), (0.5, 0.32), (0.42 + hem / 2, bottom), (0.42 - hem, bottom)]
    return [left, [(1 - x, y) for x, y in left]]


def _shoe(x: float, y: float) -> Polygon:
    outline = [(0, 0), (0.13, 0), (0.16, 0.1), (0.38, 0.17), (0.42, 0.25), (0.42, 0.29), (0, 0.29), (0.01, 0.15)]
    return [(x + dx, y + dy) for dx, dy in outline]


_DOME = [(0.5 + 0.27 * np.cos(a), 0.55 - 0.3 * np.sin(a)) for a in np.linspace(0, np.pi, 24)]
_BRIM = [(0.5 + 0.42 * np.cos(a), 0.55 + 0.09 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 36)]


def _polygon(corners: str) -> Polygon:
    """Parse corners given as ``x,y`` in hundredths of the side."""
    return [(int(x) / 100, int(y) / 100) for x, y in (corner.split(",") for corner in corners.split())]


_WAISTBAND = _polygon("30,12 70,12 70,16 30,16")
_BUTTONS = [_polygon(f"48,{y} 52,{y} 52,{y + 3} 48,{y + 3}") for y in range(33, 80, 10)]

# Polygons of each garment: first those of its cloth, then those of details drawn over the cloth in a second color.
_GARMENTS: dict[str, tuple[list[Polygon], list[Polygon]]] = {
    "dress": (
        [_polygon("38,8 42,8 44,20 56,20 58,8 62,8 64,26 60,42 80,93 20,93 40,42 36,26")],
        [_polygon("40,40 60,40 61,45 39,45")],
    ),
    "hat": ([_DOME, _BRIM], [_polygon("24,50 76,50 77,56 23,56")]),
    "longsleeve": ([_torso(0.8, 0.2), *_sleeves(0.5, 0.14, 0.09)], []),
    "outwear": (
        [_torso(0.92, 0.27, 0.13), *_sleeves(0.58, 0.2, 0.16)],
        [
            _polygon("48,18 52,18 52,92 48,92"),
            _polygon("28,66 43,66 43,69 28,69"),
            _polygon("57,66 72,66 72,69 57,69"),
            _polygon("34,12 50,30 66,12 58,10 50,20 42,10"),
        ],
    ),
    "pants": (_legs(0.95, 0.13), [_WAISTBAND]),
    "shirt": (
        [_torso(0.82, 0.21), *_sleeves(0.5, 0.14, 0.09)],
        [_polygon("40,13 50,27 60,13 56,10 50,18 44,10"), *_BUTTONS],
    ),
    "shoes": (
        [_shoe(0.08, 0.22), _shoe(0.46, 0.52)],
        [_polygon("8,47 50,47 50,52 8,52"), _polygon("46,77 88,77 88,82 46,82")],
    ),
    "shorts": (_legs(0.55, 0.11), [_WAISTBAND]),
    "skirt": ([_polygon("34,20 66,20 82,75 18,75")], [_polygon("34,20 66,20 67,25 33,25")]),
    "t-shirt": ([_torso(0.78, 0.2), *_sleeves(0.16, 0.13, 0.1)], []),
}

CLASSES = tuple(_GARMENTS)


def draw(label: str, random_: random.Random) -> Image.Image:
    """Draw a picture of a garment with random colors, cloth, position, size, tilt and background."""
    cloth, trim = (tuple(random_.randrange(256) for _ in range(3)) for _ in range(2))
    place = _placement(random_)
    shape, details = (_mask([[place(corner) for corner in polygon] for polygon in part]) for part in _GARMENTS[label])
    image = _background(random_)
    image.paste((0, 0, 0), (7, 9), shape.filter(ImageFilter.BoxBlur(6)).point(lambda value: value // 3))
    image.paste(_cloth(cloth, trim, random_), (0, 0), shape)
    image.paste(trim, (0, 0), details)
    return image


def _mask(polygons: list[Polygon]) -> Image.Image:
    """Draw polygons with antialiased edges, by drawing them at twice the size and reducing the image."""
    mask = Image.new("L", (2 * WIDTH, 2 * HEIGHT))
    for polygon in polygons:
        ImageDraw.Draw(mask).polygon([(2 * x, 2 * y) for x, y in polygon], fill=255)
    return mask.reduce(2)


def _placement(random_: random.Random) -> Callable[[Point], Point]:
    scale = random_.uniform(0.72, 1.0) * WIDTH
    x, y = WIDTH / 2 + random_.uniform(-15, 15), HEIGHT / 2 + random_.uniform(-20, 20)
    turn, stretch = np.radians(random_.uniform(-14, 14)), random_.uniform(0.92, 1.12)
    cosine, sine = np.cos(turn), np.sin(turn)

    def place(point: Point) -> Point:
        across, down = (point[0] - 0.5) * scale, (point[1] - 0.52) * scale * 1.15 * stretch
        return x + across * cosine - down * sine, y + across * sine + down * cosine

    return place


def _background(random_: random.Random) -> Image.Image:
    """Draw a wall or a floor: a gradient between two pale or dark colors, with grain."""
    base = random_.choice((40, 150, 200))
    ends = [np.array([base + random_.randrange(55) for _ in range(3)], float) for _ in range(2)]
    ramp = np.linspace(0, 1, HEIGHT)[:, None, None]
    grain = np.random.default_rng(random_.randrange(2**32)).normal(0, 5, (HEIGHT, WIDTH, 1))
    return Image.fromarray((ends[0] * (1 - ramp) + ends[1] * ramp + grain).clip(0, 255).astype(np.uint8))


def _cloth(color: tuple[int, ...], trim: tuple[int, ...], random_: random.Random) -> Image.Image:
    """Draw a plain, striped or checked cloth."""
    cloth = Image.new("RGB", (WIDTH, HEIGHT), color)
    pen, step = ImageDraw.Draw(cloth), random_.randrange(12, 30)
    pattern = random_.choice(("plain", "plain", "stripes", "checks"))
    if pattern != "plain":
        for y in range(0, HEIGHT, step):
            pen.rectangle((0, y, WIDTH, y + step // 4), fill=trim)
    if pattern == "checks":
        for x in range(0, WIDTH, step):
            pen.rectangle((x, 0, x + step // 4, HEIGHT), fill=trim)
    return cloth


def write(folder: Path, seed: int = 0) -> None:
    """Draw the labeled pictures and the catalogue into `folder`."""
    random_ = random.Random(seed)
    for label in CLASSES:
        (folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        for number in range(PHOTOS_PER_CLASS):
            draw(label, random_).save(folder / "photos" / label / f"{number:03}.jpg", quality=88)
    catalogue = folder / "catalogue"
    catalogue.mkdir(exist_ok=True)
    names = _write_catalogue(catalogue, random_) + _write_broken(catalogue, random_)
    random_.shuffle(names)
    with (folder / "catalogue.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "sku", "supplier"])
        for number, name in enumerate([*names, names[0], "sold-out.jpg"]):
            rows.writerow(
                [f"catalogue/{name}", f"{number:06}", random_.choice(("Müller & Söhne", "Tela, Ltd", "Ateliê"))]
            )


def _write_catalogue(folder: Path, random_: random.Random) -> list[str]:
    """Draw unlabeled pictures under neutral names, a few of them in formats other than JPEG."""
    pictures = [draw(label, random_) for label in CLASSES for _ in range(CATALOGUE_PER_CLASS)]
    random_.shuffle(pictures)
    names = []
    for number, picture in enumerate(pictures):
        suffix = {7: "png", 19: "webp", 31: "gif", 43: "bmp", 55: "tif"}.get(number, "jpg")
        names.append(f"item-{number:04}.{suffix}")
        if number == 67:
            picture.convert("CMYK").save(folder / names[-1])
        elif number % 40 == 3:  # like a photo taken with a phone held upright
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = 6
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / names[-1], exif=exif)
        else:
            picture.save(folder / names[-1])
    return names


def _write_broken(folder: Path, random_: random.Random) -> list[str]:
    """Write files that cannot be classified, each for a different reason."""
    whole = folder / "item-0000.jpg"
    data = whole.read_bytes()
    broken = {
        "upload-interrupted.jpg": data[: len(data) // 2],
        "empty.jpg": b"",
        "not-found-page.jpg": b"<!doctype html><title>404</title><p>No such picture.",
        "bit-rot.png": b"\x89PNG\r\n\x1a\n" + random_.randbytes(400),
    }
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    Image.new("RGB", (1, 1), "white").save(folder / "tracking-pixel.gif")
    return [*broken, "tracking-pixel.gif"]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    print(f"drew {PHOTOS_PER_CLASS * len(CLASSES)} labeled pictures and a catalogue to classify in {sys.argv[1]}")
