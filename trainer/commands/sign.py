"""The ``sign`` command: sign a model directory, so that its users can verify that it is unchanged."""

from __future__ import annotations

import argparse

from catalogue import model_dir, storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.model_dir import signature
from catalogue.model_dir.info import SIGNATURE_FILE
from catalogue.reasons import StorageError


def sign(arguments: argparse.Namespace) -> None:
    """Verify a model directory and write its signature, ``model.sig``, into it.

    Raises:
        ModelDirError: the model directory is damaged or incomplete.
        UserError: the key cannot be used, or the signature cannot be written.
    """
    signature.check_installed()
    path = arguments.model_dir.rstrip("/")
    with model_dir.fetched(path) as model:
        signature.sign(model.path, arguments.key)
        if storage.is_remote(path):
            try:
                storage.copy(str(model.path / SIGNATURE_FILE), f"{path}/{SIGNATURE_FILE}")
            except StorageError as error:
                raise UserError(f"--model-dir {path} cannot be written: {error.message}") from error
    say(f"signed model {model.info.id} in {path}")
