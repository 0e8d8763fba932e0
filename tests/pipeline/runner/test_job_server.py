from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.runners.runner import create_runner

from pipeline.runner import runners
from pipeline.runner.job_server import own_job_server
from tests.processes import children, wait_for_end


def test_the_job_server_of_a_command_ends_with_it(tmp_path: Path) -> None:
    """A command that is killed cannot stop Java, so a launcher asks Linux to do so. Here, Java is a fake."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 300\n")
    java.chmod(0o755)
    body = f"""
import subprocess, sys, time
from pathlib import Path
from pipeline.runner.job_server import launcher
folder = Path({str(tmp_path)!r}) / "with a space"
folder.mkdir()
subprocess.Popen([launcher(folder), "-jar", "x"])
print("ready", flush=True)
time.sleep(300)
"""
    command = subprocess.Popen(
        [sys.executable, "-c", body],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
    )
    assert command.stdout
    command.stdout.readline()
    while not (tmp_path / "pid").exists():
        assert command.poll() is None
    own = children(command.pid)
    command.kill()
    command.communicate()
    wait_for_end(own)


def test_a_job_server_that_was_started_here_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    class Server:
        def stop(self) -> None:
            stopped.append(self)

    runner = create_runner("FlinkRunner")
    monkeypatch.setattr(runner, "default_job_server", lambda options: Server())
    with own_job_server(runner, runners.beam_options(["--runner=FlinkRunner"])):
        server = runner.default_job_server(None)
    assert stopped == [server]
