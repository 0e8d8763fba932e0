"""The tutorials page: its commands run on a few pictures, and the reports have the sections that the page names."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from trainer.__main__ import main
from trainer.data import idx

PAGE = Path(__file__).parents[1] / "docs/guides/tutorials.md"
TUTORIALS = re.split(r"\n## ", PAGE.read_text(encoding="utf-8"))[1:]
FEW = 240  # pictures per file


def few(file: Path, place: Path) -> None:
    """Write an IDX file with the first pictures or labels of another IDX file."""
    array = read(file)[:FEW]
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(gzip.compress(header + array.tobytes()))


def read(file: Path) -> np.ndarray:
    content = gzip.decompress(file.read_bytes())
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


@pytest.fixture(scope="module")
def place(shared: Path, clothing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small versions of the data sets."""
    folder = tmp_path_factory.mktemp("tutorials")
    for name in ("mnist", "fashion-mnist"):
        for file in (shared / "datasets" / name).glob("*ubyte.gz"):
            few(file, folder / name / file.name)
    idx._read.cache_clear()
    for side, start in (("train", 0), ("validation", 6), ("test", 9)):
        for kind in sorted((clothing / "validation").iterdir())[:3]:
            (folder / "clothing" / side / kind.name).mkdir(parents=True)
            for file in sorted(kind.glob("*.jpg"))[start : start + (6 if side == "train" else 3)]:
                shutil.copy(file, folder / "clothing" / side / kind.name)
    return folder


def small(words: list[str]) -> list[str]:
    """Make a command take only seconds: two epochs, and a small network instead of Xception."""
    made = ["2" if before == "--epochs" else word for before, word in zip(["", *words], words, strict=False)]
    if "Xception" in made:
        made[made.index("Xception")] = "convolutional"
        made[made.index("--image-size") + 1] = "32"
    return made


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=[text.splitlines()[0] for text in TUTORIALS])
def test_each_figure_is_where_the_page_says(
    tutorial: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("mnist", "fashion-mnist", "clothing"):
        (tmp_path / name).symlink_to(place / name)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", tutorial, re.DOTALL)
    left_out = set()
    for line in block.splitlines():
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "trainer"]
        if "imagenet" in words:  # its weights would be downloaded
            left_out.add(words[words.index("--model-dir") + 1])
            continue
        assert main(small(words[3:])) == 0, capfd.readouterr().err
    figures = re.findall(r"^\| [^|]+ \| `([^`]+)`: ([^|]+) \|$", tutorial, re.MULTILINE)
    assert len(figures) >= 5
    for folder, section in figures:
        if folder not in left_out:
            text = Path(folder, "report.html").read_text()
            titles = re.findall(r"<h2>([^<]*)|</b>([^<]*)</div>", text)
            assert any(section in (one or other) for one, other in titles), f"{folder}: {section}"
    for folder in re.findall(r"--improvements (\S+)", block):
        assert os.listdir(folder)
