"""The whole ``classify`` command on each object store: photos, list, model directory and run directory."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from tests.conftest import ObjectStore
from tests.proxies import FaultyProxy
from tests.servers import upload

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def names_in(folder: str) -> set[str]:
    return {file.location.removeprefix(f"{folder}/") for file in storage.list_files(folder)}


def rows_in(folder: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in storage.list_files(folder)
        for line in storage.read_text(file.location).splitlines()
    ]


def test_the_whole_command_on_an_object_store(
    object_store: ObjectStore, tiny_model: Path, drawn: Path, command: Command
) -> None:
    root, environment = object_store.root, object_store.environment
    photos = upload(drawn, f"{root}/photos [2019]")
    upload(tiny_model, f"{root}/models/tiny")
    storage.write_bytes(f"{root}/photos [2019]/empty.jpg", b"")
    lines = [f"{number},{root}/photos [2019]/{name}" for number, name in enumerate(photos)]
    lines += ["90,photos [2019]/empty.jpg", f"91,{root}/none.jpg", "92,photos [2019]/hat/00.jpg"]
    storage.write_text(f"{root}/list.csv", "\n".join(["sku,uri", *lines]))
    arguments = ["classify", "--input", f"{root}/list.csv", f"{root}/photos [[]2019]/hat/*.jpg", "--model-dir",
                 f"{root}/models/tiny", "--output", f"{root}/runs/1", "--max-failure-rate", 0.06]  # fmt: skip
    done = command("pipeline", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    names = names_in(f"{root}/runs/1")
    assert {name for name in names if "/" not in name} == {
        "_SUCCESS", "run.json", "class_stats.json", "report.html", "metrics.prom"
    }  # fmt: skip
    assert {name.partition("/")[0] for name in names if "/" in name} == {"predictions", "dead_letters", "journal"}
    counts = {
        "inputs": 51, "predictions": 49, "dead_letters": {"empty": 1, "not_found": 1}, "duplicates": 13,
        "left_out": {"hidden_files": 0, "rows_without_uri": 0}, "retried": 0, "identical": 0,
    }  # fmt: skip
    assert json.loads(storage.read_text(f"{root}/runs/1/run.json"))["counts"] == counts | {
        "classified": 49, "reused": {"unread": 0, "conditional": 0, "content": 0}
    }  # fmt: skip
    numbers = {row["fields"]["sku"] for row in rows_in(f"{root}/runs/1/predictions") if row["fields"]}
    assert numbers == {str(number) for number in range(36)} | {"92"}
    assert "data:image/jpeg;base64," in storage.read_text(f"{root}/runs/1/report.html")

    again = command("pipeline", *arguments, **environment)
    assert (again.returncode, "holds a finished run" in again.stderr) == (2, True)
    more = ("--previous", f"{root}/runs", "--overwrite", "--output-format", "parquet", "--direct_num_workers=1")
    replaced = command("pipeline", *arguments, *more, **environment)
    assert replaced.returncode == 0, replaced.stderr
    assert {name for name in names_in(f"{root}/runs/1") if name.startswith("predictions")} == {
        "predictions/part-00000-of-00001.parquet"
    }
    assert json.loads(storage.read_text(f"{root}/runs/1/run.json"))["counts"] == counts | {
        "classified": 0, "reused": {"unread": 25, "conditional": 25, "content": 0}  # the list names the hats, too
    }  # fmt: skip


def test_the_whole_command_on_an_object_store_that_fails_now_and_then(
    object_store_behind_faults: tuple[ObjectStore, FaultyProxy], tiny_model: Path, drawn: Path, command: Command
) -> None:
    """Every fifth request fails, in one of three ways in turn."""
    (root, environment), proxy = object_store_behind_faults
    photos = upload(drawn, f"{root}/photos")
    upload(tiny_model, f"{root}/models/tiny")
    storage.write_text(f"{root}/list.csv", "\n".join(["sku,uri", *(f"{name},photos/{name}" for name in photos)]))
    faults, requests = itertools.cycle(("503", "429", "reset")), itertools.count(1)
    proxy.choose = lambda method, path: None if next(requests) % 5 else next(faults)
    arguments = ["classify", "--input", f"{root}/list.csv", f"{root}/photos/hat/*.jpg", "--model-dir",
                 f"{root}/models/tiny", "--output", f"{root}/run"]  # fmt: skip
    done = command("pipeline", *arguments, **environment)
    proxy.choose = lambda method, path: None
    assert done.returncode == 0, done.stderr
    assert {"503", "429", "reset"} <= set(proxy.injected)
    assert len(proxy.injected) > 10
    counts = json.loads(storage.read_text(f"{root}/run/run.json"))["counts"]
    assert (counts["predictions"], counts["dead_letters"]) == (len(photos) + 12, {})
    rows = rows_in(f"{root}/run/predictions")
    listed = {row["uri"]: row["fields"]["sku"] for row in rows if row["fields"]}
    assert listed == {f"photos/{name}": name for name in photos}
    assert {row["uri"] for row in rows if not row["fields"]} == {
        f"{root}/photos/{name}" for name in photos if name.startswith("hat/")
    }


def test_flags_of_beam_say_where_s3_is(
    open_object_store: Callable[[str], ObjectStore], tiny_model: Path, drawn: Path, tmp_path: Path, command: Command
) -> None:
    """The flags suffice for the command and its workers; no environment variable names S3 or credentials."""
    root, environment = open_object_store("s3")
    upload(drawn / "hat", f"{root}/hats")
    flags = {
        "--s3_endpoint_url": environment["AWS_ENDPOINT_URL"], "--s3_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "--s3_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"], "--s3_region_name": "us-east-1",
    }  # fmt: skip
    arguments = ["classify", "--input", f"{root}/hats", "--model-dir", tiny_model, "--output", tmp_path / "run",
                 "--direct_num_workers=2", *(word for flag in flags.items() for word in flag)]  # fmt: skip
    done = command("pipeline", *arguments, **dict.fromkeys(environment, "") | {"AWS_EC2_METADATA_DISABLED": "true"})
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["counts"]["predictions"] == 12


@pytest.mark.parametrize(("name", "words"), [("none", "does not exist"), ("photos/*.webp", "names no images")])
def test_an_input_that_is_not_there(
    object_store: ObjectStore, name: str, words: str, tiny_model: Path, command: Command
) -> None:
    storage.write_bytes(f"{object_store.root}/photos/a.jpg", b"x")
    arguments = ["classify", "--input", f"{object_store.root}/{name}", "--model-dir", tiny_model, "--output"]
    done = command("pipeline", *arguments, f"{object_store.root}/run", **object_store.environment)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert not storage.exists(f"{object_store.root}/run")


def test_shards_and_their_merge(object_store: ObjectStore, tiny_model: Path, drawn: Path, command: Command) -> None:
    root, environment = f"{object_store.root}/of-shards", object_store.environment
    photos = upload(drawn / "hat", f"{root}/photos")
    upload(tiny_model, f"{root}/model")
    for index in (1, 2):
        flags = ["--input", f"{root}/photos", "--model-dir", f"{root}/model", "--shard", f"{index}/2"]
        done = command("pipeline", "classify", *flags, "--output", f"{root}/shards/{index}", **environment)
        assert done.returncode == 0, done.stderr
    for more in ((), ("--overwrite",)):
        words = [f"{root}/shards", "--output", f"{root}/merged", *more]
        done = command("pipeline", "merge", *words, **environment)
        assert done.returncode == 0, done.stderr
        rows = rows_in(f"{root}/merged/predictions")
        assert sorted(row["uri"] for row in rows) == sorted(f"{root}/photos/{name}" for name in photos)
        names = names_in(f"{root}/merged")
        assert {name.split("/")[0] for name in names} == {
            "predictions", "dead_letters", "journal", "class_stats.json", "run.json", "report.html", "metrics.prom",
            "_SUCCESS",
        }  # fmt: skip
        assert storage.read_text(f"{root}/merged/report.html").count("data:image/jpeg") > 0
