"""A worker process of the local runner, ``python -m pipeline.runner.worker``. Ends with the command that started it."""

from __future__ import annotations

import os
import signal
import sys
import threading


def main() -> None:
    """Works for the job that the environment variables of Beam's harness name."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # sent to the whole group; the command ends its workers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()

    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def _end_with_parent() -> None:
    """Waits until nobody holds the other end of standard input any more, then ends this process, whatever it does.

    The command closes it when the run has failed, and the system does when the command has been killed.
    """
    while os.read(0, 1):
        pass
    try:
        chunks = sys.modules.get("pipeline.journal.open_chunks")  # without it none is open
        if chunks:
            chunks.save_all()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
