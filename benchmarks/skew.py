"""Measure whether all workers finish at about the same time even if the catalogue is skewed.

Three catalogues of real photos are classified: one large folder and many folders with one photo each; photos on a web
server that takes a hundred times as long for some of them; photos on two web servers, one of which is slow. The runs
use the local runner, and a Flink cluster with two TaskManagers (if Java is installed, and ``make soak-flink`` has
downloaded Flink).

A worker is finished when it has classified its last photo. The result is the finishing time of the last worker divided
by the mean of all workers, counted from the first photo that any worker has classified. Requires real photos in the
folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.commands import catalogue, finish, scratch, trained
from tests import engines

LARGE, SMALL = 10_000, 500
PHOTOS, SECONDS, SLOW_SECONDS, SLOW_SHARE = 3_000, 0.005, 0.5, 50
MOST = 1.10


def main() -> None:
    """Measure all catalogues on each runner and print one JSON line."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        model = trained(folder, on_few=True)
        photos = catalogue(folder, LARGE + SMALL)
        fast, slow = (stack.enter_context(served(photos, seconds)) for seconds in (SECONDS, SLOW_SECONDS))
        inputs = {
            "one large folder": uneven(folder, photos),
            "slow photos": listed(folder / "photos.txt", photos, fast, slow, "photo"),
            "a slow host": listed(folder / "host.txt", photos, fast, slow, "host"),
        }
        runners: dict[str, list[str]] = {"local": ["--direct_num_workers=2"]}
        if shutil.which("java") and (engines.ENGINES / "flink/.done").exists():
            runners["flink"] = stack.enter_context(engines.flink_cluster(folder / "flink")).flags
        found = {
            f"{name}, {runner}": measured(folder, model, where, flags)
            for runner, flags in runners.items()
            for name, where in inputs.items()
        }
    wanted = {f"{name}: at most {MOST} times the mean": one["last_by_mean"] <= MOST for name, one in found.items()}
    finish({"runs": found}, wanted)


def uneven(folder: Path, photos: Path) -> Path:
    """Create a folder with one large subfolder and many subfolders with one photo each."""
    target = folder / "uneven"
    for number, file in enumerate(sorted(photos.rglob("*.jpg"))):
        place = target / (f"single-{number}" if number >= LARGE else "large") / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(file)
    return target


def listed(path: Path, photos: Path, fast: str, slow: str, what: str) -> Path:
    """Write a list of photos on the web, of which one in fifty is on the slow server.

    Args:
        path: path of the list.
        photos: folder of the photos.
        fast, slow: addresses of the two servers.
        what: ``photo`` to spread the slow photos evenly over the list, ``host`` to put them at its beginning.
    """
    names = [str(file.relative_to(photos)) for file in sorted(photos.rglob("*.jpg"))[:PHOTOS]]
    count = len(names) // SLOW_SHARE
    is_slow = [number % SLOW_SHARE == 0 if what == "photo" else number < count for number in range(len(names))]
    path.write_text("".join(f"{slow if own else fast}/{name}\n" for name, own in zip(names, is_slow, strict=True)))
    return path


def measured(folder: Path, model: Path, where: Path, flags: list[str]) -> dict[str, Any]:
    """Run once. Return the finishing times and image counts of the workers, and the last time divided by the mean."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    words = ["classify", "--input", where, "--model-dir", model, "--output", run, *flags]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    counts, last, first = dict[str, int](), dict[str, float](), None
    while process.poll() is None:
        now = time.monotonic()
        for file in run.glob("_temporary/*/progress-*.json"):
            with contextlib.suppress(OSError, ValueError):
                count = json.loads(file.read_text()).get("classified", 0)
                if count > counts.get(file.name, 0):
                    counts[file.name], last[file.name] = count, now
                    first = first or now
        time.sleep(0.1)
    assert process.returncode == 0
    assert first is not None
    assert len(counts) == 2, "one worker did everything"
    seconds = sorted(one - first for one in last.values())
    return {
        "seconds": seconds,
        "images": sorted(counts.values()),
        "last_by_mean": seconds[-1] / statistics.mean(seconds),
    }


@contextlib.contextmanager
def served(folder: Path, seconds: float) -> Iterator[str]:
    """Serve a folder over HTTP in a separate process, with a delay of `seconds` per response. Yield the address."""
    words = [sys.executable, "-m", "benchmarks.skew", str(folder), str(seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


async def serve(folder: Path, seconds: float) -> None:
    """Serve the files of a folder over HTTP, each after a delay, until the process is stopped."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(seconds)
                data = (folder / head.split(b" ", 2)[1].decode().lstrip("/")).read_bytes()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))
    else:
        main()
