"""Masks credentials in URIs, so that they do not appear in messages, logs, reports and records."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

# A user name without a password is a token in web URLs, but a container in Azure URIs.
_USER = re.compile(
    r"((?:\bhttps?:|(?<![\w:/]))//)[^/?#\s]*@|([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*:[^/?#\s]*@", re.IGNORECASE
)
# Query parameters of signed Amazon, Google and Azure URLs, and common names of tokens.
_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]*(?:signature|token|secret|password|passwd|credential|apikey|accesskeyid|hmac|jwt)"
    r"|(?:[\w.-]*[_.-])?(?:sig|key|auth))=)[^&;\s#'\"<>]+",
    re.IGNORECASE,
)

_SECRET_FLAG = re.compile(
    r"--[\w-]*(?:secret|password|passwd|token|credential|access_key|api_key)[\w-]*", re.IGNORECASE
)


def masked(text: str) -> str:
    """Mask credentials of the URIs in a text: user, password, and signatures and tokens in queries."""
    if "@" in text:
        text = _USER.sub(lambda found: f"{found[1] or found[2]}***@", text)
    return _PARAMETER.sub(r"\1***", text) if "=" in text else text


def masked_command(words: Sequence[str]) -> list[str]:
    """Mask the values of secret flags in the words of a command, and the credentials in URIs."""
    shown: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, _ = word.partition("=")
        if _SECRET_FLAG.fullmatch(before):
            shown.append("***")
        else:
            shown.append(f"{flag}=***" if equals and _SECRET_FLAG.fullmatch(flag) else masked(word))
    return shown


def masked_key(uri: str) -> str:
    """Mask a URI and, if that changes it, append a hash that keeps it distinct from other masked URIs."""
    shown = masked(uri)
    return uri if shown == uri else f"{shown}#{hashlib.sha256(uri.encode()).hexdigest()[:32]}"


def masked_within(value: Any) -> Any:
    """Mask the credentials in all strings of a JSON value."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked(name): masked_within(inner) for name, inner in value.items()}
    return [masked_within(inner) for inner in value] if isinstance(value, (list, tuple)) else value
