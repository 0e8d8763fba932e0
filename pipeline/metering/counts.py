"""What the workers of a run have counted so far, from the files that they write while they work.

An engine may start a job again. Its workers go on counting, and those that are gone have left their files. So what has
been counted when the job begins is noted, and does not count any more.
"""

from __future__ import annotations

import collections
import contextlib
import json
import uuid
from collections.abc import Iterator

from catalogue import storage
from catalogue.reasons import StorageError

PREFIX = "progress-"
_BEGIN_PREFIX = "begin-"
Counts = collections.Counter[str]


def note_begin(folder: str) -> None:
    """Notes that the job of a run begins, for the first time or again.

    Args:
        folder: of the run's unfinished files.
    """
    with contextlib.suppress(StorageError):  # progress is not worth a run
        before = _total(_files(folder, PREFIX), strictly=False)
        storage.write_text(f"{folder}/{_BEGIN_PREFIX}{uuid.uuid4().hex}.json", json.dumps(before))


def counted(folder: str, *, strictly: bool = False) -> Counts:
    """The sum of the workers' counts since the job has begun, the last time.

    Args:
        folder: of the run's unfinished files.
        strictly: whether a file that cannot be read is an error; else it is left out, as while files are removed.

    Raises:
        StorageError, ValueError: a file cannot be read, and `strictly` is set.
    """
    try:
        total = _total(_files(folder, PREFIX), strictly=strictly)
        begins = [_total([file], strictly=strictly) for file in _files(folder, _BEGIN_PREFIX)]
    except StorageError:
        if strictly:
            raise
        return Counts()
    return total - max(begins, key=lambda counts: counts.total(), default=Counts())


def _total(files: Iterator[str] | list[str], *, strictly: bool) -> Counts:
    total = Counts()
    for file in files:
        try:
            total.update(json.loads(storage.read_text(file)))
        except (StorageError, ValueError):
            if strictly:
                raise
    return total


def _files(folder: str, prefix: str) -> Iterator[str]:
    for file in storage.list_files(folder):
        name = file.location.rpartition("/")[2]
        if name.startswith(prefix) and name.endswith(".json"):
            yield file.location
