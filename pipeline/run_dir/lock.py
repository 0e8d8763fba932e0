"""Lock of a run directory, with a heartbeat. Only one run works there at a time, and only the lock's holder can commit.

The lock is a file that is created only if absent. The process that started the run rewrites the file every 15 s.
Another run takes the lock over if the last heartbeat is a minute old and none follows within another 45 s, or
immediately if that process is known to be gone.
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
_LEFT = 0.0  # heartbeat of a holder that exited while its job goes on


@dataclasses.dataclass(frozen=True)
class Holder:
    """The run that holds a lock.

    Attributes:
        token: token of the run.
        host: machine of the process that started the run.
        pid: PID of that process.
        namespace: identifier of the boot and PID namespace of that process; the PID is meaningless outside it.
        started: start time of the run, ISO 8601, UTC.
        beat: time of the last heartbeat by the clock of the host, in seconds since 1970.
    """

    token: str
    host: str
    pid: int
    namespace: str
    started: str
    beat: float

    @classmethod
    def here(cls, token: str, started: str) -> Holder:
        """Return a holder for this process."""
        return cls(token, platform.node(), os.getpid(), _namespace(), started, time.time())

    def is_gone(self) -> bool:
        """Return whether the process is known to have exited. Always False for other machines and containers."""
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
    """Return an identifier of the boot of this machine and the PID namespace of this process; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@contextlib.contextmanager
def held(
    output: str, token: str, started: str, is_at_work: Callable[[str, str], bool] = lambda output, token: False
) -> Iterator[None]:
    """Hold the lock of a run directory. The lock is kept if the job of the run goes on elsewhere.

    Args:
        output: run directory.
        token: token of the run.
        started: start time of the run, ISO 8601.
        is_at_work: callback that returns whether the job of another run, given its output and token, is still running
            although its command has exited.

    Raises:
        UserError: another run holds the lock, or the lock cannot be written.
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
    """Hold the lock on behalf of a run whose command has exited while its job goes on.

    Args:
        output: run directory.
        holder: current holder, from `read_holder`.

    Raises:
        UserError: the command of the run, or another one that follows its job, is still running, or the lock cannot be
            written.
    """
    own = Holder.here(holder.token, holder.started)
    try:
        if not _is_stale(output, holder):
            raise UserError(f"{output} is already followed by {holder}: wait until that command exits")
        _take_over(output, holder, own)
    except StorageError as error:
        raise UserError(f"{output} cannot be written: {error}") from error
    with _beating(output, own):
        yield


@contextlib.contextmanager
def _beating(output: str, own: Holder) -> Iterator[None]:
    """Keep a lock alive, and release it at the end unless the job goes on and needs it."""
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
    """Record that this command has exited while its job goes on."""
    with contextlib.suppress(StorageError):
        holder = read_holder(output)
        if holder is not None and holder.token == own.token:
            left = dataclasses.replace(own, beat=_LEFT)
            storage.write_text(f"{output}/{LOCK_FILE}", json.dumps(dataclasses.asdict(left)))


def check_holder(output: str, token: str) -> None:
    """Check that a run still holds the lock.

    Raises:
        UserError: another run has taken over the lock.
        StorageError: the lock cannot be read.
    """
    holder = read_holder(output)
    if holder is None or holder.token != token:
        by = f"{holder} has" if holder else "another run has"
        raise UserError(f"{by} taken over {output}: the rows of this run are discarded")


@contextlib.contextmanager
def exclusive(output: str) -> Iterator[None]:
    """Allow one commit at a time to a local run directory, even by a stalled process that has lost its lock.

    This is a lock of the operating system, released when the process exits. It has no effect on object stores.
    """
    if storage.is_remote(output):
        yield
        return
    descriptor = os.open(output, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_holder(output: str) -> Holder | None:
    """Return the holder of the lock of a run directory; None if it is not locked. Raises StorageError."""
    try:
        content: dict[str, Any] = json.loads(storage.read_text(f"{output}/{LOCK_FILE}"))
        holder = Holder(**content)
        return dataclasses.replace(holder, token=_checked(holder.token), pid=int(holder.pid), beat=float(holder.beat))
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:
            return None
        raise
    except (ValueError, TypeError):  # damaged, for example by a power failure: treat it as stale
        return Holder("", "an unknown host", 0, "", "at an unknown time", 0.0)


def _checked(token: str) -> str:
    """Return a token if it is safe to use in a path. Raises ValueError."""
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
            f"a new run can take over {STALE_SECONDS:.0f} s after its last heartbeat"
        )
    if is_at_work(output, holder.token):
        raise UserError(
            f"the job of {holder} is still running elsewhere: follow it with --attach {output}, or end it with "
            f"--attach {output} --cancel"
        )
    _take_over(output, holder, own)


def _take_over(output: str, holder: Holder, own: Holder) -> None:
    """Replace the holder of a lock. Of several commands that try, only one succeeds. Raises UserError."""
    content = json.dumps(dataclasses.asdict(own))
    claim = f"{output}/{LOCK_FILE}-{holder.token or 'damaged'}"
    if not storage.create(claim, content.encode()):
        raise UserError(
            f"another command is taking over {output}: try again in a minute; if this persists, that command was "
            f"killed: delete {claim}"
        )
    try:
        if read_holder(output) != holder:
            raise UserError(f"another command has taken over {output}: wait for it, or choose another --output")
        storage.write_text(f"{output}/{LOCK_FILE}", content)
    finally:
        storage.remove(claim)


def _is_stale(output: str, holder: Holder) -> bool:
    """Return whether a run exited without releasing its lock. Waits for a heartbeat, as host clocks may be wrong."""
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
    """Rewrite the lock until it is released or taken over."""
    while not stop.wait(BEAT_SECONDS):
        try:
            holder = read_holder(output)
            if holder is None or holder.token != own.token:
                by = holder or "another command, or its lock was deleted"
                logging.getLogger(__name__).error("%s has been taken over by %s", output, by)
                return
            beating = dataclasses.replace(own, beat=time.time())
            storage.write_text(f"{output}/{LOCK_FILE}", json.dumps(dataclasses.asdict(beating)))
        except (StorageError, OSError, ValueError):  # the next heartbeat may succeed
            logging.getLogger(__name__).warning("the heartbeat in %s failed", output, exc_info=True)


def release(output: str, token: str) -> None:
    """Release the lock of a run directory if the run still holds it."""
    with contextlib.suppress(StorageError):
        holder = read_holder(output)
        if holder is not None and holder.token == token:
            storage.remove(f"{output}/{LOCK_FILE}")


def release_left(output: str, token: str) -> None:
    """Release the lock of a run whose command exited before its job did."""
    with contextlib.suppress(StorageError):
        holder = read_holder(output)
        if holder is not None and holder.token == token and holder.beat == _LEFT:
            storage.remove(f"{output}/{LOCK_FILE}")
