"""The lock of a run directory: one run at a time, with a heartbeat, and a run that has lost it cannot commit.

The lock is a file that is created only if it is absent. The process that started the run rewrites it every 15 s. After
a minute without that, or at once if the process is known to be gone, another run takes it over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.reasons import Reason, StorageError
from pipeline.errors import JobGoesOnError
from pipeline.run_dir.layout import LOCK_FILE

BEAT_SECONDS, STALE_SECONDS = 15.0, 60.0
_WATCH_SECONDS = 2.0
_LEFT = 0.0  # the beat of a holder that has ended while its job goes on


@dataclasses.dataclass(frozen=True)
class Holder:
    """The run that holds a lock.

    Attributes:
        token: of the run.
        host: where the process that started it is.
        pid: of that process.
        namespace: identifies the boot and the PID namespace of that process; a PID means nothing outside it.
        started: when, ISO 8601, UTC.
        beat: seconds since 1970 of the last sign of life, by the clock of the host.
    """

    token: str
    host: str
    pid: int
    namespace: str
    started: str
    beat: float

    @classmethod
    def here(cls, token: str, started: str) -> Holder:
        """This process."""
        return cls(token, platform.node(), os.getpid(), _namespace(), started, time.time())

    def is_gone(self) -> bool:
        """Whether the process is known to have ended. False for one of another machine or container."""
        if not self.namespace or self.namespace != _namespace():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.started}"


def _namespace() -> str:
    """Identifies the boot of this machine and the PID namespace of this process; empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@contextlib.contextmanager
def held(
    output: str, token: str, started: str, is_at_work: Callable[[str, str], bool] = lambda output, token: False
) -> Iterator[None]:
    """Holds the lock of a run directory. It stays if the job of the run goes on elsewhere.

    Args:
        output: the run directory.
        token: of the run.
        started: when it did, ISO 8601.
        is_at_work: whether the job of another run, given its output and token, goes on although its command has ended.

    Raises:
        UserError: another run holds it, or it cannot be written.
    """
    own = Holder.here(token, started)
    try:
        _acquire(output, own, is_at_work)
    except (StorageError, ValueError) as error:
        raise UserError(f"--output {output} cannot be written: {error}") from error
    with _beating(output, own):
        yield


@contextlib.contextmanager
def held_again(output: str, holder: Holder) -> Iterator[None]:
    """Holds the lock of a run whose command has ended, while its job goes on, in the name of that run.

    Args:
        output: the run directory.
        holder: what `read_holder` says.

    Raises:
        UserError: its command, or another one that follows the job, is still there.
    """
    own = Holder.here(holder.token, holder.started)
    try:
        if not _is_stale(output, holder):
            raise UserError(f"{output} is followed by {holder} already")
        _take_over(output, holder, own)
    except StorageError as error:
        raise UserError(f"{output} cannot be written: {error}") from error
    with _beating(output, own):
        yield


