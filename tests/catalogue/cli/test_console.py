from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from catalogue.cli import console

NOISY = """
import os, sys, warnings
from catalogue.cli import console
def command():
    os.write(2, b"noise of a library\\n")
    warnings.warn("a warning")
    console.say("progress")
    print("result")
    {end}
sys.exit(console.run(command, prog="prog", verbose={verbose}))
"""


def run(end: str, verbose: bool = False, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = NOISY.format(end=end, verbose=verbose)
    environment = os.environ | ({"TMPDIR": str(folder)} if folder else {})
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_a_command_prints_its_own_words_only(tmp_path: Path) -> None:
    done = run("pass", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "result\n", "progress\n")
    assert not list(tmp_path.iterdir())


def test_verbose_shows_the_noise() -> None:
    assert "noise of a library" in run("pass", verbose=True).stderr


def test_a_users_error_is_one_line_and_leaves_no_log(tmp_path: Path) -> None:
    done = run("raise console.UserError('give\\n another folder')", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "progress\nprog: error: give another folder\n")
    assert not list(tmp_path.iterdir())


def test_a_fault_is_one_line_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    done = run("{}['key']", folder=tmp_path)
    (log,) = tmp_path.iterdir()
    assert (done.returncode, done.stderr) == (1, f"progress\nprog: error: KeyError: 'key' (details: {log})\n")
    assert "noise of a library" in log.read_text()
    assert "Traceback" in log.read_text()


LEFT_AT_WORK = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from catalogue.cli import console
def chatter():
    while True:
        time.sleep(0.5)
        print("from a thread", file=sys.stderr)
def clean_up():
    time.sleep(1)
    Path(sys.argv[1]).write_text("cleaned up")
def command():
    threading.Thread(target=chatter, daemon=True).start()
    ThreadPoolExecutor().submit(time.sleep, 60)
    raise console.UserError("give another folder")
atexit.register(clean_up)
print("result")
console.leave(console.run(command, prog="prog"))
"""


def test_what_a_failed_command_left_at_work_neither_speaks_nor_delays_the_end(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LEFT_AT_WORK, str(tmp_path / "file")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "result\n")
    assert done.stderr.endswith("prog: error: give another folder\n")
    assert (tmp_path / "file").read_text() == "cleaned up"


def test_a_log_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(lambda: None, prog="prog", log_file=str(tmp_path / "no/log")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(console.UserError, match=r"unknown argument --epoch; did you mean --epochs\?"):
        console.refuse_unknown(["--epoch=3"], ["--epochs", "--seed"])
    console.refuse_unknown([], ["--epochs"])


def test_progress_says_how_far_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress("reading", 4, "photos") as progress:
        progress.advance(3)
        progress.advance(1, "all well")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("reading: 4 of 4 photos")
    assert line.endswith("all well")


def test_a_log_gets_a_line_soon_and_then_seldom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    progress = console.Progress("reading", 300, "photos")
    for _ in range(30):
        now += 1
        progress.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["20", "120", "220"]
    assert lines[0] == "reading: 20 of 300 photos  10.0/s  28 s left"


def test_what_an_earlier_run_has_done_makes_none_of_the_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    progress = console.Progress("reading", 300, "photos", done=100)
    now = 4.0
    progress.advance(40)
    assert capsys.readouterr().err == "reading: 140 of 300 photos  10.0/s  16 s left\n"


def test_versions_of_what_is_installed() -> None:
    assert console.versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}


def test_a_milestone_is_said_at_once_but_not_every_moment(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each epoch in a log, unless there are many in a second."""
    progress = console.Progress("fitting", 4, "steps")
    progress.milestone("epoch 1")
    assert not capsys.readouterr().err
    progress._shown -= 1.5
    progress.milestone("epoch 2")
    progress.milestone("epoch 3")
    assert [line[-7:] for line in capsys.readouterr().err.splitlines()] == ["epoch 2"]


ON_TERMINAL = """
import time
from catalogue.cli import console
with console.Progress("fitting network", 4000, "steps") as progress:
    for epoch in range(4):
        time.sleep(0.25)
        progress.advance(1000, f"epoch {epoch}  validation 0.912  accuracy 0.923  loss 0.345")
"""


@pytest.mark.parametrize(("columns", "bar"), [(200, True), (80, False), (20, False)])
def test_progress_is_one_line_that_is_redrawn_on_a_terminal(columns: int, bar: bool) -> None:
    """However narrow: a line that wraps would be left behind by the next."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-c", ON_TERMINAL], stderr=there) as process:
        os.close(there)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux says at the end
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


HELP = """
import runpy, sys
sys.argv = ["x", *{arguments}]
try:
    runpy.run_module("{module}", run_name="__main__")
except SystemExit:
    pass
print([name for name in ("tensorflow", "keras", "apache_beam") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("trainer", ["--help"]),
        ("trainer", ["train", "--help"]),
        ("trainer", ["evaluate", "--help"]),
        ("trainer", ["predict", "--help"]),
        ("trainer.task", ["--help"]),
        ("pipeline", ["--help"]),
        ("pipeline", ["classify", "--help"]),
    ],
)
def test_help_needs_no_heavy_import(module: str, arguments: list[str], repository: Path) -> None:
    code = HELP.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert "usage:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
