"""What the workers of a run have counted so far, from the files that they write while they work.

An engine may start a job again. Its workers go on counting, and those that are gone have left their files. So what has
been counted when the job begins is noted, and does not count any more. It may also repeat a part of a job: so the rows
of each part of the inputs are counted by themselves, and those of a part that is listed again count once.
"""

from __future__ import annotations

import collections
import contextlib
import json
import re
import uuid
from collections.abc import Iterator

from catalogue import storage
from catalogue.reasons import StorageError

PREFIX = "progress-"
_BEGIN_PREFIX = "begin-"
_PART = re.compile(r"(listed|wrong) in (.+)")
Counts = collections.Counter[str]


def in_part(name: str, part: str) -> str:
    """The name of a count of ``listed`` or ``wrong`` rows in a part of the inputs."""
    return f"{name} in {part}"


def note_begin(folder: str) -> None:
    """Notes that the job of a run begins, for the first time or again.

    Args:
        folder: of the run's unfinished files.
    """
    with contextlib.suppress(StorageError):  # progress is not worth a run
        before = _total(_files(folder, PREFIX), strictly=False)
        del before["listed"], before["wrong"]  # the rows are the same again
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
    total, parts = Counts(), Counts()
    for file in files:
        try:
            for name, count in json.loads(storage.read_text(file)).items():
                if _PART.fullmatch(name):
                    parts[name] = max(parts[name], count)
                else:
                    total[name] += count
        except (StorageError, ValueError):
            if strictly:
                raise
    for name, count in parts.items():
        total[name.partition(" ")[0]] += count
    return total


def _files(folder: str, prefix: str) -> Iterator[str]:
    for file in storage.list_files(folder):
        name = file.location.rpartition("/")[2]
        if name.startswith(prefix) and name.endswith(".json"):
            yield file.location
