"""Every storage operation on object stores on loopback, while requests fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from catalogue import storage
from catalogue.reasons import Reason, StorageError
from catalogue.storage import amazon, object_reads, stores
from tests.conftest import ObjectStore
from tests.proxies import FaultyProxy

PICTURE = b"\xff\xd8picture" * 100_000
MAX = 1 << 20


@pytest.fixture
def faulty(
    object_store_behind_faults: tuple[ObjectStore, FaultyProxy], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, FaultyProxy]:
    """A folder, and the proxy that its requests pass through; clients time out within a second."""
    backoff = {"init_backoff": timedelta(seconds=0.05), "max_backoff": timedelta(seconds=0.2), "base": 2}
    monkeypatch.setattr(
        object_reads, "RETRY", {"max_retries": 10, "retry_timeout": timedelta(seconds=1), "backoff": backoff}
    )
    monkeypatch.setitem(object_reads.CLIENT_OPTIONS, "read_timeout", timedelta(seconds=0.5))
    monkeypatch.setitem(object_reads.CLIENT_OPTIONS, "timeout", timedelta(seconds=0.8))
    monkeypatch.setattr(amazon, "_CONFIG", amazon._CONFIG.merge(amazon.Config(read_timeout=0.5)))
    stores.forget()
    store, proxy = object_store_behind_faults
    return store.root, proxy


def fail(proxy: FaultyProxy, fault: str, method: str, word: str, times: int) -> None:
    """Make the next `times` requests that have this method and `word` in their path fail."""
    proxy.injected.clear()

    def choose(asked: str, path: str) -> str | None:
        return fault if asked == method and word in path and len(proxy.injected) < times else None

    proxy.choose = choose


@pytest.mark.parametrize("fault", ["503", "429", "reset", "hang", "cut", "lost"])
def test_a_read_that_fails_once_succeeds(faulty: tuple[str, FaultyProxy], fault: str) -> None:
    root, proxy = faulty
    storage.write_bytes(f"{root}/a.jpg", PICTURE)
    fail(proxy, fault, "GET", "a.jpg", times=1)
    content = storage.read(f"{root}/a.jpg", MAX)
    assert content is not None
    assert content.data == PICTURE
    assert proxy.injected == [fault]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("503", Reason.READ_FAILED),
        ("hang", Reason.READ_FAILED),
        ("cut", Reason.READ_FAILED),
        ("denied", Reason.PERMISSION_DENIED),
        ("expired", Reason.PERMISSION_DENIED),
    ],
)
def test_a_read_that_always_fails_has_its_reason(faulty: tuple[str, FaultyProxy], fault: str, reason: Reason) -> None:
    root, proxy = faulty
    storage.write_bytes(f"{root}/a.jpg", PICTURE)
    fail(proxy, fault, "GET", "a.jpg", times=1000)
    start = time.monotonic()
    with pytest.raises(StorageError) as error:
        storage.read(f"{root}/a.jpg", MAX)
    assert error.value.reason is reason, error.value
    assert time.monotonic() - start < 6
    assert proxy.injected


UNUSED = {("gs", "PUT"), ("s3", "DELETE"), ("az", "DELETE")}  # methods that these clients do not use


@pytest.mark.parametrize("fault", ["503"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
def test_other_requests_that_fail_once_succeed(faulty: tuple[str, FaultyProxy], method: str, fault: str) -> None:
    root, proxy = faulty
    fail(proxy, fault, method, "", times=1)
    storage.write_bytes(f"{root}/a/1", b"one")
    assert storage.create(f"{root}/a/2", b"two")
    storage.copy(f"{root}/a/1", f"{root}/a/3")
    assert sorted(file.location for file in storage.list_files(root)) == [f"{root}/a/{n}" for n in (1, 2, 3)]
    assert storage.folders(root) == ["a"]
    assert storage.is_file(f"{root}/a/1")
    assert storage.read_bytes(f"{root}/a/2") == b"two"
    storage.remove(root)
    assert not storage.exists(root)
    assert proxy.injected == ([] if (root[:2], method) in UNUSED else [fault])


def test_a_file_whose_creation_was_not_acknowledged_is_ones_own(faulty: tuple[str, FaultyProxy]) -> None:
    root, proxy = faulty
    fail(proxy, "lost", "POST" if root.startswith("gs:") else "PUT", "lock", times=1)
    if root.startswith("gs:"):
        proxy.choose = lambda method, path: (
            "lost" if method == "POST" and "/upload/" in path and not proxy.injected else None
        )
    assert storage.create(f"{root}/lock", b"mine")
    assert proxy.injected == ["lost"]
    assert not storage.create(f"{root}/lock", b"another's")
    assert storage.create(f"{root}/lock", b"mine")


def test_a_creation_beside_another_is_tried_again(
    open_faulty_store: Callable[[str], tuple[ObjectStore, FaultyProxy]],
) -> None:
    """S3 responds with 409 while another conditional write is in progress, which may still fail."""
    (root, _), proxy = open_faulty_store("s3")
    fail(proxy, "409", "PUT", "lock", times=2)
    assert storage.create(f"{root}/lock", b"mine")
    assert proxy.injected == ["409"] * 2
    fail(proxy, "409", "PUT", "another", times=1000)
    with pytest.raises(StorageError, match="ConditionalRequestConflict") as error:
        storage.create(f"{root}/another", b"mine")
    assert error.value.reason is Reason.READ_FAILED
    stores.forget()


def test_a_response_that_has_waited_for_room_is_requested_again(
    faulty: tuple[str, FaultyProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response timeout is 0.8 s here and a minute in production; waiting for memory may take longer."""
    root, _ = faulty
    monkeypatch.setattr("catalogue.storage.values.STALE_SECONDS", 0.3)
    for key in ("a.jpg",) if root.startswith("az:") else ("a.jpg", "a//b.jpg"):  # Azure clients cannot name a//b.jpg
        storage.write_bytes(f"{root}/{key}", PICTURE)
        admitted: list[int] = []

        def admit(size: int, admitted: list[int] = admitted) -> None:
            admitted.append(size)
            time.sleep(1.2)

        content = storage.read(f"{root}/{key}", MAX, admit=admit)
        assert content is not None
        assert content.data == PICTURE
        assert admitted == [len(PICTURE)]
