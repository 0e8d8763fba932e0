"""Shared fixtures and helpers: real photos where available, small drawn pictures, and models trained on both."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from catalogue import model_dir
from catalogue.model_dir.info import checksum
from catalogue.storage import stores
from tests import servers
from tests.proxies import FaultyProxy, running_faulty_proxy

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("CATALOGUE_CLASSIFIER_SHARED", REPOSITORY.parent / "shared"))
DRAWN_CLASSES = ("dress", "hat", "shoes")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Function that makes a folder unlistable for this process; its mode alone would not stop root."""
    locked, scandir = set[str](), os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path) in locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    return lambda folder: locked.add(str(folder))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights; tests that need it are skipped where it is absent."""
    if not (SHARED / "datasets").is_dir():
        pytest.skip(f"no real photos in {SHARED} (set CATALOGUE_CLASSIFIER_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def clothing(shared: Path) -> Path:
    return shared / "datasets/clothing"


@pytest.fixture(scope="session")
def keras_home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A KERAS_HOME with the ImageNet weights. It is writable, as Keras puts its configuration file there."""
    home = tmp_path_factory.mktemp("keras")
    (home / "models").symlink_to(shared / "keras/models")
    return home


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Function that returns an unused port of this machine."""

    return servers.free_port


class ObjectStore(NamedTuple):
    """A folder in an object store on loopback, and the environment variables that point to the store."""

    root: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def running_stores() -> Iterator[dict[str, dict[str, str]]]:
    """Environment variables of the object stores, by scheme; each store is started on first use."""
    with contextlib.ExitStack() as stack:

        class Started(dict[str, dict[str, str]]):
            def __missing__(self, scheme: str) -> dict[str, str]:
                self[scheme] = stack.enter_context(servers.STORES[scheme]())
                return self[scheme]

        yield Started()


@pytest.fixture
def open_object_store(
    running_stores: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ObjectStore]]:
    """Function that points this process to the object store of a scheme and returns an empty folder in it."""

    def open_store(scheme: str) -> ObjectStore:
        environment = running_stores[scheme]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        stores.forget()
        return ObjectStore(f"{scheme}://{servers.BUCKET}/{uuid.uuid4().hex}", environment)

    yield open_store
    stores.forget()


@pytest.fixture
def open_faulty_store(
    open_object_store: Callable[[str], ObjectStore], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], tuple[ObjectStore, FaultyProxy]]]:
    """Like `open_object_store`, but behind a proxy that makes requests fail."""
    with contextlib.ExitStack() as stack:

        def open_store(scheme: str) -> tuple[ObjectStore, FaultyProxy]:
            root, environment = open_object_store(scheme)
            (host,) = {found for value in environment.values() for found in re.findall(r"http://[\d.]+:\d+", value)}
            proxy = stack.enter_context(running_faulty_proxy(host, scheme))
            behind = {name: value.replace(host, proxy.url) for name, value in environment.items()}
            for name, value in behind.items():
                monkeypatch.setenv(name, value)
            stores.forget()
            return ObjectStore(root, behind), proxy

        yield open_store
        stores.forget()


@pytest.fixture(params=list(servers.STORES))
def object_store(request: pytest.FixtureRequest, open_object_store: Callable[[str], ObjectStore]) -> ObjectStore:
    """An empty folder in each object store."""
    return open_object_store(request.param)


@pytest.fixture(params=list(servers.STORES))
def object_store_behind_faults(
    request: pytest.FixtureRequest, open_faulty_store: Callable[[str], tuple[ObjectStore, FaultyProxy]]
) -> tuple[ObjectStore, FaultyProxy]:
    """Like `object_store`, but behind a proxy that makes requests fail."""
    return open_faulty_store(request.param)


@pytest.fixture(scope="session")
def peak_of() -> Callable[[str, Path], int]:
    """Function that runs code on a file in its own process and returns the peak memory in bytes."""
    tail = "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"

    def run(code: str, file: Path) -> int:
        words = [sys.executable, "-c", f"import sys\n{code}{tail}", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY)
        return 1024 * int(done.stdout.split()[-1])

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Function that runs ``python -m MODULE ARGUMENTS`` in the repository, as a user does."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", **environment},
            check=False,
            timeout=900,
        )

    return run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twelve drawn pictures of each of three classes."""
    from demo.draw import draw

    folder, chance = tmp_path_factory.mktemp("drawn"), random.Random(7)
    for label in DRAWN_CLASSES:
        (folder / label).mkdir()
        for number in range(12):
            draw(label, chance).save(folder / label / f"{number:02}.jpg")
    return folder


def train_arguments(data: Path, model_dir: Path, *more: object) -> list[str]:
    return ["--data", str(data), "--model-dir", str(model_dir), *map(str, more)]


@pytest.fixture(scope="session")
def tiny_model(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory: the small network at 32 pixels, trained on the drawn pictures for a few epochs."""
    from trainer.task import main

    path = tmp_path_factory.mktemp("models") / "tiny"
    arguments = train_arguments(drawn, path, "--backbone", "small", "--image-size", 32, "--epochs", 4)
    assert main(arguments) == 0
    return path


@pytest.fixture
def model_copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture(scope="session")
def clothing_model(
    clothing: Path,
    keras_home: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model directory: MobileNetV2 with ImageNet weights, trained on the real photos with the README's command."""
    path = tmp_path_factory.mktemp("models") / "clothing"
    arguments = ["--data", clothing / "train", "--validation-data", clothing / "validation", "--model-dir", path]
    done = command("trainer", "train", *arguments, KERAS_HOME=str(keras_home))
    assert done.returncode == 0, done.stderr
    return path


def rows(run: Path, folder: str = "predictions") -> list[dict[str, Any]]:
    """Return the rows of one folder of a run directory, sorted by URI."""
    lines = [line for part in sorted((run / folder).glob("part-*")) for line in part.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda row: (row["uri"], json.dumps(row["fields"])))


@pytest.fixture(scope="session")
def read_rows() -> Callable[..., list[dict[str, Any]]]:
    return rows


@pytest.fixture(scope="session")
def classify() -> Callable[..., int]:
    """Function that runs ``classify`` in this process with threads, which is faster, and returns the exit code."""
    from pipeline.__main__ import main

    def run(where: object, model_dir: object, output: object, *more: object) -> int:
        flags = ["--input", where, "--model-dir", model_dir, "--output", output, *more]
        if not any(str(flag).startswith("--direct_") for flag in more):
            flags.append("--direct_running_mode=multi_threading")
        return main(["classify", *map(str, flags)])

    return run


def write_photos(drawn: Path, folder: Path, count: int) -> Path:
    """Write `count` photos of hats, all slightly different because identical ones are classified only once."""
    hats = [file.read_bytes() for file in sorted((drawn / "hat").iterdir())]
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}.jpg").write_bytes(hats[number % len(hats)] + f"{number}".encode())
    return folder


def spoilt(model: Path) -> Path:
    """Make a model directory fail the check of its golden images but no other."""
    file = model / "golden/probabilities.json"
    golden = json.loads(file.read_text())
    file.write_text(json.dumps({name: row[::-1] for name, row in golden.items()}))
    content = json.loads((model / "model.json").read_text())
    content["files"]["golden/probabilities.json"] = model_dir.file_digest(file)
    del content["checksum"]
    content["checksum"] = checksum(content)
    (model / "model.json").write_text(json.dumps(content))
    return model


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its contents, to check that a command leaves them unchanged."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    return tree
