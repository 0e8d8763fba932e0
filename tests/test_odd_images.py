"""The odd images of Pillow's own tests, each with its expected outcome, checked by eye.

The expected colors come from Chromium, not from the reader under test. Chromium drew each file on a white canvas. The
tests deviate from Chromium in two cases: it applies the gamma chunk of hopper.png, but the tests expect the picture of
hopper.jpg; and it ignores the EXIF orientation of the WebP files and the XMP orientation of xmp_tags_orientation.png,
but the tests expect these files to be rotated.

hopper_bad_exif.jpg also has damaged pixels: streaks that every decoder shows, since JPEG has no checksums. Chromium
draws what is left of files whose pixel data is truncated, and draws unknown_compression_method.png without its
profile; the reader refuses these files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogue.images.reader import read_image, read_thumbnail
from catalogue.images.spec import ImageSpec
from catalogue.reasons import ImageError, Reason

# Name: (width, height) upright, and the mean colors of the quarters: top left, top right, bottom left, bottom right.
PICTURES = {
    "1_trns.png": ((64, 64), "3c3c3c 767676 818181 bdbdbd"),
    "anim_frame1.webp": ((82, 82), "ffffff ffffff f5e2e3 f7efee"),
    "decompression_bomb_extents.gif": ((100, 100), "ff0000 ff0000 ff0000 ff0000"),
    "dispose_prev.gif": ((100, 100), "4aaaf7 48a9f7 48a9f7 47a8f7"),
    "exif_typeerror.jpg": ((800, 531), "aebbbf a2b0b2 978760 9b8c65"),
    "flower.jpg": ((480, 360), "828e6b 697f50 808962 72795c"),
    "flower.webp": ((480, 360), "828e6b 698050 808962 72795c"),
    "hopper.gif": ((128, 128), "5e4951 6c759b 513936 4c4a5d"),
    "hopper.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper.png": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper.webp": ((128, 128), "5e4950 6b759b 523936 4c4a5d"),
    "hopper_16bit_qtables.jpg": ((128, 128), "5f4952 6d759a 513a34 4c4a5c"),
    "hopper_bad_exif.jpg": ((500, 500), "6b6b6b aaaaaa 5c5c5c 868686"),
    "hopper_gray.jpg": ((128, 128), "505050 777777 404040 4c4c4c"),
    "hopper_orientation_2.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_2.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_3.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_3.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_4.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_4.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_5.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_5.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_6.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_6.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_7.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_7.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_8.jpg": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "hopper_orientation_8.webp": ((128, 128), "5e4951 6c759b 513936 4c495d"),
    "i_trns.png": ((64, 64), "181818 161616 2c2c2c 313131"),
    "icc-after-SOF.jpg": ((10, 10), "000000 000000 000000 000000"),
    "icc_profile.png": ((57, 57), "bbaca2 bfb1a7 dabeb0 cfc0b1"),
    "invalid-exif-without-x-resolution.jpg": ((300, 200), "010101 000000 010101 000000"),
    "invalid-exif.jpg": ((200, 200), "c3c3c3 4a4a4a 4e4e4e 161616"),
    "iss634.apng": ((245, 245), "4c795c 838c59 9d8e57 af905d"),
    "iss634.gif": ((245, 245), "4c795c 838c59 9d8e57 af905d"),
    "iss634.webp": ((245, 245), "4c795c 838c59 9d8e57 af905d"),
    "jpeg_ff00_header.jpg": ((300, 225), "7a5351 77525b 794e4d 67483c"),
    "junk_jpeg_header.jpg": ((1024, 768), "b8c5d2 9999a0 4b4037 39312b"),
    "l_trns.png": ((64, 64), "3c3c3c 757575 828282 bcbcbc"),
    "old-style-jpeg-compression.png": ((4160, 870), "4b544b 474e45 707672 363e36"),
    "p_16.png": ((128, 128), "606060 606060 606060 606060"),
    "p_trns_single.png": ((64, 64), "d0d630 45dbaf 41d3bb aa3ef0"),
    "pal8rletrns.png": ((127, 64), "918173 756ea4 514773 6c6958"),
    "palette_not_needed_for_second_frame.gif": ((128, 128), "5e4951 6c759b 513936 4c4a5d"),
    "photoshop-200dpi-broken.jpg": ((200, 200), "c3c3c3 4a4a4a 4e4e4e 161616"),
    "photoshop-200dpi.jpg": ((200, 200), "c3c3c3 4a4a4a 4e4e4e 161616"),
    "pil_sample_cmyk.jpg": ((100, 100), "380709 240607 110505 0c0505"),
    "pil_sample_rgb.jpg": ((100, 100), "340806 210504 100302 0b0201"),
    "rgb_trns.png": ((64, 64), "d0d630 45dbaf 41d3bb aa3ef0"),
    "sugarshack_bad_mpo_header.jpg": ((640, 480), "6c6457 544336 878077 9b8c88"),
    "test.colors.gif": ((807, 606), "766376 8a8549 766376 8a854a"),
    "tiny.png": ((4, 4), "ffffff 64615c ffffff 6a8653"),
    "transparent.gif": ((200, 150), "b5a6d1 bcc7ad eddfda eedfd9"),
    "transparent.png": ((200, 150), "b5a6d1 bcc7ad eddfda eedfd9"),
    "transparent.webp": ((200, 150), "b5a6d0 bcc6ae eddfda eedfd9"),
    "truncated_app14.jpg": ((100, 100), "340806 210504 100302 0b0201"),
    "truncated_exif_dpi.jpg": ((480, 640), "ffffff ffffff ffffff ffffff"),
    "truncated_jpeg.jpg": ((100, 100), "81817e 7e807e 82807f 81807f"),  # lacks only the last byte of its end marker
    "uncompressed_la.png": ((128, 128), "e6e6e6 ebebeb f6f6f6 ffffff"),
    "xmp_tags_orientation.png": ((326, 268), "d3b583 c7a978 dbba8a ebca92"),
}

REASONS = {
    "LICENSE": Reason.UNKNOWN_FORMAT,
    "broken.png": Reason.CORRUPT,
    "broken_data_stream.png": Reason.CORRUPT,
    "decompression_bomb.gif": Reason.TOO_MANY_PIXELS,
    "decompression_bomb.ico": Reason.UNKNOWN_FORMAT,
    "multiple_exif.jpg": Reason.TOO_SMALL,
    "no_palette.gif": Reason.TOO_SMALL,
    "orientation_rectangle.jpg": Reason.TOO_SMALL,
    "png_decompression_dos.png": Reason.TOO_SMALL,
    "truncated_end_chunk.png": Reason.TRUNCATED,
    "truncated_image.png": Reason.TRUNCATED,
    "ultrahdr.jpg": Reason.TRUNCATED,
    "unknown_compression_method.png": Reason.CORRUPT,
    "zero_width.gif": Reason.CORRUPT,
}


def quarters(image: np.ndarray) -> np.ndarray:
    height, width = (side + 1 for side in image.shape[:2])
    rows, columns = (slice(height // 2), slice(height // 2, None)), (slice(width // 2), slice(width // 2, None))
    return np.array([image[row, column].mean((0, 1)) for row in rows for column in columns])


def expected_quarters(colors: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(color)) for color in colors.split()])


@pytest.mark.parametrize("name", PICTURES)
def test_gives_the_right_picture(name: str, shared: Path) -> None:
    data = (shared / "datasets/odd-images" / name).read_bytes()
    (width, height), colors = PICTURES[name]
    whole = read_thumbnail(data, 10_000)
    assert whole.shape == (height, width, 3)
    np.testing.assert_allclose(quarters(whole), expected_quarters(colors), atol=3)
    if min(width, height) >= 50:  # in smaller pictures the quarters have no clear edges at 64 pixels
        np.testing.assert_allclose(
            quarters(read_image(data, ImageSpec(64, "stretch"))), expected_quarters(colors), atol=6
        )


@pytest.mark.parametrize("name", REASONS)
def test_gives_the_right_reason(name: str, shared: Path) -> None:
    with pytest.raises(ImageError) as error:
        read_image((shared / "datasets/odd-images" / name).read_bytes(), ImageSpec(64))
    assert error.value.reason is REASONS[name]


def test_every_file_has_an_outcome(shared: Path) -> None:
    assert {file.name for file in (shared / "datasets/odd-images").iterdir()} == {*PICTURES, *REASONS}


def test_orientations_of_real_photos_are_one_picture(shared: Path) -> None:
    for ending in ("jpg", "webp"):
        files = sorted((shared / "datasets/odd-images").glob(f"hopper_orientation_*.{ending}"))
        pictures = [read_image(file.read_bytes(), ImageSpec(64)).astype(int) for file in files]
        assert len(pictures) == 7
        for picture in pictures[1:]:
            assert np.abs(picture - pictures[0]).mean() < 3
