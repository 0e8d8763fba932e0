"""Signatures of model directories, in the format of OpenSSF Model Signing. Needs the extra ``signing``.

The signature is the file ``model.sig`` in the directory, and covers every other file in the directory. Keys are
elliptic-curve keys in PEM files, for example from these commands::

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub

Source: https://github.com/sigstore/model-transparency
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from catalogue.cli.errors import UserError
from catalogue.cli.text import one_line
from catalogue.model_dir.info import SIGNATURE_FILE, ModelDirError

_KEY_ERRORS = (OSError, ValueError, TypeError, AttributeError)
_DIFFERENCES = {
    r"Hash mismatch for \\*'(.*?)\\*':": "changed since signing",
    r"Extra files found in model \\*'.*?\\*': (.*?)(?:[\"'][,\]]|$)": "added since signing",
    r"Missing files in model \\*'.*?\\*': (.*?)(?:[\"'][,\]]|$)": "missing",
}


def check_installed() -> None:
    """Raise UserError if the extra ``signing`` is not installed."""
    _library()


def check_public_key(key: str, path: str) -> None:
    """Raise UserError if a public key cannot be used, or the extra ``signing`` is not installed.

    Args:
        key: content of a PEM file.
        path: path of the file, for the error message.
    """
    try:
        _verifier(key)
    except _KEY_ERRORS as error:
        message = f"--require-signature {path} is not an elliptic-curve public key: {_why(error)}"
        raise UserError(message) from error


def sign(folder: Path, private_key: str) -> None:
    """Sign a model directory, writing ``model.sig``.

    Args:
        folder: local model directory.
        private_key: path of a private key without a password.

    Raises:
        UserError: the key cannot be used, the signature cannot be written, or the extra ``signing`` is not installed.
    """
    hashing, signing, _ = _library()
    config = signing.Config().set_hashing_config(_hashing(hashing, folder))
    try:
        config.use_elliptic_key_signer(private_key=Path(private_key)).sign(folder, folder / SIGNATURE_FILE)
    except _KEY_ERRORS as error:
        message = f"cannot sign with --key {private_key}, which must be an elliptic-curve private key: {_why(error)}"
        raise UserError(message) from error


def verify(folder: Path, public_key: str, name: str) -> None:
    """Verify the signature of a model directory against a public key.

    Args:
        folder: local model directory.
        public_key: content of a PEM file, see `check_public_key`.
        name: name of the directory, for error messages.

    Raises:
        ModelDirError: the directory is unsigned, signed with another key, or changed since it was signed.
        UserError: the extra ``signing`` is not installed.
    """
    verifier = _verifier(public_key).set_hashing_config(_hashing(_library()[0], folder))
    if not (folder / SIGNATURE_FILE).is_file():
        raise ModelDirError(f"{name} is not signed (no {SIGNATURE_FILE}): sign it with python -m trainer sign")
    try:
        verifier.verify(folder, folder / SIGNATURE_FILE)
    except Exception as error:  # the library passes on any error from its dependencies, such as JSON errors
        raise ModelDirError(f"{name} fails signature verification: {_shown(error)}") from error


def _verifier(public_key: str) -> Any:
    _, _, verifying = _library()
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:  # the library accepts only a path
        file.write(public_key)
        file.flush()
        return verifying.Config().use_elliptic_key_verifier(public_key=Path(file.name))


def _why(error: Exception) -> str:
    """Return why a key is invalid. The library fails with AttributeError on key types without a curve."""
    return "it has another key type" if isinstance(error, AttributeError) else one_line(str(error), 200)


def _shown(error: Exception) -> str:
    """Return the library's message as one line, without file digests."""
    text = str(error)
    if "Key mismatch" in text:
        return "it was signed with another key"
    files = {words: ", ".join(re.findall(pattern, text)) for pattern, words in _DIFFERENCES.items()}
    found = [f"{names} {words}" for words, names in files.items() if names]
    return one_line("; ".join(found) or text or type(error).__name__, 200)


def _hashing(hashing: Any, folder: Path) -> Any:
    return hashing.Config().set_ignored_paths(paths=[folder / SIGNATURE_FILE], ignore_git_paths=False)


def _library() -> tuple[Any, Any, Any]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise UserError("signatures need the extra signing: pip install -e '.[signing]'") from error
    return hashing, signing, verifying
