"""The ``predict`` command."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catalogue import model_dir, storage
from catalogue.model_dir import saved_model
from tests.conftest import ObjectStore
from trainer.__main__ import main
from trainer.commands import predict


def test_predict_prints_the_labels_in_order(tiny_model: Path, drawn: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = [str(drawn / label / "01.jpg") for label in ("shoes", "dress")]
    assert main(["predict", "--model-dir", str(tiny_model), *photos]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [lines[0], lines[4]] == photos
    from catalogue.images.reader import read_image

    model = model_dir.read(tiny_model)
    images = np.stack([read_image(Path(photo).read_bytes(), model.info.image) for photo in photos])
    blocks = [lines[start + 1 : start + 4] for start in (0, 4)]
    for block, row in zip(blocks, saved_model.load(model)(images), strict=True):
        for line, index in zip(block, np.argsort(-row), strict=True):
            assert line.split()[:2] == [model.info.labels[index], f"{row[index]:.4f}"]


def test_predict_fails_for_what_is_no_photo_and_still_shows_the_rest(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = str(drawn / "hat/01.jpg")
    assert main(["predict", "--model-dir", str(tiny_model), str(tmp_path / "none.jpg"), good]) == 1
    shown = capfd.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].endswith("none.jpg")
    assert "not classified, not_found" in lines[1]
    assert lines[2] == good
    assert "1 of 2 files cannot be read" in shown.err


def test_predict_takes_file_uris(tiny_model: Path, drawn: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photo = drawn / "hat/01.jpg"
    assert main(["predict", "--model-dir", tiny_model.as_uri(), photo.as_uri()]) == 0
    assert capfd.readouterr().out.splitlines()[0] == str(photo)


def test_predict_takes_folders_and_the_web(
    tiny_model: Path,
    drawn: Path,
    tmp_path: Path,
    open_object_store: Callable[[str], ObjectStore],
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = open_object_store("gs").root
    storage.copy(str(drawn / "hat/00.jpg"), f"{root}/photos/hat/00.jpg")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(drawn))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}/hat/00.jpg"
        assert main(["predict", "--model-dir", str(tiny_model), "--json", str(drawn), f"{root}/photos", web]) == 0
        server.shutdown()
    rows = list(map(json.loads, capfd.readouterr().out.splitlines()))
    assert [row["uri"] for row in rows[-2:]] == [f"{root}/photos/hat/00.jpg", web]
    assert {row["uri"] for row in rows[:-2]} == set(map(str, drawn.rglob("*.jpg")))
    (tmp_path / "empty").mkdir()
    assert main(["predict", "--model-dir", str(tiny_model), str(tmp_path / "empty")]) == 2
    assert "contains no photos" in capfd.readouterr().err


def test_predict_prints_json_for_programs(
    tiny_model: Path, drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = [str(drawn / "hat/01.jpg"), str(tmp_path / "none.jpg")]
    assert main(["predict", "--model-dir", str(tiny_model), "--json", "--top-k", "2", *photos]) == 1
    good, bad = map(json.loads, capfd.readouterr().out.splitlines())
    assert good["uri"] == photos[0]
    assert len(good["top"]) == 2
    assert good["top"][0] == {"label": good["label"], "score": good["score"]}
    assert good["score"] >= good["top"][1]["score"]
    assert (bad["uri"], bad["reason"]) == (photos[1], "not_found")


@pytest.mark.parametrize(("share", "expected"), [(0.0, ""), (0.5, "████"), (1.0, "████████"), (0.3125, "██▌")])
def test_bars(share: float, expected: str) -> None:
    assert predict.bar(share, 8) == expected
