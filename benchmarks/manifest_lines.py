"""Measure the speed and memory of reading manifests, with a list of each kind that has 10 million lines.

Each list is read by the first step of `classify`, on Beam's local runner with all cores, once with a tenth of the lines
and once with all lines. Each read has its own process, whose peak memory is measured, without that of its workers.
Needs 5 GB of disk space.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.commands import finish

LINES = 10_000_000
BLOCK = 100_000


def rows(count: int) -> Iterator[list[tuple[str, str, float, str]]]:
    """Yield typical rows of a shop's catalogue in blocks: URI, number, price, name."""
    for start in range(0, count, BLOCK):
        yield [
            (f"gs://shop/photos/{n % 1000:03}/{n:09}.jpg", f"{n:08}", n % 9973 / 100, f"Garment no. {n % 77}, blue")
            for n in range(start, min(start + BLOCK, count))
        ]


def as_text(row: tuple[str, str, float, str]) -> str:
    """Return only the URI of a row."""
    return row[0]


def as_csv(row: tuple[str, str, float, str]) -> str:
    """Format a row as CSV without quotes."""
    return f"{row[0]},{row[1]},{row[2]},{row[3].replace(',', '')}"


def as_quoted_csv(row: tuple[str, str, float, str]) -> str:
    """Format a row as CSV with a quoted cell, which makes it harder to find the places where the file can be split."""
    return f'{row[0]},{row[1]},{row[2]},"{row[3]}"'


def as_json(row: tuple[str, str, float, str]) -> str:
    """Format a row as a JSON object."""
    return json.dumps(dict(zip(("uri", "sku", "price", "name"), row, strict=True)))


HEADER = "uri,sku,price,name"
KINDS: dict[str, tuple[str, str, Callable[..., str] | None]] = {
    "text": ("list.txt", "", as_text),
    "CSV": ("list.csv", HEADER, as_csv),
    "CSV with quotes": ("quoted.csv", HEADER, as_quoted_csv),
    "CSV, gzipped": ("list.csv.gz", HEADER, as_csv),
    "JSON Lines": ("list.jsonl", "", as_json),
    "Parquet": ("list.parquet", "", None),
}


def write(path: Path, header: str, line: Callable[..., str] | None, count: int) -> None:
    """Write a list of `count` rows."""
    if line is None:
        schema = pa.schema([("uri", pa.string()), ("sku", pa.string()), ("price", pa.float64()), ("name", pa.string())])
        with pq.ParquetWriter(path, schema) as writer:
            for block in rows(count):
                writer.write_table(pa.table(dict(zip(schema.names, zip(*block, strict=True), strict=True)), schema))
        return
    with gzip.open(path, "wt", compresslevel=1) if path.suffix == ".gz" else path.open("w") as file:
        if header:
            file.write(f"{header}\n")
        for block in rows(count):
            file.writelines(f"{line(row)}\n" for row in block)


def read(path: str) -> None:
    """Read a list as `classify` does, and print the number of rows, the seconds and the peak memory."""
    import apache_beam as beam

    from pipeline.config import Manifest
    from pipeline.manifest.reading import ReadManifest
    from pipeline.metering.meter import MeterHandle
    from pipeline.runner.runners import beam_options, runner_for

    counted: list[str] = []
    start = time.monotonic()
    options = beam_options([])
    with tempfile.TemporaryDirectory() as folder, beam.Pipeline(runner_for(options), options) as pipeline:
        found, _, _ = pipeline | ReadManifest(Manifest((path,)), MeterHandle(folder))
        count = found.results | beam.combiners.Count.Globally() | beam.Map(str)
        _ = count | beam.io.WriteToText(f"{folder}/count", shard_name_template="")
        pipeline.run().wait_until_finish()
        counted = Path(folder, "count").read_text().split()
    seconds = time.monotonic() - start
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"rows": int(counted[0]), "seconds": seconds, "peak_mb": peak}))


def measured(path: Path) -> dict[str, float]:
    """Run `read` in a separate process and return its output."""
    words = [sys.executable, "-m", "benchmarks.manifest_lines", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the benchmark and print one JSON line."""
    result: dict[str, dict[str, float]] = {}
    for kind, (name, header, line) in KINDS.items():
        found = {}
        for count in (LINES // 10, LINES):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder, name), header, line, count)
                found[count] = measured(Path(folder, name))
            assert found[count]["rows"] == count
        few, all_ = found.values()
        result[kind] = {
            "lines_per_second": round(LINES / all_["seconds"]),
            "peak_mb": all_["peak_mb"],
            "peak_ratio": all_["peak_mb"] / few["peak_mb"],
        }
        print(kind, result[kind], file=sys.stderr)
    wanted = {f"{kind}: constant peak memory": own["peak_ratio"] <= 1.1 for kind, own in result.items()}
    finish({"lines": LINES, "kinds": result}, wanted)


if __name__ == "__main__":
    read(sys.argv[1]) if len(sys.argv) > 1 else main()
