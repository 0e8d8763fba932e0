"""Starts a Beam worker on an engine's machine and stops it when the process that requested it ends.

Installed as the command ``catalogue-classifier-boot``, for ``--environment_type=PROCESS``. With Beam's boot program
alone, the workers of a killed engine process keep running for minutes, on work that has been reassigned to other
workers. If this process is killed too, Linux sends SIGTERM to Beam's boot program, which stops its workers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from pipeline.runner import parent_death

BOOT = "/opt/apache/beam/boot"
"""Path of Beam's boot program in Beam's images. The environment variable ``BEAM_BOOT`` overrides it."""
ENGINE_VARIABLE = "CATALOGUE_CLASSIFIER_ENGINE"
"""Environment variable with the PID of the engine's process, for the worker."""
_LOOK_SECONDS = 0.5
_GRACE_SECONDS, _SECONDS_TO_LEAVE = 10.0, 3.0
"""Seconds for a worker to save its results (`pipeline.journal.engine_watch`) without its engine, then to exit."""


def main() -> int:
    """Run Beam's boot program with the arguments of this process. Returns its exit code."""
    named = os.environ.get("BEAM_BOOT", BOOT)
    program = shutil.which(named)
    if not program:
        print(f"{named} is not an executable file: set BEAM_BOOT to the path of Beam's boot program", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="catalogue-classifier-boot-") as folder:
        return _run([os.path.abspath(program), *sys.argv[1:]], folder)


def _run(command: Sequence[str], folder: str) -> int:
    """Run Beam's boot program until it ends or the parent of this process ends.

    Args:
        command: the program and its arguments.
        folder: working directory, not shared with other workers: the program writes the options of its job there.

    Returns:
        The exit code of the program.
    """
    parent = os.getppid()
    # The worker runs with this Python instead of a new virtual environment.
    environment = os.environ | {"RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1", ENGINE_VARIABLE: str(parent)}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{environment.get('PATH', os.defpath)}"
    words = [*parent_death.command(signal.SIGTERM), *command]
    process = subprocess.Popen(words, env=environment, cwd=folder, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: _signal(process, number))
    while process.poll() is None:
        if os.getppid() != parent:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            break
        time.sleep(_LOOK_SECONDS)
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_LEAVE)
    for pid in _session(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _session(leader: int) -> list[int]:
    """Return the PIDs of a session. Beam's boot program starts each process in a new process group of the session."""
    found: list[int] = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            with contextlib.suppress(OSError):
                found += [int(name)] if os.getsid(int(name)) == leader else []
    return found


if __name__ == "__main__":
    sys.exit(main())
