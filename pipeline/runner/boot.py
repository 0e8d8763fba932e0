"""Starts a worker of Beam on the machine of an engine, and ends it with the process that asked for it.

For ``--environment_type=PROCESS``, with the command ``catalogue-classifier-boot``, which comes with this package: an
engine whose process is killed leaves its workers behind, which go on for minutes with work that another one has got.
If this process is killed as well, Linux asks Beam's program to end, which ends its workers.
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
"""Beam's own program, where its images have it. The environment variable ``BEAM_BOOT`` names another one."""
ENGINE_VARIABLE = "CATALOGUE_CLASSIFIER_ENGINE"
"""The environment variable that tells a worker the id of the process of its engine."""
_LOOK_SECONDS = 0.5
_GRACE_SECONDS, _SECONDS_TO_LEAVE = 10.0, 3.0
"""A worker that has lost its engine saves what it has found, see `pipeline.journal.engine_watch`."""


def main() -> int:
    """Runs Beam's program with the arguments of this process. Returns its exit code."""
    named = os.environ.get("BEAM_BOOT", BOOT)
    program = shutil.which(named)
    if not program:
        print(f"there is no {named}: set BEAM_BOOT to Beam's program boot", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="catalogue-classifier-boot-") as folder:
        return _run([os.path.abspath(program), *sys.argv[1:]], folder)


def _run(command: Sequence[str], folder: str) -> int:
    """Runs Beam's program until it has ended, or the process that asked for it.

    Args:
        command: the program and its arguments.
        folder: where it runs. It writes the options of the job there, and another worker those of another job.

    Returns:
        Its exit code.
    """
    parent = os.getppid()
    # The worker is started with this very Python, and not in an environment of its own.
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
    """The processes of a session: those that Beam's program has started are in process groups of their own."""
    found: list[int] = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            with contextlib.suppress(OSError):
                found += [int(name)] if os.getsid(int(name)) == leader else []
    return found


if __name__ == "__main__":
    sys.exit(main())
