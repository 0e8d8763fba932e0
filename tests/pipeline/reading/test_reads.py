from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import deadline
from pipeline.config import ReadConfig
from pipeline.metering.meter import MeterHandle
from pipeline.reading import reads
from pipeline.reading.budget import Budget
from pipeline.reading.read_ahead import _ReadAheadFn
from pipeline.reading.threads import Threads
from pipeline.records import FinishedImage, ListedImage

CONFIG = ReadConfig()


def entries(count: int, form: str) -> list[ListedImage]:
    return [ListedImage(form.format(n), ((form.format(n), {"n": n}),)) for n in range(count)]


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Budget:
    own = Budget(1000)
    monkeypatch.setattr(reads, "_budget", lambda: own)
    return own


def run(listed: list[ListedImage], folder: Path, config: ReadConfig = CONFIG) -> list[Any]:
    """Read the entries of a bundle, without Beam."""
    fn = _ReadAheadFn(config, MeterHandle(str(folder)))
    fn.setup()
    fn.start_bundle()
    found = [value for entry in listed for value in fn.process(entry)]
    found += [getattr(value, "value", value) for value in fn.finish_bundle()]
    return [getattr(value, "value", value) for value in found]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 500])
def test_each_file_is_read_once(count: int, tmp_path: Path, budget: Budget) -> None:
    for n in range(count):
        (tmp_path / f"{n}").write_bytes(f"photo {n}".encode())
    found = run(entries(count, f"{tmp_path}/{{}}"), tmp_path)
    expected = {f"{tmp_path}/{n}": f"photo {n}".encode() for n in range(count)}
    assert {one.listed.location: one.data for one in found} == expected
    assert len(found) == count
    assert budget._taken == 0


@pytest.mark.parametrize("count", [15, 16, 40])
def test_remote_reads_begin_in_groups(
    count: int, tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reads of an incomplete group begin at the end of the bundle, so that none is omitted."""
    begun: list[str] = []

    def read(location: str, max_bytes: int, **_: Any) -> storage.Content:
        begun.append(location)
        return storage.Content.of(location.encode(), None)

    monkeypatch.setattr(storage, "read", read)
    own = reads.Reads(CONFIG)
    for image in entries(count, "gs://shop/{}"):
        own.begin(image)
    whole = count - count % reads._GROUP
    found = []
    while len(found) < whole:
        found += own.next()
    assert len(begun) == whole
    own.begin_all()
    while own.under_way:
        found += own.next()
    assert sorted(begun) == sorted(f"gs://shop/{n}" for n in range(count))
    assert {one.listed.location for one in found} == set(begun)  # type: ignore[union-attr]


@pytest.mark.parametrize("scheme", ["gs", "https"])
def test_remote_reads_overlap(scheme: str, tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def change(by: int) -> None:
        nonlocal now, most
        with lock:
            now += by
            most = max(most, now)

    def slow(location: str, max_bytes: int, *, admit: Callable[[int], None], **_: Any) -> storage.Content:
        change(1)
        time.sleep(0.02)
        change(-1)
        return storage.Content.of(b"x", None)

    monkeypatch.setattr(storage, "read", slow)
    assert len(run(entries(200, f"{scheme}://shop/{{}}.jpg"), tmp_path)) == 200
    assert 30 < most <= reads.READS + 1


@pytest.mark.parametrize("form", ["gs://shop/{}.jpg", "/shop/{}.jpg"])
@pytest.mark.parametrize("announces", [True, False])
def test_what_is_held_is_bounded_in_bytes(
    form: str, announces: bool, tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several bundles run concurrently. Three photos fit in the budget, and some photos exceed it alone."""
    most, lock = 0, threading.Lock()

    def number_of(location: str) -> int:
        return int("".join(filter(str.isdigit, location)))

    def size_of(location: str) -> int:
        return 5000 if number_of(location) % 50 == 7 else 300

    def admitted(location: str) -> storage.Content:
        nonlocal most
        size = size_of(location)
        if announces and size < 1000:
            with lock:
                most = max(most, budget._taken if budget._taken < 5000 else 0)
        if number_of(location) % 9 == 0:
            raise StorageError(Reason.READ_FAILED, "gone")
        return storage.Content.of(bytes(size), None)

    def read(location: str, max_bytes: int, *, admit: Callable[[int], None], **_: Any) -> storage.Content:
        admit(size_of(location) if announces else 400)
        return admitted(location)

    monkeypatch.setattr(storage, "read", read)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.extend(run(entries(150, form), tmp_path)), daemon=True) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(found) == 600
    assert sum(isinstance(one, FinishedImage) for one in found) == 4 * 17
    assert budget._taken == 0
    assert not announces or 300 < most <= 1000


