"""Job servers that Beam starts in a separate process. They always end with the command."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import JobServerOptions, PipelineOptions

from catalogue.cli.logs import say
from pipeline.runner import parent_death


@contextlib.contextmanager
def own_job_server(runner: Any, options: PipelineOptions) -> Iterator[Any]:
    """Yield a runner whose job server, if it starts one, is stopped at the end of the context.

    Beam alone would stop the job server only when Python exits, after deleting the server's temporary folder, and not
    at all if this process is killed.
    """
    started: list[Any] = []
    default = getattr(runner, "default_job_server", None)
    if default:

        def noted(options: PipelineOptions) -> Any:
            say("starting Beam's job server, which takes several seconds")
            started.append(default(options))
            return started[-1]

        runner.default_job_server = noted
    with tempfile.TemporaryDirectory() as folder:
        java = options.view_as(JobServerOptions)
        if java.job_server_java_launcher == "java":
            java.job_server_java_launcher = launcher(Path(folder))
        try:
            yield runner
        finally:
            for server in started:
                with contextlib.suppress(OSError):
                    server.stop()


def launcher(folder: Path) -> str:
    """Write a script that runs Java, and return its path. Linux kills Java when this process ends."""
    program = folder / "java"
    words = shlex.join([*parent_death.command(signal.SIGKILL), "java"])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o700)
    return os.fspath(program)


@contextlib.contextmanager
def own_interrupts() -> Iterator[None]:
    """Restore the SIGINT handler on exit. Beam's job servers replace it with their own handler, which can deadlock."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
