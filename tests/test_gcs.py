"""The whole ``classify`` command on a storage emulator: photos, manifest, model directory and run directory."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Server = Callable[..., "contextlib.AbstractContextManager[None]"]
BUCKET = "shop"


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Gives everybody an access token, so that no request leaves this machine to ask for one."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _service_account(path: Path, token_uri: str) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account", "project_id": "test", "private_key": key.decode(), "private_key_id": "none",
        "client_email": "nobody@example.com", "token_uri": token_uri,
    }  # fmt: skip
    path.write_text(json.dumps(account))
    return str(path)


@pytest.fixture(scope="module")
def emulator(
    server: Server, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[dict[str, str]]:
    """A storage emulator on loopback with one bucket. The value is the environment that leads to it."""
    tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    port = str(free_port())
    host = f"http://127.0.0.1:{port}"
    arguments = ["start", "-H", "127.0.0.1", "--port", port, "-M", "--default-bucket", BUCKET]
    folder = tmp_path_factory.mktemp("gcs")
    account = _service_account(folder / "account.json", f"http://127.0.0.1:{tokens.server_port}/token")
    with server(f"{host}/storage/v1/b/{BUCKET}", "gcp-storage-emulator", *arguments):
        yield {"STORAGE_EMULATOR_HOST": host, "GOOGLE_APPLICATION_CREDENTIALS": account}
    tokens.shutdown()
    tokens.server_close()


@pytest.fixture
def bucket(emulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name, value in emulator.items():
        monkeypatch.setenv(name, value)
    from google.cloud import storage

    client = storage.Client(project="test")
    bucket = client.bucket(BUCKET)
    for blob in list(client.list_blobs(BUCKET)):
        blob.delete()
    yield bucket
    client.close()


def upload(bucket: object, folder: Path, prefix: str) -> list[str]:
    names = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        names.append(f"{prefix}/{file.relative_to(folder)}")
        bucket.blob(names[-1]).upload_from_filename(file)  # type: ignore[attr-defined]
    return names


def text(bucket: object, name: str) -> str:
    return bucket.blob(name).download_as_bytes().decode()  # type: ignore[attr-defined]


def names_in(bucket: object, prefix: str) -> set[str]:
    return {blob.name.removeprefix(prefix) for blob in bucket.list_blobs(prefix=prefix)}  # type: ignore[attr-defined]


def test_the_whole_command_on_object_storage(
    bucket: object, emulator: dict[str, str], tiny_model: Path, drawn: Path, command: Command
) -> None:
    photos = upload(bucket, drawn, "photos [2019]")
    upload(bucket, tiny_model, "models/tiny")
    bucket.blob("photos [2019]/empty.jpg").upload_from_string(b"")  # type: ignore[attr-defined]
    lines = [f"{number},gs://{BUCKET}/{name}" for number, name in enumerate(photos)]
    lines += ["90,photos [2019]/empty.jpg", f"91,gs://{BUCKET}/none.jpg", "92,photos [2019]/hat/00.jpg"]
    bucket.blob("list.csv").upload_from_string("\n".join(["sku,uri", *lines]))  # type: ignore[attr-defined]
    arguments = [
        "classify", "--input", f"gs://{BUCKET}/list.csv", "--model-dir", f"gs://{BUCKET}/models/tiny",
        "--output", f"gs://{BUCKET}/runs/1", "--max-failure-rate", 0.06,
    ]  # fmt: skip
    done = command("pipeline", *arguments, **emulator)
    assert done.returncode == 0, done.stderr
    names = names_in(bucket, "runs/1/")
    assert {name for name in names if "/" not in name} == {"_SUCCESS", "run.json", "class_stats.json", "report.html"}
    assert {name.partition("/")[0] for name in names if "/" in name} == {"predictions", "dead_letters"}
    counts = json.loads(text(bucket, "runs/1/run.json"))["counts"]
    assert counts == {
        "inputs": 39, "predictions": 37, "dead_letters": {"empty": 1, "not_found": 1}, "duplicates": 1, "reused": 0,
    }  # fmt: skip
    parts = [text(bucket, f"runs/1/{name}") for name in sorted(names) if name.startswith("predictions/")]
    assert len(parts) == 2
    rows = [json.loads(line) for part in parts for line in part.splitlines()]
    assert {row["fields"]["sku"] for row in rows} == {str(number) for number in range(36)} | {"92"}
    assert "data:image/jpeg;base64," in text(bucket, "runs/1/report.html")

    again = command("pipeline", *arguments, **emulator)
    assert again.returncode == 2
    assert "holds a finished run" in again.stderr
    replaced = command("pipeline", *arguments, "--overwrite", "--direct_num_workers=1", **emulator)
    assert replaced.returncode == 0, replaced.stderr
    assert all(line.startswith(("classifying", "listing: ")) for line in replaced.stderr.splitlines()), replaced.stderr
    assert "predictions/part-00000-of-00001.jsonl" in names_in(bucket, "runs/1/")
    assert "predictions/part-00000-of-00002.jsonl" not in names_in(bucket, "runs/1/")


def test_folders_and_globs_on_object_storage(bucket: object, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.manifest import reading as manifest
    from pipeline.manifest.reading import Manifest

    upload(bucket, drawn, "photos")
    bucket.blob("photos/.hidden.jpg").upload_from_string(b"x")  # type: ignore[attr-defined]
    bucket.blob("photos/folder/").upload_from_string(b"")  # type: ignore[attr-defined]

    def count(where: str) -> int:
        return len(list(manifest.rows(where, Manifest((where,)))))

    assert count(f"gs://{BUCKET}/photos") == count(f"gs://{BUCKET}/photos/") == 36
    assert count(f"gs://{BUCKET}/photos/*/0*.jpg") == 30
    assert count(f"gs://{BUCKET}/**/hat/*") == 12
    with pytest.raises(manifest.UserError, match="does not exist"):
        manifest.check(Manifest((f"gs://{BUCKET}/none",)))
    with pytest.raises(manifest.UserError, match="names no images"):
        manifest.check(Manifest((f"gs://{BUCKET}/photos/*.webp",)))


def test_objects_are_read_and_what_fails_has_its_reason(bucket: object, emulator: dict[str, str]) -> None:
    from catalogue.images.reader import ImageError, Limits, Reason
    from pipeline import event_loop, google_storage, sources

    async def admit(size: int) -> None:
        assert size == 1000

    def read(name: str, limits: Limits = Limits()) -> bytes:  # noqa: B008, it is frozen
        return event_loop.submit(sources.read_async(f"gs://{BUCKET}/{name}", limits, admit)).result()

    google_storage.access.cache_clear()
    for number, name in enumerate(("a b#1?.jpg", "a//b%20~+ü.jpg", "a.jpg")):
        bucket.blob(name).upload_from_string(b"%d" % number * 1000)  # type: ignore[attr-defined]
        assert read(name) == b"%d" % number * 1000
    for name, limits, reason in (
        ("none.jpg", Limits(), Reason.NOT_FOUND),
        ("a.jpg", Limits(max_bytes=999), Reason.TOO_MANY_BYTES),
    ):
        with pytest.raises(ImageError) as error:
            read(name, limits)
        assert error.value.reason is reason
    google_storage.access.cache_clear()
    assert os.environ["STORAGE_EMULATOR_HOST"] == emulator["STORAGE_EMULATOR_HOST"]
