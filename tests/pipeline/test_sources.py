from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import sources

LIMITS = Limits()


def reason_of(location: str, limits: Limits = LIMITS) -> Reason:
    with pytest.raises(ImageError) as error:
        sources.read_bytes(location, limits)
    return error.value.reason


def test_reads_a_file_whole_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.gz", "c [1]*.bz2"):  # Beam would unpack by name, and take brackets for a pattern
        (tmp_path / name).write_bytes(b"\x1f\x8bdata")
        assert sources.read_bytes(str(tmp_path / name), LIMITS) == b"\x1f\x8bdata"


def test_each_failure_has_its_reason(tmp_path: Path) -> None:
    assert reason_of(str(tmp_path / "none.jpg")) is Reason.NOT_FOUND
    assert reason_of(str(tmp_path)) is Reason.NOT_FOUND
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(str(tmp_path / "pipe.jpg")) is Reason.NOT_FOUND  # reading it would wait for ever
    assert reason_of("carrier-pigeon://loft/a.jpg") is Reason.NOT_FOUND
    assert reason_of("/nul\0byte.jpg") is Reason.NOT_FOUND
    (tmp_path / "large.jpg").write_bytes(b"x" * 101)
    assert reason_of(str(tmp_path / "large.jpg"), Limits(max_bytes=100)) is Reason.TOO_MANY_BYTES
    assert len(sources.read_bytes(str(tmp_path / "large.jpg"), Limits(max_bytes=101))) == 101


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_must_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").chmod(0)
    assert reason_of(str(tmp_path / "secret.jpg")) is Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(13, "no"), Reason.PERMISSION_DENIED), (OSError(5, "input/output error"), Reason.READ_FAILED)],
)
def test_errors_of_the_file_system(monkeypatch: pytest.MonkeyPatch, error: OSError, reason: Reason) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sources, "open", fail, raising=False)
    assert reason_of(__file__) is reason
    monkeypatch.setattr(sources.FileSystems, "open", fail)
    assert reason_of("hdfs://shop/a.jpg") is reason


def test_a_file_that_grows_meanwhile_is_read_to_the_limit_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 10)

    def grow(size: int) -> None:
        assert size == 10
        path.write_bytes(b"x" * 1000)

    assert len(sources.read_bytes(str(path), LIMITS, grow)) == 1000
    path.write_bytes(b"x" * 10)
    with pytest.raises(ImageError) as error:
        sources.read_bytes(str(path), Limits(max_bytes=100), grow)
    assert error.value.reason is Reason.TOO_MANY_BYTES
