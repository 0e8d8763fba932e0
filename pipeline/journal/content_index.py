"""Index of the predictions of earlier runs by content hash, for images that were moved or renamed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.journal.chunk_files import Settings
from pipeline.journal.known import files_in, results_of
from pipeline.records import Result

MOST_BYTES = 300_000_000
_HASH_BYTES = 16
_HASH = np.dtype(f"S{_HASH_BYTES}")


class ContentIndex:
    """Index of the predictions of earlier runs by content hash.

    It is loaded at the first lookup, because most nightly runs have no new images. Each result takes 16 bytes for its
    truncated hash, plus 8 bytes for each of its `top_k` label-score pairs.

    Args:
        folders: folders of journal parts.
        settings: settings of the run.
    """

    def __init__(self, folders: Sequence[str], settings: Settings) -> None:
        self._folders, self._settings = tuple(folders), settings
        self._table: _Table | None = None

    def find(self, content_hash: str) -> Result | None:
        """Return a prediction for identical bytes; None if none is known. Not thread-safe."""
        if self._table is None:
            table = _Table(self._settings.top_k)
            table.read(self._folders, self._settings)
            self._table = table
        return self._table.find(content_hash)


class _Table:
    """Predictions in arrays, sorted by hash."""

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k
        self._labels: dict[str, int] = {}
        self._hashes = np.empty(0, _HASH)
        self._tops, self._scores = np.empty((0, top_k), np.int32), np.empty((0, top_k), np.float32)

    def read(self, folders: Iterable[str], settings: Settings) -> None:
        """Load the parts of journals. The index stays empty if they exceed `MOST_BYTES`."""
        columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        count = 0
        for path in (path for folder in folders for path in files_in(folder)):
            columns.append(self._columns([one for one in results_of(path, settings) if one.top and one.content_hash]))
            count += len(columns[-1][0])
            if count * (_HASH_BYTES + 8 * self._top_k) > MOST_BYTES:
                log = logging.getLogger(__name__)
                log.warning(
                    "at least %d earlier results do not fit into memory: moved images are classified again", count
                )
                return
        if count:
            hashes, tops, scores = (np.concatenate(parts) for parts in zip(*columns, strict=True))
            order = np.argsort(hashes)
            self._hashes, self._tops, self._scores = hashes[order], tops[order], scores[order]

    def _columns(self, results: Sequence[Result]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the hashes, label indices (-1 for none) and scores of results."""
        hashes = np.array([_short(str(result.content_hash)) for result in results], _HASH)
        tops = np.full((len(results), self._top_k), -1, np.int32)
        scores = np.zeros((len(results), self._top_k), np.float32)
        for row, result in enumerate(results):
            for rank, (label, score) in enumerate(result.top):
                tops[row, rank] = self._labels.setdefault(label, len(self._labels))
                scores[row, rank] = score
        return hashes, tops, scores

    def find(self, content_hash: str) -> Result | None:
        short = np.array(_short(content_hash), _HASH)
        row = int(np.searchsorted(self._hashes, short))
        if row == len(self._hashes) or self._hashes[row] != short:
            return None
        labels = list(self._labels)
        pairs = zip(self._tops[row].tolist(), self._scores[row].tolist(), strict=True)
        return Result("", None, content_hash, tuple((labels[number], score) for number, score in pairs if number >= 0))


def _short(content_hash: str) -> bytes:
    try:
        return bytes.fromhex(content_hash)[:_HASH_BYTES]
    except ValueError:  # not hexadecimal: matches nothing
        return b""
