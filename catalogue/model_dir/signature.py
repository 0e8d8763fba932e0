"""Signatures of model directories, in the format of OpenSSF Model Signing. Needs the extra ``signing``.

The signature is the file ``model.sig`` in the directory, over every other file in it. Keys are of elliptic curves, as
PEM: ``openssl ecparam -name prime256v1 -genkey -noout -out key.pem``, ``openssl ec -in key.pem -pubout -out key.pub``.
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


def check_installed() -> None:
    """Raises UserError without the extra."""
    _library()


def sign(folder: Path, private_key: str) -> None:
    """Writes the signature of a model directory.

    Args:
        folder: of a local model directory.
        private_key: the path of a key, without a password.

    Raises:
        UserError: the key cannot be used, or the signature not be written.
    """
    hashing, signing, _ = _library()
    config = signing.Config().set_hashing_config(_hashing(hashing, folder))
    try:
        config.use_elliptic_key_signer(private_key=Path(private_key)).sign(folder, folder / SIGNATURE_FILE)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--key {private_key} is no private key of an elliptic curve: {_why(error)}") from error


def verify(folder: Path, public_key: str, name: str) -> None:
    """Refuses a model directory that the owner of a key has not signed as it is.

    Args:
        folder: of a local model directory.
        public_key: the content of a PEM file.
        name: of the directory, for messages.

    Raises:
        ModelDirError: it has no signature, one of another key, or was changed since.
        UserError: the key cannot be used.
    """
    hashing, _, verifying = _library()
    if not (folder / SIGNATURE_FILE).is_file():
        raise ModelDirError(f"{name} is not signed: it has no {SIGNATURE_FILE}; sign it with python -m trainer sign")
    config = verifying.Config().set_hashing_config(_hashing(hashing, folder))
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as key:  # the library takes a path
        key.write(public_key)
        key.flush()
        try:
            verifier = config.use_elliptic_key_verifier(public_key=Path(key.name))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"--require-signature: no public key of an elliptic curve: {_why(error)}") from error
    try:
        verifier.verify(folder, folder / SIGNATURE_FILE)
    except Exception as error:  # the library raises what its parts do, such as errors of JSON
        raise ModelDirError(f"{name} is not what the owner of the key has signed: {_shown(error)}") from error


def _why(error: Exception) -> str:
    """Why a key cannot be used; the library only finds out that those of another kind have no curve."""
    return "it is one of another kind" if isinstance(error, AttributeError) else one_line(str(error), 200)


def _shown(error: Exception) -> str:
    """What the library says, without the digests of files."""
    changed = re.findall(r"Hash mismatch for \\*'(.*?)\\*':", str(error))
    if changed:
        return f"{', '.join(changed)} changed since"
    return one_line(str(error) or type(error).__name__, 200)


def _hashing(hashing: Any, folder: Path) -> Any:
    return hashing.Config().set_ignored_paths(paths=[folder / SIGNATURE_FILE], ignore_git_paths=False)


def _library() -> tuple[Any, Any, Any]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise UserError("signatures need the extra signing: pip install -e '.[signing]'") from error
    return hashing, signing, verifying
