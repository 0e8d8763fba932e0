from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import write_photos
from tests.processes import children

LISTENING = "0A"  # state of a listening socket in /proc/net/tcp
CONNECT = """
import os, socket, sys
if sys.argv[2] == "nobody":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
"""


@pytest.fixture(params=["multi_processing", "multi_threading"])
def process(
    request: pytest.FixtureRequest, tiny_model: Path, drawn: Path, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A run in progress, whose temporary folder has too long a path for a socket."""
    photos = write_photos(drawn, tmp_path / "photos", 5000)
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    words = ["classify", "--input", photos, "--model-dir", tiny_model, "--output", tmp_path / "run", "--engine",
             "openvino", "--direct_num_workers=2", f"--direct_running_mode={request.param}"]  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(deep)},
    )
    for _ in range(3000):
        if list(tmp_path.glob("run/_temporary/*/chunk-*")):
            break
        assert started.poll() is None
        time.sleep(0.01)
    yield started
    started.kill()
    started.wait()


def sockets_of(pid: int) -> set[str]:
    links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def test_a_run_listens_on_no_port_and_on_sockets_that_nobody_else_may_use(
    process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    pids = [process.pid, *children(process.pid)]
    own = {socket for pid in pids for socket in sockets_of(pid)}
    assert own
    for name in ("tcp", "tcp6"):
        lines = [line.split() for line in Path(f"/proc/{process.pid}/net/{name}").read_text().splitlines()[1:]]
        assert not [line for line in lines if line[3] == LISTENING and line[9] in own]
    (folder,) = tmp_path.glob("deep*/*/sockets-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    sockets = sorted(folder.iterdir())
    assert len(sockets) == 4
    for path in sockets:
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert connect(sockets[0], "oneself") == ""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    assert "PermissionError" in connect(sockets[0], "nobody")


def connect(path: Path, user: str) -> str:
    """Return the error that a user gets when connecting to a socket."""
    words = [sys.executable, "-c", CONNECT, path.name, user]  # relative, as the absolute path may be too long
    return subprocess.run(words, cwd=path.parent, capture_output=True, text=True, check=False).stderr
