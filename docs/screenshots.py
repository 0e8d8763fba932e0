"""Take the screenshots of the README: ``python -m docs.screenshots DEMO``, run by ``make screenshots``.

``DEMO`` is the folder that ``make demo`` writes. Requires Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
SIZE = (1100, 760)
REPORTS = {"model-report.png": "model/report.html", "run-report.png": "run/report.html"}
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip


def main(demo: Path) -> None:
    """Take a screenshot of each report."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("Chromium is not installed: install it, and run make screenshots again")
    IMAGES.mkdir(exist_ok=True)
    for name, report in REPORTS.items():
        with tempfile.TemporaryDirectory() as profile:
            size = f"--window-size={SIZE[0]},{SIZE[1]}"
            words = [chromium, *_FLAGS, size, f"--user-data-dir={profile}", f"--screenshot={IMAGES / name}"]
            subprocess.run([*words, f"file://{(demo / report).resolve()}"], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
