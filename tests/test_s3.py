"""The whole ``classify`` command on an S3 server: photos, manifest, model directory and run directory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalogue.cli.console import UserError
from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import amazon_storage, event_loop, sources, storage

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Server = Callable[..., "contextlib.AbstractContextManager[None]"]
BUCKET = "shop"


@pytest.fixture(scope="module")
def s3(server: Server, free_port: Callable[[], int]) -> Iterator[dict[str, str]]:
    """An S3 server on loopback. The value is the environment that leads to it."""
    port = str(free_port())
    host = f"http://127.0.0.1:{port}"
    with server(host, "moto_server", "-H", "127.0.0.1", "-p", port):
        yield {
            "AWS_ENDPOINT_URL": host, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }  # fmt: skip


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3

    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    forget()
    bucket = boto3.resource("s3").Bucket(BUCKET)
    bucket.create(CreateBucketConfiguration={"LocationConstraint": s3["AWS_DEFAULT_REGION"]})
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    forget()


def forget() -> None:
    """The clients and credentials that this process keeps."""
    for cache in (storage.amazon_client, amazon_storage.credentials, amazon_storage.place):
        cache.cache_clear()
    amazon_storage._looked_for.clear()


async def admit(size: int) -> None:
    assert size <= 1000


def read(location: str, limits: Limits = Limits()) -> bytes:  # noqa: B008, it is frozen
    return event_loop.submit(sources.read_async(location, limits, admit)).result()


def upload(bucket: Any, folder: Path, prefix: str) -> list[str]:
    names = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        names.append(f"{prefix}/{file.relative_to(folder)}")
        bucket.upload_file(str(file), names[-1])
    return names


def text(bucket: Any, name: str) -> str:
    return bucket.Object(name).get()["Body"].read().decode()


def test_the_whole_command_on_s3(
    bucket: Any, s3: dict[str, str], tiny_model: Path, drawn: Path, command: Command
) -> None:
    photos = upload(bucket, drawn, "photos")
    upload(bucket, tiny_model, "models/tiny")
    lines = [{"uri": name, "n": number} for number, name in enumerate(photos)]
    lines += [{"uri": f"s3://{BUCKET}/none.jpg", "n": 90}, {"uri": photos[0], "n": 91}]
    bucket.put_object(Key="lists/all.jsonl", Body="\n".join(map(json.dumps, lines)).encode())
    arguments = [
        "classify", "--input", f"s3://{BUCKET}/lists/all.jsonl", f"s3://{BUCKET}/photos/hat", "--base-uri",
        f"s3://{BUCKET}", "--model-dir", f"s3://{BUCKET}/models/tiny", "--output", f"s3://{BUCKET}/runs/1",
    ]  # fmt: skip
    done = command("pipeline", *arguments, **s3)
    assert done.returncode == 0, done.stderr
    names = {item.key.removeprefix("runs/1/") for item in bucket.objects.filter(Prefix="runs/1/")}
    assert {name for name in names if "/" not in name} == {"_SUCCESS", "run.json", "class_stats.json", "report.html"}
    hats = sum(name.startswith("photos/hat/") for name in photos)
    assert json.loads(text(bucket, "runs/1/run.json"))["counts"] == {
        "inputs": len(photos) + 2 + hats, "predictions": len(photos) + 1 + hats, "dead_letters": {"not_found": 1},
        "duplicates": 1 + hats, "reused": 0,
    }  # fmt: skip
    parts = [text(bucket, f"runs/1/{name}") for name in names if name.startswith("predictions/")]
    rows = [json.loads(line) for part in parts for line in part.splitlines()]
    numbers = sorted(row["fields"]["n"] for row in rows if row["fields"])
    assert numbers == [*range(len(photos)), 91]
    assert "data:image/jpeg;base64," in text(bucket, "runs/1/report.html")


def test_flags_of_beam_reach_the_workers(
    bucket: Any, s3: dict[str, str], tiny_model: Path, drawn: Path, tmp_path: Path, command: Command
) -> None:
    """They read the list, with Beam, which may be told by its flags where S3 is."""
    bucket.put_object(Key="lists/hats.txt", Body="".join(f"{file}\n" for file in (drawn / "hat").iterdir()).encode())
    flags = {
        "--s3_endpoint_url": s3["AWS_ENDPOINT_URL"], "--s3_access_key_id": s3["AWS_ACCESS_KEY_ID"],
        "--s3_secret_access_key": s3["AWS_SECRET_ACCESS_KEY"], "--s3_region_name": s3["AWS_DEFAULT_REGION"],
    }  # fmt: skip
    arguments = [
        "classify", "--input", f"s3://{BUCKET}/lists/hats.txt", "--model-dir", tiny_model, "--output", tmp_path / "run",
        "--direct_num_workers=2", *(word for flag in flags.items() for word in flag),
    ]  # fmt: skip
    done = command("pipeline", *arguments, **dict.fromkeys(s3, "") | {"AWS_EC2_METADATA_DISABLED": "true"})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["counts"]["predictions"] == 12


def test_objects_are_read_and_what_fails_has_its_reason(bucket: Any) -> None:
    for number, key in enumerate(("a b#1?.jpg", "/a.jpg", "a//b.jpg", "a/../b%20~+ü.jpg", "a.jpg")):
        bucket.put_object(Key=key, Body=b"%d" % number * 1000, ChecksumAlgorithm="CRC32")
        assert read(f"s3://{BUCKET}/{key}") == b"%d" % number * 1000
    for location, limits, reason in (
        (f"s3://{BUCKET}/none.jpg", Limits(), Reason.NOT_FOUND),
        ("s3://another-bucket/a.jpg", Limits(), Reason.NOT_FOUND),
        (f"s3://{BUCKET}", Limits(), Reason.NOT_FOUND),
        ("s3://?!/a.jpg", Limits(), Reason.NOT_FOUND),
        (f"s3://{BUCKET}/\ud800.jpg", Limits(), Reason.NOT_FOUND),
        (f"s3://{BUCKET}/a b#1?.jpg", Limits(max_bytes=999), Reason.TOO_MANY_BYTES),
    ):
        with pytest.raises(ImageError) as error:
            read(location, limits)
        assert error.value.reason is reason, location


def test_without_credentials_permission_is_denied(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    forget()
    with pytest.raises(ImageError) as error:
        read(f"s3://{BUCKET}/a.jpg")
    assert error.value.reason is Reason.PERMISSION_DENIED
    forget()


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"s3:// needs the extra aws: pip install -e '\.\[aws\]'"):
        read(f"s3://{BUCKET}/a.jpg")
