"""Files that are written piece by piece, and are there, whole, once they are committed."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from catalogue.storage.local import sync_file, sync_folder, translated_errors
from catalogue.storage.paths import is_remote, temporary_name
from catalogue.storage.stores import store_of

_IN_MEMORY = 16 << 20


class NewFile(io.BufferedIOBase):
    """A file to write. `commit` makes it visible; closed without that, nothing is left of it.

    In a local folder it is written beside its place; for an object store it is collected in memory, or in a temporary
    file if it is large, and uploaded at once.

    Args:
        path: local or remote; folders are made as needed.

    Raises:
        StorageError: it cannot be written; from every method.
    """

    def __init__(self, path: str) -> None:
        self._path, self._beside = path, None if is_remote(path) else _beside(path)
        with translated_errors():
            self._file: Any = self._beside.open("xb") if self._beside else tempfile.SpooledTemporaryFile(_IN_MEMORY)

    def __exit__(self, kind: object, *exception: object) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.close()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Appends bytes."""
        with translated_errors():
            return self._file.write(data)

    def tell(self) -> int:
        """How many bytes have been written."""
        return self._file.tell()

    def commit(self, path: str | None = None) -> None:
        """Puts the file in its place, where it replaces another one, and closes it. It is durable then.

        Args:
            path: its place, if that is only known now; in the same folder as the path before.
        """
        self._path = path or self._path
        with translated_errors():
            if self._beside:
                sync_file(self._file)
                self._file.close()
                os.replace(self._beside, self._path)
                sync_folder(self._beside.parent)
            else:
                self._file.seek(0)
                store_of(self._path).upload(self._path, self._file, only_if_absent=False)
        self._beside = None
        self.close()

    def close(self) -> None:
        """Closes the file; without `commit` before, it is gone."""
        if not self.closed:
            self._file.close()
            if self._beside:
                with contextlib.suppress(OSError):  # it may be the disk that failed
                    self._beside.unlink(missing_ok=True)
        super().close()


def _beside(path: str) -> Path:
    target = Path(path)
    with translated_errors():
        target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(temporary_name())
