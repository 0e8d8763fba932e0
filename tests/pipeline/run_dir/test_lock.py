from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue.cli.errors import UserError
from pipeline.errors import JobGoesOnError
from pipeline.run_dir import lock
from pipeline.run_dir.lock import Holder, check_holder, held, read_holder, release_left

STARTED = "2026-11-25T00:00:00.000+00:00"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Holder], Holder]:
    def write(holder: Holder) -> Holder:
        (tmp_path / "_lock").write_text(json.dumps(dataclasses.asdict(holder)))
        return holder

    return write


def elsewhere(beat: float) -> Holder:
    """Return a holder that is a process on another machine."""
    return Holder("other", "shop-7", 4711, "boot pid:[1]", STARTED, beat)


def test_a_lock_is_held_by_one_run_and_released(tmp_path: Path) -> None:
    with held(str(tmp_path), "one", STARTED):
        holder = read_holder(str(tmp_path))
        assert holder
        assert (holder.token, holder.pid, holder.started) == ("one", os.getpid(), STARTED)
        check_holder(str(tmp_path), "one")
        with pytest.raises(UserError) as error, held(str(tmp_path), "two", STARTED):
            pytest.fail("the lock was not refused")
        assert f"is in use by process {os.getpid()} on {platform.node()}, started {STARTED}: wait" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_dead_process_on_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from pipeline.run_dir.lock import held
        with held(sys.argv[1], "one", "then"):
            os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 9
    assert (tmp_path / "_lock").exists()
    start = time.monotonic()
    with held(str(tmp_path), "two", STARTED):
        check_holder(str(tmp_path), "two")
        with pytest.raises(UserError, match="has taken over"):
            check_holder(str(tmp_path), "one")
    assert time.monotonic() - start < lock.BEAT_SECONDS / 2
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_machine_is_taken_over_once_its_heartbeat_has_stopped(
    tmp_path: Path, write: Callable[[Holder], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock, "_WATCH_SECONDS", 0.05)
    write(elsewhere(time.time() - 30))
    with (
        pytest.raises(UserError, match="is in use by process 4711 on shop-7"),
        held(str(tmp_path), "two", ""),
    ):
        pytest.fail("the lock was not refused")
    write(elsewhere(time.time() - 61))
    with held(str(tmp_path), "two", STARTED):
        check_holder(str(tmp_path), "two")


def test_a_clock_that_is_wrong_does_not_end_a_run_that_lives(
    tmp_path: Path, write: Callable[[Holder], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.4)
    monkeypatch.setattr(lock, "_WATCH_SECONDS", 0.05)
    late = time.time() - 3600
    write(elsewhere(late))
    threading.Timer(0.3, write, [elsewhere(late + 15)]).start()
    with pytest.raises(UserError, match="is in use by"), held(str(tmp_path), "two", ""):
        pytest.fail("the lock was not refused")


def test_the_heartbeat_lasts_until_another_run_has_the_lock(
    tmp_path: Path, write: Callable[[Holder], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    with held(str(tmp_path), "one", STARTED):
        first = read_holder(str(tmp_path))
        time.sleep(0.3)
        later = read_holder(str(tmp_path))
        assert first
        assert later
        assert later.beat > first.beat
        other = write(elsewhere(0.0))
        time.sleep(0.3)
    assert read_holder(str(tmp_path)) == other  # neither overwritten nor removed


def test_only_one_of_many_runs_takes_over(tmp_path: Path, write: Callable[[Holder], Holder]) -> None:
    write(dataclasses.replace(Holder.here("dead", STARTED), pid=2**22 + 1))
    won: list[int] = []
    done = threading.Barrier(8)

    def take(number: int) -> None:
        try:
            with held(str(tmp_path), f"{number}", STARTED):
                won.append(number)
                done.wait()
        except UserError:
            done.wait()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_damaged_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "_WATCH_SECONDS", 0.05)
    (tmp_path / "_lock").touch()
    with held(str(tmp_path), "one", STARTED):
        check_holder(str(tmp_path), "one")


def test_a_job_that_runs_elsewhere_keeps_its_lock(tmp_path: Path) -> None:
    with pytest.raises(JobGoesOnError), held(str(tmp_path), "one", STARTED):
        raise JobGoesOnError("interrupted", 2)
    check_holder(str(tmp_path), "one")


def test_the_lock_of_a_job_that_goes_on_is_kept_and_can_be_held_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command has exited, so another command asks whether the job of the run is still running."""
    asked = []

    def is_at_work(output: str, token: str) -> bool:
        asked.append((output, token))
        return True

    with pytest.raises(JobGoesOnError), held(str(tmp_path), "one", STARTED):
        raise JobGoesOnError("lost")
    monkeypatch.setattr(lock.Holder, "is_gone", lambda self: False)  # the process is on another machine
    with (
        pytest.raises(UserError, match="is still running elsewhere: follow it with --attach"),
        held(str(tmp_path), "two", STARTED, is_at_work),
    ):
        pytest.fail("the lock was taken over")
    assert asked == [(str(tmp_path), "one")]
    holder = lock.read_holder(str(tmp_path))
    assert holder
    with lock.held_again(str(tmp_path), holder):
        check_holder(str(tmp_path), "one")
    assert lock.read_holder(str(tmp_path)) is None


def test_a_run_is_followed_by_one_command_at_a_time(tmp_path: Path) -> None:
    with held(str(tmp_path), "one", STARTED):
        holder = lock.read_holder(str(tmp_path))
        assert holder
        with (
            pytest.raises(UserError, match=r"is already followed by .*: wait until that command exits"),
            lock.held_again(str(tmp_path), holder),
        ):
            pytest.fail("the lock is held twice")
        check_holder(str(tmp_path), "one")


def test_a_lock_that_a_command_has_left_is_given_back_by_its_job(tmp_path: Path) -> None:
    with held(str(tmp_path), "one", STARTED):
        release_left(str(tmp_path), "one")
        assert read_holder(str(tmp_path))  # the command is alive and releases the lock itself
    with pytest.raises(JobGoesOnError), held(str(tmp_path), "one", STARTED):
        raise JobGoesOnError("interrupted", 2)
    release_left(str(tmp_path), "another")
    assert read_holder(str(tmp_path))
    release_left(str(tmp_path), "one")
    assert read_holder(str(tmp_path)) is None
