"""Worker process of the local runner, ``python -m pipeline.runner.worker``. It ends with its parent command."""

from __future__ import annotations

import os
import signal
import sys
import threading


def main() -> None:
    """Run Beam's SDK harness for the job in its environment variables."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # sent to the whole process group; the command stops its workers itself
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()

    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def _end_with_parent() -> None:
    """Wait for the end of standard input, save the open chunks and exit the process.

    The command closes the pipe if the run fails. The system closes it if the command is killed.
    """
    while os.read(0, 1):
        pass
    try:
        chunks = sys.modules.get("pipeline.journal.open_chunks")  # without this module no chunk is open
        if chunks:
            chunks.save_all()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
