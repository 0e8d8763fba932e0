"""Measure the cost of the ``classify`` graph alone, and how much its memory grows with the catalogue.

Stand-ins replace reading, decoding and the network (`benchmarks.stand_ins`). Everything else is unchanged: a CSV with
two other columns, the grouping, the journal, the part files and the commit. The runs have 200,000 and 2,000,000 rows,
on the local runner and on an embedded Flink with worker processes (if Java is installed, and ``make test-flink`` has
downloaded Flink).

Measures the CPU time per row of all processes together, relative to a worker's time for a real photo in the same run of
the benchmark, and the peak memory of each kind of process. Java is given a heap of 1 GB and eventually fills it.
Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import catalogue, classified, finish, scratch, trained
from tests import engines
from tests.processes import children

FEW, MANY, PHOTOS = 200_000, 2_000_000, 4_000
MOST_SHARE, MOST_JAVA_BYTES = 0.05, 1.3e9
MOST_BYTES_PER_ROW = {"local": 20, "flink": 100}
OURS = ("command", "worker")
_HEAP = "-Xmx1g"
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure each runner and print one JSON line."""
    with scratch() as folder:
        model = trained(folder, on_few=True)
        runners: dict[str, list[str]] = {"local": ["--direct_num_workers=2"]}
        if shutil.which("java") and (engines.ENGINES / "flink/.done").exists():
            runners["flink"] = [*engines.embedded("flink", folder), *engines.processes(), "--parallelism=2"]
        _, record = classified(catalogue(folder, PHOTOS), model, folder)
        real = sum(record["timings"]["worker_seconds"].values()) / PHOTOS
        runs = {
            runner: {str(count): measured(folder, model, count, flags) for count in (FEW, MANY)}
            for runner, flags in runners.items()
        }
    wanted: dict[str, bool] = {}
    for runner, (few, many) in ((name, own.values()) for name, own in runs.items()):
        many["share_of_a_worker"] = many["seconds_per_row"] / real
        wanted[f"{runner}: at most {MOST_SHARE:.0%} of a worker"] = many["share_of_a_worker"] <= MOST_SHARE
        growth = {role: (many["peak_bytes"][role] - few["peak_bytes"][role]) / (MANY - FEW) for role in OURS}
        many["bytes_per_row"] = growth
        most = MOST_BYTES_PER_ROW[runner]
        wanted |= {f"{runner}, {role}: at most {most} bytes a row": growth[role] <= most for role in OURS}
        wanted[f"{runner}: memory of Java within its limit"] = many["peak_bytes"].get("engine", 0) <= MOST_JAVA_BYTES
    finish({"worker_seconds_per_photo": real, "runs": runs}, wanted)


def measured(folder: Path, model: Path, count: int, flags: list[str]) -> dict[str, Any]:
    """Run once. Return the seconds, the CPU seconds per row, and the peak memory of each kind of process."""
    run, manifest = folder / "run", folder / f"{count}.csv"
    shutil.rmtree(run, ignore_errors=True)
    if not manifest.exists():
        with manifest.open("w") as file:
            file.write("uri,article,price\n")
            file.writelines(f"/catalogue/{n // 1000:04}/{n:07}.jpg,A-{n},{n % 997 / 4}\n" for n in range(count))
    words = ["classify", "--input", manifest, "--model-dir", model, "--output", run, *flags]
    start, seen = time.monotonic(), dict[int, Usage]()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.graph", *map(str, words)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"JAVA_TOOL_OPTIONS": _HEAP, "PYTHONPATH": os.getcwd()},
    )
    while process.poll() is None:
        for pid in descendants(process.pid):
            with contextlib.suppress(OSError, IndexError):
                seen[pid] = Usage(pid, "command" if pid == process.pid else "")
        time.sleep(0.5)
    seconds = time.monotonic() - start
    assert process.returncode == 0
    record = json.loads((run / "run.json").read_text())
    assert record["counts"]["predictions"] == count
    total = sum(own.seconds for own in seen.values())
    peaks = {
        role: max(own.peak for own in seen.values() if own.role == role) for role in {u.role for u in seen.values()}
    }
    print(f"{count:,} {flags[:2]}: {seconds:.0f} s, {total:.0f} s of CPU time, {peaks}", file=sys.stderr)
    return {
        "seconds": seconds,
        "seconds_per_row": total / count,
        "peak_bytes": peaks,
        "run_directory_bytes": sum(file.stat().st_size for file in run.rglob("*") if file.is_file()),
    }


class Usage:
    """Resources that a process has used so far.

    Args:
        pid: id of the process.
        role: role of the process; empty to infer the role from the name of its program.

    Raises:
        OSError, IndexError: the process has ended.
    """

    def __init__(self, pid: int, role: str) -> None:
        where = Path(f"/proc/{pid}")
        fields = (where / "stat").read_text().rpartition(")")[2].split()
        name = (where / "comm").read_text().strip()
        self.seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        self.peak = int((where / "status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
        self.role = role or ("engine" if name == "java" else "worker" if name.startswith("python") else "other")


def descendants(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    return [pid, *(inner for child in children(pid) for inner in descendants(child))]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from benchmarks import stand_ins
        from pipeline.__main__ import main as classify

        stand_ins.install()
        sys.exit(classify(sys.argv[1:]))
    main()
