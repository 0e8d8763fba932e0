from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from catalogue import model_dir, storage
from catalogue.cli.errors import UserError
from catalogue.model_dir import ModelDirError, signature


def make_keys(folder: Path, name: str) -> tuple[str, str]:
    """Create a key pair; return the path of the private key and the contents of the public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(private)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return str(folder / f"{name}.pem"), public.decode()


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    return make_keys(tmp_path, "key")


def fetch(folder: Path, public: str) -> None:
    with model_dir.fetched(str(folder), public):
        pass


def test_a_signed_directory_is_accepted_and_one_that_was_changed_is_not(
    model_copy: Path, tmp_path: Path, keys: tuple[str, str]
) -> None:
    private, public = keys
    with pytest.raises(ModelDirError, match=r"is not signed \(no model\.sig\)"):
        fetch(model_copy, public)
    signature.sign(model_copy, private)
    fetch(model_copy, public)
    model_dir.read(model_copy)
    for file in sorted(path for path in model_copy.rglob("*") if path.is_file()):
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ModelDirError, match="fails signature verification"):
            fetch(model_copy, public)
        file.write_bytes(content)
    (model_copy / "more").touch()
    with pytest.raises(ModelDirError, match=r"verification: more added since signing$"):
        fetch(model_copy, public)
    (model_copy / "more").unlink()
    (model_copy / "golden/00.png").rename(tmp_path / "00.png")
    with pytest.raises(ModelDirError, match=r"verification: golden/00\.png missing$"):
        fetch(model_copy, public)
    (tmp_path / "00.png").rename(model_copy / "golden/00.png")
    with pytest.raises(ModelDirError, match=r"verification: it was signed with another key$"):
        fetch(model_copy, make_keys(tmp_path, "other")[1])
    fetch(model_copy, public)


def test_the_message_names_every_file(model_copy: Path, keys: tuple[str, str]) -> None:
    signature.sign(model_copy, keys[0])
    for name in ("report.html", "it's.txt", "more.txt"):
        with (model_copy / name).open("a") as file:
            file.write("x")
    (model_copy / "golden/00.png").unlink()
    message = (
        r"verification: report\.html changed since signing; it's\.txt, more\.txt added since signing; "
        r"golden/00\.png missing$"
    )
    with pytest.raises(ModelDirError, match=message):
        fetch(model_copy, keys[1])


def test_files_that_are_not_keys_are_refused(model_copy: Path, tmp_path: Path, keys: tuple[str, str]) -> None:
    signature.sign(model_copy, keys[0])
    for public in ("", "-----BEGIN", Path(keys[0]).read_text()):
        with pytest.raises(UserError, match=r"--require-signature key\.pub is not an elliptic-curve public key"):
            signature.check_public_key(public, "key.pub")
    for private in (tmp_path / "none", tmp_path, tmp_path / "key.pub"):
        message = f"cannot sign with --key {private}, which must be an elliptic-curve private key"
        with pytest.raises(UserError, match=message):
            signature.sign(model_copy, str(private))


def test_a_key_of_another_kind_is_named_as_such(model_copy: Path, tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ed.pem").write_bytes(private)
    with pytest.raises(UserError, match=r"which must be an elliptic-curve private key: it has another key type$"):
        signature.sign(model_copy, str(tmp_path / "ed.pem"))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UserError, match=r"need the extra signing: pip install -e '\.\[signing\]'"):
        signature.check_public_key("", "key.pub")


def test_the_commands(
    model_copy: Path,
    drawn: Path,
    tmp_path: Path,
    keys: tuple[str, str],
    open_object_store: Callable[[str], Any],
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """A model in an object store is refused while unsigned, accepted once signed, and refused after a change."""
    root, environment = open_object_store("s3")
    for file in model_copy.rglob("*"):
        if file.is_file():
            storage.copy(str(file), f"{root}/model/{file.relative_to(model_copy)}")
    words = ["classify", "--input", drawn / "hat", "--model-dir", f"{root}/model", "--output", tmp_path / "run",
             "--require-signature", tmp_path / "key.pub", "--direct_num_workers=1"]  # fmt: skip
    done = command("pipeline", *words, **environment)
    assert (done.returncode, "is not signed" in done.stderr) == (2, True), done.stderr
    done = command("trainer", "sign", "--model-dir", f"{root}/model", "--key", keys[0], **environment)
    assert done.returncode == 0, done.stderr
    done = command("pipeline", *words, **environment)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "run")
    storage.write_text(f"{root}/model/report.html", "another")
    done = command("pipeline", *words, **environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "report.html changed since" in done.stderr
    assert not (tmp_path / "run").exists()
