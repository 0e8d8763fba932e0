"""Files that are written incrementally and become visible only when they are complete."""

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
    """Writable file that becomes visible with `commit`, and leaves nothing behind if it is closed without a commit.

    A local file is written to a temporary file in the same folder. A remote file is buffered in memory, or in a
    temporary file if it is large, and uploaded on commit.

    Args:
        path: local or remote path; missing folders are created.

    Raises:
        StorageError: the file cannot be written. `write` and `commit` may raise this error, too.
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
        """Return True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append bytes."""
        with translated_errors():
            return self._file.write(data)

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._file.tell()

    def commit(self, path: str | None = None) -> None:
        """Publish the file at its path, replacing an existing file, and close it. A local file is then durable.

        Args:
            path: final path, if it is only known now; in the same folder as the original path.
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
        """Close the file; discard it unless it was committed."""
        if not self.closed:
            self._file.close()
            if self._beside:
                with contextlib.suppress(OSError):  # the disk may have failed
                    self._beside.unlink(missing_ok=True)
        super().close()


def _beside(path: str) -> Path:
    target = Path(path)
    with translated_errors():
        target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(temporary_name())
