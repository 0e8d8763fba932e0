"""Progress counts of a run, summed over the files that its workers write.

An engine may restart a job. Running workers then keep their counts, and stopped workers leave their files behind. So
the counts at the start of the job are saved and subtracted. An engine may also repeat a part of a job. So the listed
rows are counted per part of the inputs, and a part that is listed again counts once.
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
    """Return the name of the count of ``listed`` or ``wrong`` rows in a part of the inputs."""
    return f"{name} in {part}"


def note_begin(folder: str) -> None:
    """Save the counts at the start or restart of a job.

    Args:
        folder: folder of the run's unfinished files.
    """
    with contextlib.suppress(StorageError):  # missing progress must not fail the run
        before = _total(_files(folder, PREFIX), strictly=False)
        del before["listed"], before["wrong"]  # the same rows are listed again
        storage.write_text(f"{folder}/{_BEGIN_PREFIX}{uuid.uuid4().hex}.json", json.dumps(before))


def counted(folder: str, *, strictly: bool = False) -> Counts:
    """Return the sum of the workers' counts since the last start of the job.

    Args:
        folder: folder of the run's unfinished files.
        strictly: whether an unreadable file is an error; otherwise it is skipped, as it may have just been removed.

    Raises:
        StorageError, ValueError: a file cannot be read and `strictly` is set.
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
