from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from catalogue.cli import progress as module
from catalogue.cli.progress import Progress


def test_progress_says_how_far_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 4, "photos") as progress:
        progress.advance(3)
        progress.advance(1, "all well")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("reading: 4 of 4 photos")
    assert line.endswith("all well")


def test_a_log_gets_a_line_soon_and_then_seldom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    progress = Progress("reading", 300, "photos")
    for _ in range(30):
        now += 1
        progress.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["20", "120", "220"]
    assert lines[0] == "reading: 20 of 300 photos  10.0/s  28 s left"


def test_the_speed_excludes_the_work_of_an_earlier_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    progress = Progress("reading", 300, "photos", done=100)
    now = 4.0
    progress.advance(40)
    assert capsys.readouterr().err == "reading: 140 of 300 photos  10.0/s  16 s left\n"


def test_a_milestone_is_shown_at_once_but_at_most_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets one line per epoch, unless several epochs end within a second."""
    progress = Progress("fitting", 4, "steps")
    progress.milestone("epoch 1")
    assert not capsys.readouterr().err
    progress._shown -= 1.5
    progress.milestone("epoch 2")
    progress.milestone("epoch 3")
    assert [line[-7:] for line in capsys.readouterr().err.splitlines()] == ["epoch 2"]


ON_TERMINAL = """
import time
from catalogue.cli.progress import Progress
with Progress("fitting network", 4000, "steps") as progress:
    for epoch in range(4):
        time.sleep(0.25)
        progress.advance(1000, f"epoch {epoch}  validation 0.912  accuracy 0.923  loss 0.345")
"""


@pytest.mark.parametrize(("columns", "bar"), [(200, True), (80, False), (20, False)])
def test_progress_is_one_line_that_is_redrawn_on_a_terminal(columns: int, bar: bool) -> None:
    """This holds on a narrow terminal too, where a wrapped line would not be overwritten by the next."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-c", ON_TERMINAL], stderr=there) as process:
        os.close(there)
        shown = b""
        with contextlib.suppress(OSError):  # Linux raises EIO when the terminal closes
            while block := os.read(here, 4096):
                shown += block
    os.close(here)
    assert process.returncode == 0
    before, _, last = shown.decode().rstrip().rpartition("\r")
    redrawn = [line.rstrip() for line in before.split("\r") if line]
    assert len(redrawn) == 4
    assert all(len(line) < columns for line in redrawn)
    assert ("█" in before) is bar
    if columns >= 80:
        assert all("s left" in line and "validation 0.912" in line and "accuracy 0.923" in line for line in redrawn[:3])
    assert last.startswith("fitting network: 4,000 of 4,000 steps")
    assert last.endswith("loss 0.345")
