"""A file, URL or line for each reason why an image can fail, classified by the whole ``classify`` command."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catalogue.reasons import Reason


class _Refuses(http.server.BaseHTTPRequestHandler):
    """Server that responds with the status code in the path."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/").partition(".")[0]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refuses() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_reason_has_a_file(
    shared: Path,
    refuses: str,
    tiny_model: Path,
    tmp_path: Path,
    classify: Callable[..., int],
    read_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    odd, photo = shared / "datasets/odd-images", next((shared / "datasets/clothing/validation").rglob("*.jpg"))
    (tmp_path / "empty.jpg").write_bytes(b"")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((16, 16, 3), np.float32), photometric="rgb")
    (tmp_path / "long.jpg").write_bytes(photo.read_bytes() + bytes(2_000_000))
    files = {
        "not_found": tmp_path / "none.jpg",
        "permission_denied": f"{refuses}/403.jpg",
        "read_failed": f"{refuses}/408.jpg",
        "empty": tmp_path / "empty.jpg",
        "too_many_bytes": tmp_path / "long.jpg",
        "unknown_format": odd / "LICENSE",
        "unsupported": tmp_path / "float.tif",
        "truncated": odd / "truncated_end_chunk.png",
        "corrupt": odd / "broken_data_stream.png",
        "too_many_pixels": odd / "decompression_bomb.gif",
        "too_small": odd / "orientation_rectangle.jpg",
        "bad_manifest_row": "",
    }
    assert set(files) == {reason.code for reason in Reason}
    lines = [json.dumps({"uri": str(uri), "expected": reason}) for reason, uri in files.items()]
    good = json.dumps({"uri": str(photo), "expected": None})
    (tmp_path / "list.jsonl").write_text("\n".join([good, *lines, good]))
    flags = ("--max-bytes", 1_000_000, "--max-failure-rate", 1)
    assert classify(tmp_path / "list.jsonl", tiny_model, tmp_path / "run", *flags) == 0
    letters = read_rows(tmp_path / "run", "dead_letters")
    assert {letter["fields"]["expected"]: letter["reason"] for letter in letters} == {code: code for code in files}
    assert {letter["reason"]: letter["transient"] for letter in letters} == {
        reason.code: reason.transient for reason in Reason
    }
    assert all(letter["message"] for letter in letters)
    assert len(read_rows(tmp_path / "run")) == 2
    page = (tmp_path / "run/report.html").read_text()
    assert all(reason.sentence in page for reason in Reason)
    files = sorted(str(file.relative_to(tmp_path / "run")) for file in (tmp_path / "run/dead_letters").iterdir())
    assert files == re.findall(r'href="(dead_letters/[^"]*)"', page)
