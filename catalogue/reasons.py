"""The closed list of reasons for rejecting an image, and the base class of errors that carry a reason."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Reason why an image failed: code in output files, whether the failure is transient, and a sentence for users."""

    NOT_FOUND = ("not_found", False, "The file or object does not exist, or its URI scheme is not supported.")
    PERMISSION_DENIED = (
        "permission_denied",
        False,
        "Access is denied: by the storage, by --allow-uri, or because of the network address.",
    )
    READ_FAILED = ("read_failed", True, "Reading failed; a later run may succeed.")
    EMPTY = ("empty", False, "The file is empty.")
    TOO_MANY_BYTES = ("too_many_bytes", False, "The file, or its decompressed content, is larger than the limit.")
    UNKNOWN_FORMAT = ("unknown_format", False, "The content is not in a supported image format.")
    UNSUPPORTED = ("unsupported", False, "The image format is supported, but this variant of it is not.")
    TRUNCATED = ("truncated", False, "The file is truncated: the image data is incomplete.")
    CORRUPT = ("corrupt", False, "The file is damaged and cannot be decoded.")
    TOO_MANY_PIXELS = ("too_many_pixels", False, "The image has more pixels than the limit.")
    TOO_SMALL = ("too_small", False, "The image is too small to classify.")
    BAD_MANIFEST_ROW = ("bad_manifest_row", False, "The manifest row does not name an image.")

    def __init__(self, code: str, transient: bool, sentence: str) -> None:
        self.code = code
        self.transient = transient
        self.sentence = sentence


class DataError(Exception):
    """An image or a file cannot be used.

    Attributes:
        reason: kind of problem.
        message: details of the problem.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)  # both arguments, so that the error can be pickled
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason.code}: {self.message}"


class ImageError(DataError):
    """An image file is empty, damaged, not supported or outside the limits."""


class StorageError(DataError):
    """A storage operation failed or is not permitted."""
