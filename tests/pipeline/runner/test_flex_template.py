"""The flex template of Dataflow: its parameters are the flags, and what its launcher runs writes a template."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from catalogue import storage
from pipeline.runner.flex_template import command, metadata
from tests import servers
from tests.pipeline.test_classify_flags import parsed
from tests.servers import BUCKET, upload


def test_the_file_in_deploy_is_up_to_date(repository: Path) -> None:
    """``python -m pipeline.runner.flex_template > deploy/dataflow/metadata.json`` makes it."""
    assert json.loads((repository / "deploy/dataflow/metadata.json").read_text()) == metadata()


def test_parameters_become_flags() -> None:
    given = [
        "--input=gs://b/a=b.csv", "--model_dir=gs://b/model", "--output=gs://b/run", "--overwrite=true",
        "--keep_going=false", "--batch_size=32", "--engine=openvino", "--max_failure_rate=0.1",
    ]  # fmt: skip
    beam = ["--runner=DataflowRunner", "--project=shop", "--template_location=gs://b/job", "--sdk_container_image=i"]
    first, *words = command([*given, *beam])
    assert first == "classify"
    assert words[-4:] == beam
    config = parsed(*words[:-4])
    assert (config.model_dir, config.overwrite, config.keep_going) == ("gs://b/model", True, False)
    assert (config.inference.batch_size, config.inference.engine, config.max_failure_rate) == (32, "openvino", 0.1)


def test_every_parameter_is_a_flag_and_what_is_required_is_so_here() -> None:
    found = {parameter["name"]: parameter for parameter in metadata()["parameters"]}
    assert {name for name, own in found.items() if not own["isOptional"]} == {
        "input", "model_dir", "output", "sdk_container_image"
    }  # fmt: skip
    assert found["overwrite"]["regexes"] == ["^(true|false)$"]
    assert found["output_format"]["regexes"] == ["^(jsonl|csv|parquet)$"]
    for name in found:
        flag = f"--{name}" if name == "sdk_container_image" else f"--{name.replace('_', '-')}"
        assert command([f"--{name}=true"])[1].partition("=")[0] == flag


def test_what_the_launcher_of_a_template_runs(repository: Path, tiny_model: Path, drawn: Path) -> None:
    with servers.google() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        root = f"gs://{BUCKET}"
        upload(tiny_model, f"{root}/model")
        upload(drawn / "hat", f"{root}/photos")
        flags = [
            f"--input={root}/photos", f"--model_dir={root}/model", f"--output={root}/run", "--overwrite=false",
            "--runner=DataflowRunner", "--project=catalogue", "--region=europe-west4", f"--temp_location={root}/tmp",
            f"--staging_location={root}/staging", f"--template_location={root}/job", "--job_name=nightly", "--no_auth",
            "--sdk_container_image=shop/image",
        ]  # fmt: skip
        launch = repository / "deploy/dataflow/launch.py"
        done = subprocess.run(
            [sys.executable, launch, *flags], capture_output=True, text=True, check=False, cwd=repository, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1].startswith(
            f"the job was written to {root}/job: run it on an engine to complete {root}/run"
        )
        job = json.loads(storage.read_text(f"{root}/job"))
        assert job["name"] == "nightly"
        assert "shop/image" in json.dumps(job["environment"])
        assert storage.is_file(f"{root}/run/_lock")  # until the job gives it back