@contextlib.contextmanager
def _beating(output: str, own: Holder) -> Iterator[None]:
    """Keeps a lock alive, and gives it back at the end, unless a job goes on that needs it."""
    stop, goes_on = threading.Event(), False
    thread = threading.Thread(target=_beat, args=(output, own, stop), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    except JobGoesOnError:
        goes_on = True
        raise
    finally:
        stop.set()
        thread.join()
        if goes_on:
            _leave(output, own)
        else:
            release(output, own.token)


def _leave(output: str, own: Holder) -> None:
    """Says that this command has ended and left a job that goes on."""
    with contextlib.suppress(StorageError):
        holder = read_holder(output)
        if holder is not None and holder.token == own.token:
            left = dataclasses.replace(own, beat=_LEFT)
            storage.write_text(f"{output}/{LOCK_FILE}", json.dumps(dataclasses.asdict(left)))


def check_holder(output: str, token: str) -> None:
    """Refuses a run that does not hold the lock any more.

    Raises:
        UserError: another run has taken it over.
        StorageError: the lock cannot be read.
    """
    holder = read_holder(output)
    if holder is None or holder.token != token:
        by = f"{holder} has" if holder else "another run has"
        raise UserError(f"{by} taken over {output} in the meantime: the rows of this run are not kept")


@contextlib.contextmanager
def exclusive(output: str) -> Iterator[None]:
    """Lets one commit at a time into a local run directory, also if its process has lost the lock and comes back.

    The operating system holds this lock, so it ends with the process. On object stores it has no effect.
    """
    if storage.is_remote(output):
        yield
        return
    descriptor = os.open(output, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_holder(output: str) -> Holder | None:
    """The run that holds the lock of a run directory; None if there is no lock. Raises StorageError."""
    try:
        content: dict[str, Any] = json.loads(storage.read_text(f"{output}/{LOCK_FILE}"))
        holder = Holder(**content)
        return dataclasses.replace(holder, token=_checked(holder.token), pid=int(holder.pid), beat=float(holder.beat))
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:
            return None
        raise
    except (ValueError, TypeError):  # damaged, as after a power failure: nobody can hold it
        return Holder("", "an unknown host", 0, "", "at an unknown time", 0.0)


def _checked(token: str) -> str:
    """A token, which becomes part of a path. Raises ValueError."""
    if not re.fullmatch(r"\w+", token):
        raise ValueError(token)
    return token


def _acquire(output: str, own: Holder, is_at_work: Callable[[str, str], bool]) -> None:
    if storage.create(f"{output}/{LOCK_FILE}", json.dumps(dataclasses.asdict(own)).encode()):
        return
    holder = read_holder(output)
    if holder is None:
        raise UserError(f"another run in {output} has just ended: try again")
    if not _is_stale(output, holder):
        raise UserError(
            f"{output} is in use by {holder}: wait for it, or choose another --output; "
            f"it is taken over {STALE_SECONDS:.0f} s after its last sign of life"
        )
    if is_at_work(output, holder.token):
        raise UserError(
            f"the job of {holder} goes on elsewhere: follow it with --attach {output}, end it with --attach {output} "
            "--cancel"
        )
    _take_over(output, holder, own)


def _take_over(output: str, holder: Holder, own: Holder) -> None:
    """Puts one holder in the place of another. Of several commands that want to, one succeeds. Raises UserError."""
    content = json.dumps(dataclasses.asdict(own))
    claim = f"{output}/{LOCK_FILE}-{holder.token or 'damaged'}"
    if not storage.create(claim, content.encode()):
        raise UserError(f"another command is taking over {output}: try again in a minute, or delete {claim}")
    try:
        if read_holder(output) != holder:
            raise UserError(f"another command has taken over {output}: wait for it, or choose another --output")
        storage.write_text(f"{output}/{LOCK_FILE}", content)
    finally:
        storage.remove(claim)


def _is_stale(output: str, holder: Holder) -> bool:
    """Whether a run has ended without releasing its lock. The clock of its host may be wrong: a beat is waited for."""
    if holder.beat == _LEFT or holder.is_gone():
        return True
    if abs(time.time() - holder.beat) < STALE_SECONDS:
        return False
    deadline = time.monotonic() + 3 * BEAT_SECONDS
    while time.monotonic() < deadline:
        if read_holder(output) != holder:
            return False
        time.sleep(_WATCH_SECONDS)
    return True


def _beat(output: str, own: Holder, stop: threading.Event) -> None:
    """Rewrites the lock until it is released or another run has it."""
    while not stop.wait(BEAT_SECONDS):
        try:
            holder = read_holder(output)
            if holder is None or holder.token != own.token:
                logging.getLogger(__name__).error("%s has been taken over by %s", output, holder)
                return
            beating = dataclasses.replace(own, beat=time.time())
            storage.write_text(f"{output}/{LOCK_FILE}", json.dumps(dataclasses.asdict(beating)))
        except (StorageError, OSError, ValueError):  # the next one may succeed
            logging.getLogger(__name__).warning("no heartbeat in %s", output, exc_info=True)


def release(output: str, token: str) -> None:
    """Gives back the lock of a run, if it has it still."""
    with contextlib.suppress(StorageError):
        holder = read_holder(output)
        if holder is not None and holder.token == token:
            storage.remove(f"{output}/{LOCK_FILE}")


def release_left(output: str, token: str) -> None:
    """Gives back the lock of a run whose command has left its job, and which nobody else would give back."""
    with contextlib.suppress(StorageError):
        holder = read_holder(output)
        if holder is not None and holder.token == token and holder.beat == _LEFT:
            storage.remove(f"{output}/{LOCK_FILE}")
