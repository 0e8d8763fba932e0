"""No server can delay a read or a run beyond its limit."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import hosts, stores
from catalogue.storage.deadline import Deadline
from pipeline.reading.budget import Budget
from tests.web_faults import (
    FAULTS,
    MOST_BYTES,
    PICTURE,
    FaultyServer,
    repeats,
    running_faulty_servers,
    sends,
    sends_and_waits,
)

SECONDS, RUN_SECONDS = 3.0, 4


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    stores.forget()
    yield
    stores.forget()


def read(url: str, seconds: float = SECONDS) -> tuple[Reason | None, float]:
    """Return the reason why a read fails, None if it succeeds, and its duration in seconds."""
    start = time.monotonic()
    try:
        with Deadline(seconds):
            storage.read(f"{url}/a.jpg", MOST_BYTES)
    except StorageError as error:
        return error.reason, time.monotonic() - start
    return None, time.monotonic() - start


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_each_fault_has_its_reason_and_no_read_takes_longer_than_its_limit() -> None:
    assert len(FAULTS) >= 33
    before = open_files()
    with running_faulty_servers() as urls, ThreadPoolExecutor(len(urls)) as pool:
        start = time.monotonic()
        found = dict(zip(urls, pool.map(read, urls.values()), strict=True))
        assert time.monotonic() - start < 2 * SECONDS
        assert {name: reason for name, (reason, _) in found.items()} == {name: FAULTS[name][1] for name in FAULTS}
        assert max(seconds for _, seconds in found.values()) < SECONDS + 1
    stores.forget()
    for _ in range(100):
        if open_files() <= before:
            break
        time.sleep(0.1)
    assert open_files() <= before


def test_what_the_server_sends_the_second_time_is_taken() -> None:
    """Bodies that are cut or reset are requested again; a busy server is asked again after the delay that it names."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PICTURE), PICTURE)
    for name in (
        "a body that is cut",
        "a body that is reset",
        "a connection that is reset",
        "chunks that are cut",
        "busy",
    ):
        answers = iter([FAULTS[name][0], sends(good)])
        server = FaultyServer(lambda connection, answers=answers: next(answers)(connection))
        content = storage.read(f"{server.url}/a.jpg", MOST_BYTES)
        assert content is not None
        assert content.data == PICTURE, name
        server.close()


def test_a_server_is_asked_again_when_it_says_so() -> None:
    times: list[float] = []

    def busy(connection: socket.socket) -> None:
        times.append(time.monotonic())
        sends(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n")(connection)

    server = FaultyServer(busy)
    reason, seconds = read(server.url, 5)
    assert reason is Reason.READ_FAILED
    assert seconds < 5
    assert len(times) == 3  # 5 s are not enough for a fourth request
    assert all(2 <= after - before < 3 for before, after in itertools.pairwise(times))
    server.close()


def test_a_host_that_keeps_timing_out_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "SKIPPED_SECONDS", 1.5)
    silent, other = FaultyServer(sends_and_waits()), FaultyServer(FAULTS["nothing"][0])
    with ThreadPoolExecutor(40) as pool:
        start = time.monotonic()
        found = list(pool.map(lambda number: read(silent.url, 1), range(40)))
        assert time.monotonic() - start < 2.5  # not ten times 1 s
        assert {reason for reason, _ in found} == {Reason.READ_FAILED}
    with pytest.raises(StorageError, match=f"{silent.url} keeps timing out: skipped for another") as error:
        storage.read(f"{silent.url}/a.jpg", MOST_BYTES)
    assert error.value.reason.transient
    assert read(other.url)[0] is None
    time.sleep(1.5)
    assert read(silent.url, 0.5)[1] >= 0.5, "the host is asked again"
    assert read(silent.url, 0.5)[1] < 0.3, "the host is skipped again"
    silent.close()
    other.close()


def test_reads_that_are_tried_again_hold_nothing_that_others_wait_for() -> None:
    """Every response is cut, and all images together exceed the memory budget. A retry waits for memory again."""
    server = FaultyServer(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 250\r\n\r\n12345"))
    budget = Budget(1000)

    def read_one(number: int) -> Reason | None:
        held = 0

        def admit(size: int) -> None:
            nonlocal held
            budget.give(held)
            held = size
            if size:
                with deadline.paused():
                    budget.take(size)

        try:
            with Deadline(20) as deadline:
                storage.read(f"{server.url}/{number}.jpg", MOST_BYTES, admit=admit)
        except StorageError as error:
            return error.reason
        finally:
            budget.give(held)
        return None

    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(read_one, range(24), timeout=60)) == {Reason.READ_FAILED}
    assert budget._taken == 0
    server.close()


def test_a_host_is_not_blamed_for_the_time_that_another_took() -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(0.95)
        sends(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s/\r\n\r\n" % waiting.url.encode())(connection)

    waiting, slow_server = FaultyServer(sends_and_waits()), FaultyServer(slow)
    for _ in range(6):
        assert read(slow_server.url, 1.2)[0] is Reason.READ_FAILED
    reason, seconds = read(waiting.url, 0.5)
    assert reason is Reason.READ_FAILED
    assert seconds >= 0.5, "the host is asked"
    for server in (waiting, slow_server):
        server.close()


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    server = FaultyServer(repeats(b"\x16\x03\x03\x7f\xff", b"\x02"))
    reason, seconds = read(server.url.replace("http:", "https:"), 1)
    assert reason is Reason.READ_FAILED
    assert seconds < 2
    server.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def photos(drawn: Path) -> Iterator[list[str]]:
    """The URLs of some photos on a server without faults."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(drawn)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}/{file.relative_to(drawn)}" for file in sorted(drawn.rglob("*.jpg"))]
    server.shutdown()
    server.server_close()


def test_servers_with_faults_cost_their_own_images_only(
    photos: list[str],
    tiny_model: Path,
    tmp_path: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
    read_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    with running_faulty_servers() as servers:
        faulty = {f"{url}/{name.replace(' ', '_')}.jpg": name for name, url in servers.items()}
        (tmp_path / "list.txt").write_text("\n".join([*photos[:10], *faulty, *photos[10:]]))
        start = time.monotonic()
        done = command("pipeline", "classify", "--input", tmp_path / "list.txt", "--model-dir", tiny_model, "--output",
                       tmp_path / "run", "--read-timeout", RUN_SECONDS, "--max-failure-rate", 1)  # fmt: skip
        seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert sorted(row["uri"] for row in read_rows(tmp_path / "run")) == sorted(photos)
    letters = {row["uri"]: row for row in read_rows(tmp_path / "run", "dead_letters")}
    assert letters.keys() == faulty.keys()
    for uri, letter in letters.items():
        reason = FAULTS[faulty[uri]][1]
        # Bytes that are not a picture are only detected when they are decoded.
        assert letter["reason"] == (reason.code if reason else "empty" if "nothing" in uri else "unknown_format"), uri
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert counts["inputs"] == counts["predictions"] + sum(counts["dead_letters"].values()) == len(photos) + len(faulty)
    assert seconds < 2 * RUN_SECONDS + 40, "40 s are for the start"
