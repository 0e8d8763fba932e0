"""The closed list of reasons for which an image is refused, and the base of the errors that carry one."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why an image could not be classified: its code in files, whether a later run may succeed, a sentence."""

    NOT_FOUND = ("not_found", False, "There is no such file or object, or its scheme is not one that is read here.")
    PERMISSION_DENIED = (
        "permission_denied",
        False,
        "Reading is not allowed: by its storage, by --allow-uri, or because of its address.",
    )
    READ_FAILED = ("read_failed", True, "Reading failed; it may succeed in a later run.")
    EMPTY = ("empty", False, "The file has no bytes.")
    TOO_MANY_BYTES = ("too_many_bytes", False, "The file, or what is packed in it, is larger than the limit.")
    UNKNOWN_FORMAT = ("unknown_format", False, "The content is in no image format that is read here.")
    UNSUPPORTED = ("unsupported", False, "The format is known, and this kind of it is not read here.")
    TRUNCATED = ("truncated", False, "The file ends before its picture does.")
    CORRUPT = ("corrupt", False, "The file is damaged and gives no picture.")
    TOO_MANY_PIXELS = ("too_many_pixels", False, "The picture has more pixels than the limit.")
    TOO_SMALL = ("too_small", False, "The picture is too small to show anything.")
    BAD_MANIFEST_ROW = ("bad_manifest_row", False, "The line of the manifest names no image.")

    def __init__(self, code: str, transient: bool, sentence: str) -> None:
        self.code = code
        self.transient = transient
        self.sentence = sentence


class DataError(Exception):
    """An image or a file that cannot be used.

    Attributes:
        reason: the kind of problem.
        message: what is wrong with this very one.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)  # both, so that the error survives pickling
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason.code}: {self.message}"


class ImageError(DataError):
    """The bytes of an image file do not give a picture."""


class StorageError(DataError):
    """A storage does not give, or does not take, the bytes."""
