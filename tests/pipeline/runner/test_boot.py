"""The program that starts a worker on an engine's machine. It exits when the engine does, and ends its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import wait_for_end

COMMAND = Path(sys.executable).with_name("catalogue-classifier-boot")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A fake of Beam's boot program. It starts a worker in a separate process group and kills the worker on SIGTERM."""
    path = tmp_path / "boot"
    path.write_text(
        '#!/bin/bash\nset -m\ntouch pipeline_options.json\npwd > "$TEST_FOLDER/cwd"\ncd "$TEST_FOLDER"\n'
        "printf '%s\\n' \"$@\" > arguments\ncommand -v python > python\n"
        "trap 'sleep 0.5; kill -KILL -$(cat worker); exit 1' TERM\n"
        "(trap '' TERM; exec sleep 300) &\necho $! > worker\nwait\n"
    )
    path.chmod(0o755)
    return path


def environment(program: Path) -> dict[str, str]:
    return os.environ | {"BEAM_BOOT": str(program), "TEST_FOLDER": str(program.parent)}


def wait_for(path: Path) -> str:
    for _ in range(200):
        if path.exists() and path.read_text():
            return path.read_text().strip()
        time.sleep(0.05)
    pytest.fail(f"{path} was not written")


def test_it_ends_with_the_engine_that_asked_for_it(tmp_path: Path, program: Path) -> None:
    engine = subprocess.Popen(
        ["sh", "-c", f"{COMMAND} --id=1-1 --logging_endpoint=x & echo $! > pid; wait"],
        cwd=tmp_path,
        env=environment(program),
    )
    worker, boot = int(wait_for(tmp_path / "worker")), int(wait_for(tmp_path / "pid"))
    assert (tmp_path / "arguments").read_text().split() == ["--id=1-1", "--logging_endpoint=x"]
    assert Path(wait_for(tmp_path / "python")).parent == Path(sys.executable).parent
    folder = Path(wait_for(tmp_path / "cwd"))
    assert (folder / "pipeline_options.json").exists()
    assert folder != tmp_path  # workers on one machine must not overwrite each other's files
    engine.kill()
    engine.wait()
    wait_for_end([worker, boot], 25)
    assert not folder.exists()


def test_a_kill_of_both_ends_the_worker_too(tmp_path: Path, program: Path) -> None:
    """A cluster manager may kill the process group of an engine, which includes the program that starts workers."""
    boot = subprocess.Popen([COMMAND], cwd=tmp_path, env=environment(program))
    worker = int(wait_for(tmp_path / "worker"))
    boot.kill()
    boot.wait()
    wait_for_end([worker])


def test_it_passes_a_signal_on(tmp_path: Path, program: Path) -> None:
    boot = subprocess.Popen([COMMAND], cwd=tmp_path, env=environment(program))
    worker = int(wait_for(tmp_path / "worker"))
    boot.send_signal(signal.SIGTERM)
    assert boot.wait(10) != 0
    wait_for_end([worker])


def test_a_missing_program_of_beam_is_reported(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND], env=os.environ | {"BEAM_BOOT": f"{tmp_path}/none"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (
        2, f"{tmp_path}/none is not an executable file: set BEAM_BOOT to the path of Beam's boot program"
    )  # fmt: skip
