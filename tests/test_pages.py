"""The reports in a real browser, as wide as a phone, a tablet and a desktop: nothing is broken, empty or cut off."""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main as trainer_main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}

# The page is in a frame of the requested width, because a window cannot be as narrow as a phone.
LOOK = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" style="border:0;width:%dpx;height:900px" srcdoc="%s"></iframe><pre id="found"></pre><script>
const frame = document.getElementById("page");
frame.onload = async () => {
  const page = frame.contentDocument, root = page.documentElement, found = {};
  found.overflow = root.scrollWidth - root.clientWidth;
  found.broken = [...page.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.alt);
  found.images = page.images.length;
  found.hidden = [...page.querySelectorAll("h2")].filter(title => {
    let next = title.nextElementSibling, height = 0;
    for (; next && next.tagName != "H2"; next = next.nextElementSibling) height += next.getBoundingClientRect().height;
    return height < 15;
  }).map(title => title.textContent);
  found.titles = [...page.querySelectorAll("h2")].map(title => title.textContent);
  found.outside = [...page.querySelectorAll("svg, figure, .card, p, summary, .meter")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && (box.right > root.clientWidth + 1 || box.left < -1) && !element.closest(".scroll");
  }).map(element => element.outerHTML.slice(0, 80));
  found.unclear = [...page.querySelectorAll("td, th, figcaption, .card")].filter(element =>
    element.scrollWidth > element.clientWidth + 1).map(element => element.outerHTML.slice(0, 80));
  found.nonsense = (page.body.innerText.match(/\\b(nan|NaN|None|undefined|null|inf)\\b/g) || []);
  found.cells = [];
  for (const link of page.querySelectorAll('a[href^="#cell-"]')) {
    frame.contentWindow.location.hash = link.getAttribute("href");
    await new Promise(done => setTimeout(done, 5));
    const shown = [...page.querySelectorAll(".target")].filter(part => part.getBoundingClientRect().height > 20);
    found.cells.push([link.getAttribute("href"), shown.map(part => "#" + part.id), link.textContent,
                      shown.length ? shown[0].querySelectorAll("img").length : 0]);
  }
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>"""


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], dict[str, Any]]:
    def at(page: Path, width: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("look")
        (folder / "look.html").write_text(LOOK % (WIDTHS[width], html.escape(page.read_text(encoding="utf-8"))))
        words = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
            "--window-size=1400,1000", "--virtual-time-budget=60000", "--timeout=60000", "--dump-dom",
            f"file://{folder}/look.html",
        ]  # fmt: skip
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, check=False, timeout=180,
            env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        shown = done.stdout.split('<pre id="found">')[-1].split("</pre>")[0]
        assert shown.startswith("{"), done.stderr[-2000:]
        return json.loads(html.unescape(shown))

    return at


def in_order(found: dict[str, Any]) -> None:
    assert found["overflow"] <= 0
    assert not found["broken"]
    assert not found["hidden"]
    assert not found["outside"]
    assert not found["unclear"]
    assert not found["nonsense"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_evaluation_of_a_model(width: str, tiny_model: Path, look: Callable[..., dict[str, Any]]) -> None:
    found = look(tiny_model / "report.html", width)
    in_order(found)
    assert found["images"] > 4
    assert {"Classes", "Confusion matrix", "Most confident errors", "Calibration", "Training curves", "Network"} <= set(
        found["titles"]
    )
    assert found["cells"]
    for link, shown, count, images in found["cells"]:
        assert shown == [link]  # only the photos of this cell
        assert images == min(int(count), 6)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run(
    width: str, tiny_model: Path, drawn: Path, tmp_path: Path, classify: Callable[..., int], look: Callable[..., Any]
) -> None:
    data = Path(shutil.copytree(drawn, tmp_path / "data"))
    (data / "hat/torn.jpg").write_bytes((data / "hat/00.jpg").read_bytes()[:3000])
    assert classify(data, tiny_model, tmp_path / "run") == 0
    in_order(look(tmp_path / "run/report.html", width))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_look_into_a_network(
    width: str, tiny_model: Path, drawn: Path, tmp_path: Path, look: Callable[..., dict[str, Any]]
) -> None:
    photo = str(drawn / "hat/00.jpg")
    arguments = ["--model-dir", str(tiny_model), "--image", photo, "--output", str(tmp_path / "out")]
    assert trainer_main(["inspect", *arguments]) == 0
    found = look(tmp_path / "out/report.html", width)
    in_order(found)
    assert found["images"] >= 4 + 3 * 3


@pytest.mark.parametrize("width", WIDTHS)
def test_photos_before_training(width: str, drawn: Path, tmp_path: Path, look: Callable[..., dict[str, Any]]) -> None:
    assert trainer_main(["preview", "--data", str(drawn), "--augment", "--output", str(tmp_path / "out")]) == 0
    in_order(look(tmp_path / "out/report.html", width))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sweep(width: str, drawn: Path, tmp_path: Path, look: Callable[..., dict[str, Any]]) -> None:
    arguments = ["--data", str(drawn), "--output", str(tmp_path / "out"), "--backbone", "pixels", "--epochs", "1"]
    vary = ["--vary", "learning-rate", "0.1", "0.001", "1e38", "--vary", "decay", "constant", "cosine"]
    assert trainer_main(["sweep", *arguments, *vary]) == 0
    in_order(look(tmp_path / "out/report.html", width))
    in_order(look(min((tmp_path / "out/trials").iterdir()), width))
