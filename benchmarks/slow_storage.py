"""Measure how much slow storage delays ``classify``: images per second from object stores with a latency of 50 ms.

A server on loopback stands in for ``gs://``, ``s3://`` and ``az://``. It holds the photos in memory and answers each
GET after 50 ms, with unlimited concurrency. The runs alternate with runs on the same photos on the local disk; startup
is excluded. The server shares the cores with ``classify``, so the work of the server reduces the measured speed.

Also measures the CPU time that clients need per object with 64 concurrent reads, for `catalogue.storage` and for the
libraries of Google and Amazon. Requires real photos in the folder ``CATALOGUE_CLASSIFIER_SHARED``, see CONTRIBUTING.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import google.auth.credentials
import google.cloud.storage
import numpy as np
from botocore.config import Config

from benchmarks.commands import catalogue, classified, finish, scratch, trained
from catalogue import storage

ROUNDS, PHOTOS, SECONDS, BUCKET = 9, 6_000, 0.05, "shop"
LEAST = 0.92
STORES, THREADS = ("gs", "s3", "az"), 64
_HEADERS = 'Last-Modified: Sun, 22 Nov 2026 12:00:00 GMT\r\nETag: "1"\r\nx-goog-generation: 1\r\n'


class Storage(asyncio.Protocol):
    """One connection to the server, with the subset of HTTP/1.1 that the clients need.

    Args:
        answers: last segment of the path -> complete response.
    """

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            path = urllib.parse.unquote(head.split(b" ", 2)[1].decode().partition("?")[0])
            asyncio.get_running_loop().call_later(SECONDS, self._answer, path.rpartition("/")[2])

    def _answer(self, name: str) -> None:
        self._transport.write(self._answers.get(name, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))


async def serve(port: int, folder: Path) -> None:
    """Serve the photos of a folder until the process is stopped."""
    answers = {}
    for file in folder.rglob("*.jpg"):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {file.stat().st_size}\r\n{_HEADERS}\r\n"
        answers[file.name] = head.encode() + file.read_bytes()
    server = await asyncio.get_running_loop().create_server(lambda: Storage(answers), "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[None]:
    """Run the server in a separate process, and point the storage clients of this process to the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "benchmarks.slow_storage", str(port), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        host = f"http://127.0.0.1:{port}"
        os.environ |= {
            "STORAGE_EMULATOR_HOST": host,
            "AWS_ENDPOINT_URL": host,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AZURE_STORAGE_ENDPOINT": f"{host}/account",
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ACCOUNT_KEY": "a2V5",
        }
        try:
            yield
        finally:
            process.terminate()


def cpu_milliseconds(read: Callable[[str], object], names: Sequence[str]) -> float:
    """Return the CPU time of this process per object in milliseconds, with concurrent reads."""
    read(names[0])  # opens the client
    start = time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(read, names):
            pass
    return 1000 * (time.process_time() - start) / len(names)


def client_cpu(names: Sequence[str]) -> dict[str, float]:
    """Return the CPU time per object of each client: name -> milliseconds."""
    bucket = google.cloud.storage.Client(
        project="none", credentials=google.auth.credentials.AnonymousCredentials()
    ).bucket(BUCKET)
    amazon = boto3.client("s3", config=Config(max_pool_connections=THREADS))
    clients: dict[str, Callable[[str], object]] = {
        f"catalogue.storage {scheme}": functools.partial(_read, scheme) for scheme in STORES
    }
    clients["google-cloud-storage"] = lambda name: bucket.blob(name).download_as_bytes(checksum=None)
    clients["boto3"] = lambda name: amazon.get_object(Bucket=BUCKET, Key=name)["Body"].read()
    found: dict[str, list[float]] = {client: [] for client in clients}
    for _ in range(3):
        for client, read in clients.items():
            found[client].append(cpu_milliseconds(read, names))
    return {client: statistics.median(values) for client, values in found.items()}


def _read(scheme: str, name: str) -> object:
    return storage.read(f"{scheme}://{BUCKET}/{name}", 1 << 26)


def main() -> None:
    """Run the benchmark and print one JSON line."""
    with scratch() as folder:
        model, photos = trained(folder), catalogue(folder, PHOTOS)
        lists = {}
        for name, prefix in {"local": "", **{scheme: f"{scheme}://{BUCKET}/" for scheme in STORES}}.items():
            lists[name] = folder / f"{name}.txt"
            files = sorted(photos.rglob("*.jpg"))
            lists[name].write_text("".join(f"{prefix}{file.name if prefix else file}\n" for file in files))
        found: dict[str, list[float]] = {name: [] for name in lists}
        with served(photos):
            cpu = client_cpu([file.name for file in sorted(photos.rglob("*.jpg"))])
            print(cpu, file=sys.stderr)
            for _ in range(ROUNDS):
                for name, where in lists.items():
                    _, record = classified(where, model, folder)
                    assert record["counts"]["predictions"] == PHOTOS, record["counts"]
                    found[name].append(record["timings"]["images_per_second_from_then_on"])
                    print(name, round(found[name][-1], 1), file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratios = {f"{name}_of_local": statistics.median(np.divide(found[name], found["local"]).tolist()) for name in STORES}
    wanted = {f"{name}: {LEAST} of the local speed": ratio >= LEAST for name, ratio in ratios.items()}
    finish(medians | ratios | {"seconds_to_answer": SECONDS, "client_cpu_milliseconds": cpu}, wanted)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
    else:
        main()
