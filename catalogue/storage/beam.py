"""Any other scheme that Beam's file systems know, such as ``hdfs://``. Imported only where one is met."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from catalogue.reasons import Reason, StorageError
from catalogue.storage.paths import scheme
from catalogue.storage.values import UNKNOWN_SIZE, Admit, Content, Listed, too_many_bytes


class BeamStore:
    """See `catalogue.storage.values.Store`. Versions are sizes and times of modification."""

    def read(self, location: str, max_bytes: int, admit: Admit, unless: str | None) -> Content | None:
        """See `Store`."""
        found = self.stat(location) if unless is not None else None
        if found is not None and found.version == unless:
            return None
        admit(min(UNKNOWN_SIZE, max_bytes))
        with self.open(location) as file, _translated_errors(location):
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise too_many_bytes(max_bytes)
        return Content.of(data, found.version if found else None)

    def open(self, location: str) -> BinaryIO:
        """See `Store`."""
        with _translated_errors(location):
            return FileSystems.open(location, compression_type=CompressionTypes.UNCOMPRESSED)

    def stat(self, location: str) -> Listed | None:
        """See `Store`."""
        with _translated_errors(location):
            found = FileSystems.match([location])[0].metadata_list
        return _listed(found[0]) if found else None

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
        """See `Store`. Beam cannot create a file only if it is absent: two at the same time may both think they did."""
        with _translated_errors(location):
            if only_if_absent and FileSystems.exists(location):
                return False
            with FileSystems.create(location, compression_type=CompressionTypes.UNCOMPRESSED) as writer:
                shutil.copyfileobj(file, writer, 1 << 20)
        return True

    def copy(self, source: str, target: str) -> None:
        """See `Store`."""
        with _translated_errors(source):
            FileSystems.copy([source], [target])

    def delete(self, locations: Iterable[str]) -> None:
        """See `Store`."""
        for location in locations:
            with _translated_errors(location):
                if FileSystems.exists(location):
                    FileSystems.delete([location])

    def close(self) -> None:
        """See `Store`: there is nothing to close."""


def _listed(file: object) -> Listed:
    path, size, updated = (getattr(file, name) for name in ("path", "size_in_bytes", "last_updated_in_seconds"))
    return Listed(path, size, f"{size}-{updated}")


@contextlib.contextmanager
def _translated_errors(location: str) -> Iterator[None]:
    """Turns Beam's errors into `StorageError`s."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(Reason.NOT_FOUND, str(error)) from error
    except PermissionError as error:
        raise StorageError(Reason.PERMISSION_DENIED, str(error)) from error
    except (OSError, BeamIOError) as error:
        raise StorageError(Reason.READ_FAILED, str(error)) from error
    except ValueError as error:
        raise StorageError(Reason.NOT_FOUND, f"{scheme(location)}:// is not read here") from error
