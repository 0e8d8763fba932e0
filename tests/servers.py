"""Object stores on loopback, and the environment variables that point to them.

``make`` installs fake-gcs-server and Azurite below ``build/servers``, with Go and npm; moto comes from PyPI.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from catalogue import storage

SERVERS = Path(__file__).parents[1] / "build/servers"
BUCKET = "shop"
# The default account of Azurite. Source: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_GCE_CHECK": "true", "GCE_METADATA_TIMEOUT": "1",
}  # fmt: skip
"""Settings that keep client libraries from contacting a metadata server."""


def free_port() -> int:
    """Return an unused port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(words: Sequence[object], url: str) -> Iterator[None]:
    """Run a server for the duration of the context, which begins with the first response of the server."""
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"{words[0]} did not start")
        yield
    finally:
        process.terminate()
        process.wait()


def require(program: Path, installer: str) -> None:
    """Skip the test if a program is missing, or fail it if the environment requires all programs."""
    if not program.exists():
        message = f"{program} is missing: `make` installs it with {installer}"
        if os.environ.get("CATALOGUE_CLASSIFIER_REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)


@contextlib.contextmanager
def amazon() -> Iterator[dict[str, str]]:
    """Run moto, with a bucket outside the default region."""
    port = free_port()
    host = f"http://127.0.0.1:{port}"
    environment = NO_CREDENTIALS | {
        "AWS_ENDPOINT_URL": host, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    with running([Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", port], host):
        import boto3

        client = boto3.client(
            "s3", endpoint_url=host, aws_access_key_id="nobody", aws_secret_access_key="nothing",
            region_name="eu-central-1",
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield environment


@contextlib.contextmanager
def google() -> Iterator[dict[str, str]]:
    """Run fake-gcs-server with a bucket."""
    program = SERVERS / "fake-gcs-server"
    require(program, "Go")
    port = free_port()
    host = f"http://127.0.0.1:{port}"
    words = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory",
             "-public-host", f"127.0.0.1:{port}", "-external-url", host]  # fmt: skip
    with running(words, f"{host}/storage/v1/b"):
        request = urllib.request.Request(
            f"{host}/storage/v1/b", f'{{"name": "{BUCKET}"}}'.encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request).close()
        yield NO_CREDENTIALS | {"STORAGE_EMULATOR_HOST": host}


@contextlib.contextmanager
def azure() -> Iterator[dict[str, str]]:
    """Run Azurite with a container."""
    program = SERVERS / "node_modules/.bin/azurite-blob"
    require(program, "npm")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/{_AZURE_ACCOUNT}"
    words = [program, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", port, "--silent",
             "--skipApiVersionCheck", "--disableTelemetry"]  # fmt: skip
    with running(words, f"http://127.0.0.1:{port}"):
        _make_container(endpoint)
        settings = {"DefaultEndpointsProtocol": "http", "AccountName": _AZURE_ACCOUNT, "AccountKey": _AZURE_KEY,
                    "BlobEndpoint": endpoint}  # fmt: skip
        yield {"AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{name}={value}" for name, value in settings.items())}


def _make_container(endpoint: str) -> None:
    """Create the container, which obstore cannot do. Source: https://learn.microsoft.com/rest/api/storageservices"""
    date, version = email.utils.formatdate(usegmt=True), "2021-08-06"
    resource = f"/{_AZURE_ACCOUNT}/{_AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
    text = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{version}\n{resource}"
    signature = base64.b64encode(hmac.digest(base64.b64decode(_AZURE_KEY), text.encode(), hashlib.sha256)).decode()
    headers = {"x-ms-date": date, "x-ms-version": version, "Content-Length": "0",
               "Authorization": f"SharedKey {_AZURE_ACCOUNT}:{signature}"}  # fmt: skip
    request = urllib.request.Request(f"{endpoint}/{BUCKET}?restype=container", method="PUT", headers=headers)
    urllib.request.urlopen(request).close()


STORES = {"gs": google, "s3": amazon, "az": azure}


def upload(folder: Path, target: str) -> list[str]:
    """Copy a folder and return the file names below `target`."""
    names = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    for name in names:
        storage.copy(str(folder / name), f"{target}/{name}")
    return names
