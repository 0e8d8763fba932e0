from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalogue.cli.command import run

NOISY = """
import os, sys, warnings
from catalogue.cli import command as runner, errors, logs
def command():
    os.write(2, b"noise of a library\\n")
    warnings.warn("a warning")
    logs.say("progress")
    print("result")
    {end}
sys.exit(runner.run(command, prog="prog", verbose={verbose}))
"""


def run_noisy(end: str, verbose: bool = False, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = NOISY.format(end=end, verbose=verbose)
    environment = os.environ | ({"TMPDIR": str(folder)} if folder else {})
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_a_command_prints_its_own_words_only(tmp_path: Path) -> None:
    done = run_noisy("pass", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "result\n", "progress\n")
    assert not list(tmp_path.iterdir())


def test_verbose_shows_the_noise() -> None:
    assert "noise of a library" in run_noisy("pass", verbose=True).stderr


def test_a_users_error_is_one_line_and_leaves_no_log(tmp_path: Path) -> None:
    done = run_noisy("raise errors.UserError('give\\n another folder')", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "progress\nprog: error: give another folder\n")
    assert not list(tmp_path.iterdir())


def test_a_fault_is_one_line_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    done = run_noisy("{}['key']", folder=tmp_path)
    (log,) = tmp_path.iterdir()
    assert (done.returncode, done.stderr) == (1, f"progress\nprog: error: KeyError: 'key' (details: {log})\n")
    assert "noise of a library" in log.read_text()
    assert "Traceback" in log.read_text()


LEFT_AT_WORK = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from catalogue.cli import command as runner, errors
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
    raise errors.UserError("give another folder")
atexit.register(clean_up)
print("result")
runner.leave(runner.run(command, prog="prog"))
"""


def test_threads_of_a_failed_command_neither_print_nor_delay_its_exit(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LEFT_AT_WORK, str(tmp_path / "file")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "result\n")
    assert done.stderr.endswith("prog: error: give another folder\n")
    assert (tmp_path / "file").read_text() == "cleaned up"


def test_a_log_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: None, prog="prog", log_file=str(tmp_path / "no/log")) == 2
    assert capsys.readouterr().err.count("\n") == 1


SHELL = {
    "no standard output": "{command} >&-",
    "no standard error": "{command} 2>&-",
    "neither": "{command} >&- 2>&-",
    "no standard input": "{command} <&-",
    "a reader that has exited": "set -o pipefail; {command} | true",
    "a reader of both streams that has exited": "set -o pipefail; {command} 2>&1 | true",
    "a full disk for standard error": "{command} 2>/dev/full",
    "a full disk for the log": "{command} full",
}
COMPLETE = """
import os, sys, tempfile, time
from catalogue.cli import command as runner, logs
from catalogue.cli.progress import Progress
if sys.argv[1:] == ["full"]:
    tempfile.mkstemp = lambda **_: (os.open("/dev/full", os.O_WRONLY), "/none/of/this")
logs.prepare_process()
def command():
    time.sleep(0.3)  # until the reader has exited
    os.write(2, b"noise") if "full" not in sys.argv else None
    print("noise of Python", file=sys.stderr)
    logs.say("progress")
    with Progress("working", 3, "steps") as progress:
        progress.advance(3)
    for number in range(10):
        logs.print_line(f"result {number} \\u30b9")
    open("done", "w").close()
runner.leave(runner.run(command, prog="prog"))
"""


@pytest.mark.parametrize("case", SHELL)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_finished_command_succeeds_even_if_its_output_is_closed(tmp_path: Path, case: str, encoding: str) -> None:
    (tmp_path / "command.py").write_text(COMPLETE)
    script = SHELL[case].format(command=f"{sys.executable} command.py")
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(["bash", "-c", script], capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done
    assert (tmp_path / "done").exists()
    assert b"Traceback" not in done.stderr
    if case == "no standard error":
        assert done.stdout.decode(encoding).splitlines()[9] == "result 9 " + ("\u30b9" if encoding == "utf-8" else "?")


def test_results_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(COMPLETE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    script = f"{sys.executable} command.py >/dev/full"
    done = subprocess.run(["bash", "-c", script], capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == (
        "prog: error: cannot write to standard output (No space left on device): redirect it elsewhere"
    )


KILLED = """
import sys, tempfile, time
from catalogue.cli.command import run
def command():
    tempfile.mkdtemp()
    print("ready", flush=True)
    time.sleep(60)
run(command, prog="prog")
"""


def test_the_temporary_files_of_a_command_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    """The files of a command that is still running are kept."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with contextlib.ExitStack() as stack:
        killed, alive = (
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", KILLED], env=environment, stdout=subprocess.PIPE)
            )
            for _ in range(2)
        )
        for process in (killed, alive):
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 2
        killed.kill()
        killed.wait()
        assert run_noisy("pass", folder=tmp_path).returncode == 0
        (left,) = tmp_path.iterdir()
        assert len(list(left.iterdir())) == 2  # its log and its folder
        alive.kill()
    assert run_noisy("pass", folder=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_interrupts_a_command_as_the_keyboard_does(number: signal.Signals, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    words = [sys.executable, "-c", KILLED.replace("run(command", "sys.exit(run(command").rstrip() + ")"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (128 + number, b"prog: error: interrupted\n")
    assert not list(tmp_path.iterdir())
