from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.journal.chunk_files import read_results
from pipeline.runner.boot import ENGINE_VARIABLE

WORKER = """
import sys, time
from catalogue.images.spec import Limits
from pipeline.journal import engine_watch
from pipeline.journal.chunk_files import Settings
from pipeline.journal.open_chunks import OpenChunk
from pipeline.records import FinishedImage, ListedImage, Result
for _ in range(2):
    engine_watch.start()
chunk = OpenChunk(sys.argv[1], Settings("model", 3, 5, Limits()))
listed = ListedImage("/1", (("1", {}),))
chunk.write(FinishedImage(listed, Result("/1", top=(("hat", 0.5),))))
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("is_reaped", [True, False])
def test_what_has_been_found_is_saved_when_the_engine_is_killed(tmp_path: Path, is_reaped: bool) -> None:
    engine = subprocess.Popen(["sleep", "60"])
    environment = {"PATH": "/bin", ENGINE_VARIABLE: str(engine.pid)}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, tmp_path / "chunks"], stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        assert worker.stdout
        assert worker.stdout.readline() == "written\n"
        time.sleep(1)
        assert not list(tmp_path.glob("chunks/chunk-*"))
        engine.kill()
        if is_reaped:
            engine.wait()
        end = time.monotonic() + 5
        while not list(tmp_path.glob("chunks/chunk-*")) and time.monotonic() < end:
            time.sleep(0.05)
        (path,) = tmp_path.glob("chunks/chunk-*")
        assert [result.location for result in read_results(str(path))[1]] == ["/1"]
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.communicate()
        engine.wait()