@pytest.mark.parametrize("scheme", ["gs", "https"])
def test_a_fault_of_the_program_fails_the_bundle_and_gives_everything_back(
    scheme: str, tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(location: str, max_bytes: int, *, admit: Callable[[int], None], **_: Any) -> storage.Content:
        admit(10)
        time.sleep(0.005)
        if location.endswith("/5.jpg"):
            raise RuntimeError("a fault of the program")
        return storage.Content.of(b"x" * 10, None)

    monkeypatch.setattr(storage, "read", read)
    fn = _ReadAheadFn(CONFIG, MeterHandle(str(tmp_path)))
    fn.setup()
    fn.start_bundle()

    def all_of_it() -> None:
        for entry in entries(300, f"{scheme}://shop/{{}}.jpg"):
            list(fn.process(entry))
        list(fn.finish_bundle())

    with pytest.raises(RuntimeError, match="a fault of the program"):
        all_of_it()
    fn.teardown()
    for _ in range(200):
        if not budget._taken:
            break
        time.sleep(0.01)
    assert budget._taken == 0


@pytest.mark.parametrize(("form", "stuck"), [("/shop/{}.jpg", (0, 7, 20)), ("gs://shop/{}.jpg", range(90))])
def test_a_read_that_never_ends_is_given_up_and_holds_nobody_up(
    form: str, stuck: Sequence[int], tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeouts do not work on a stalled network file system. There may be more stuck reads than threads."""
    monkeypatch.setattr(deadline, "GRACE_SECONDS", 0.2)
    come_back, names = threading.Event(), {form.format(n) for n in stuck}

    def read(location: str, max_bytes: int, *, admit: Callable[[int], None], **_: Any) -> storage.Content:
        admit(10)
        if location in names:
            come_back.wait()
            admit(20)
        return storage.Content.of(b"x" * 10, None)

    monkeypatch.setattr(storage, "read", read)
    monkeypatch.setattr(budget, "_size", 10_000)
    run([], tmp_path)
    threads = threading.active_count()
    found = run(entries(120, form), tmp_path, ReadConfig(timeout=0.5))
    assert {one.listed.location for one in found if isinstance(one, FinishedImage)} == names
    letters = [letter for one in found if isinstance(one, FinishedImage) for letter in one.dead_letters()]
    assert {(letter.reason, letter.transient, letter.message) for letter in letters} == {
        ("read_failed", True, "not read within 0.5 s")
    }
    assert sorted(one.listed.location for one in found) == sorted(form.format(n) for n in range(120))
    assert budget._taken == 0
    come_back.set()
    for _ in range(200):
        if threading.active_count() <= threads + 1:
            break
        time.sleep(0.01)
    assert budget._taken == 0
    assert threading.active_count() <= threads + 1, "threads that were replaced end; the thread of the deadlines stays"
    assert len(run(entries(120, "/other/{}.jpg"), tmp_path)) == 120


def test_a_disk_that_is_dead_costs_few_threads_and_little_time(
    tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "GRACE_SECONDS", 0.2)
    come_back = threading.Event()

    def read(location: str, max_bytes: int, **_: Any) -> storage.Content:
        come_back.wait()
        return storage.Content.of(b"x", None)

    monkeypatch.setattr(storage, "read", read)
    own = Threads(reads.READS, "read")
    monkeypatch.setattr(reads, "_threads", lambda: own)
    start = time.monotonic()
    found = run(entries(2000, "/dead/{}.jpg"), tmp_path, ReadConfig(timeout=0.5))
    assert time.monotonic() - start < 20  # 0.7 s for each file would be 23 minutes
    assert len(found) == 2000
    letters = [letter for one in found if isinstance(one, FinishedImage) for letter in one.dead_letters()]
    assert {letter.reason for letter in letters} == {"read_failed"}
    assert all(letter.transient for letter in letters)
    assert sum("file reads are hanging" in letter.message for letter in letters) > 1500
    assert own.stuck < 200
    come_back.set()
    for _ in range(500):
        if not own.stuck:
            break
        time.sleep(0.01)
    assert own.stuck == 0
    assert all(hasattr(one, "data") for one in run(entries(50, "/dead/{}.jpg"), tmp_path)), "the disk is read again"


@pytest.mark.parametrize(
    ("cores", "gibibytes", "mebibytes"), [(2, 24, 512), (1, 1, 128), (64, 64, 128), (64, 16, 64), (8, 1024, 512)]
)
def test_the_budgets_of_all_processes_together_are_an_eighth_of_memory_where_that_will_do(
    cores: int, gibibytes: int, mebibytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "cores", lambda: cores)
    monkeypatch.setattr(reads, "memory", lambda: gibibytes * 2**30)
    own = reads._budget.__wrapped__()
    assert own.try_take(mebibytes * 2**20)
    assert not own.try_take(1)
