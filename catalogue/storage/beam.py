"""Store for the other schemes of Beam's file systems, such as ``hdfs://``. Imported on first use."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from catalogue.reasons import Reason, StorageError
from catalogue.storage.access import Access
from catalogue.storage.paths import scheme
from catalogue.storage.values import Admit, Content, Listed, admitted_size, whole

_BUFFER_BYTES = 1 << 20


class BeamStore:
    """Store on Beam's file systems. Versions are size and modification time. See `catalogue.storage.values.Store`."""

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None, access: Access) -> Content | None:
        """See `Store`."""
        found = _file_or_folder(location)
        if found is not None and unless is not None and found.version == unless:
            return None
        size = admitted_size(found.size if found else None, max_bytes)
        admit(size)
        with self.open(location) as file:
            data = whole(file, size, max_bytes)
        return Content.of(data, found.version if found else None)

    def open(self, location: str) -> BinaryIO:
        """See `Store`."""
        with _translated_errors(location):
            file = FileSystems.open(location, compression_type=CompressionTypes.UNCOMPRESSED)
        return io.BufferedReader(_File(file, location), _BUFFER_BYTES)

    def stat(self, location: str) -> Listed | None:
        """See `Store`. Beam does not distinguish folders from files: a path with files below it counts as a folder."""
        found = _file_or_folder(location)
        if found is None or next(self.files(location, None), None) is not None:
            return None
        return found

    def files(self, folder: str, pattern: str | None) -> Iterator[Listed]:
        """See `Store`."""
        with _translated_errors(folder):
            found = FileSystems.match([f"{folder.rstrip('/')}/**"])[0].metadata_list
        yield from (_listed(file) for file in found if not file.path.endswith("/"))

    def folders(self, folder: str) -> list[str] | None:
        """See `Store`."""
        start, found = len(folder.rstrip("/")) + 1, [file.location for file in self.files(folder, None)]
        names = sorted({path[start:].partition("/")[0] for path in found if "/" in path[start:]})
        return names if found else None

    def upload(self, location: str, file: BinaryIO, *, only_if_absent: bool) -> bool:
        """See `Store`. Beam has no atomic create-if-absent: two concurrent calls may both return True."""
        with _translated_errors(location):
            if only_if_absent and FileSystems.exists(location):
                return False
            with FileSystems.create(location, compression_type=CompressionTypes.UNCOMPRESSED) as writer:
                shutil.copyfileobj(file, writer, 1 << 20)
        return True

    def copy(self, source: str, target: str) -> None:
        """See `Store`. Copies through this process: Beam's copy needs an existing folder and does not replace files."""
        with self.open(source) as file:
            self.upload(target, file, only_if_absent=False)

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        for location in locations:
            with _translated_errors(location):
                if FileSystems.exists(location):
                    FileSystems.delete([location])

    def close(self) -> None:
        """See `Store`. There is nothing to close."""


class _File(io.RawIOBase):
    """File opened for reading by Beam, with errors translated into `StorageError`s."""

    def __init__(self, file: Any, location: str) -> None:
        self._file, self._location = file, location

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _translated_errors(self._location):
            self._file.seek(offset, whence)
            return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        with _translated_errors(self._location):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _file_or_folder(location: str) -> Listed | None:
    with _translated_errors(location):
        found = FileSystems.match([location])[0].metadata_list
    return _listed(found[0]) if found else None


def _listed(file: object) -> Listed:
    path, size, updated = (getattr(file, name) for name in ("path", "size_in_bytes", "last_updated_in_seconds"))
    return Listed(path, size, f"{size}-{updated}")


@contextlib.contextmanager
def _translated_errors(location: str) -> Iterator[None]:
    """Translate Beam's errors into `StorageError`s."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise StorageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (OSError, BeamIOError) as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:
        raise StorageError(Reason.NOT_FOUND, f"{scheme(location)}:// is not a supported scheme") from error
