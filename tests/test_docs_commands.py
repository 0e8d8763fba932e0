"""The commands of the README and the docs run on drawn photos; exceptions are listed with their reasons."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.__main__ import main as pipeline_main
from tests.test_docs import commands, shell_commands
from trainer.__main__ import main as trainer_main

REPOSITORY = Path(__file__).parents[1]
TESTED_ELSEWHERE = {
    "docs/guides/tutorials.md": "tests/test_tutorials.py runs each command with a few pictures",
    "docs/guides/recipes.md": "takes minutes to hours; benchmarks.recipes runs them, and test_docs parses them",
}
NOT_RUN = {
    "gs://": "needs a bucket; the same flags are tested on a local fake of Google Cloud Storage",
    "s3://": "needs a Flink cluster; tests/test_clusters.py runs the same flags on one",
}
OTHER_PROGRAMS = {
    "make": ".ci/run makes the targets that take minutes; the other targets need hours or Chromium",
    ".": "activates the environment that the tests run in",
    "kubectl": "needs a Kubernetes cluster; tests/test_deploy.py checks the files and tests/test_clusters.py runs them",
    "sed": "edits the file that kubectl applies",
    "docker": "needs Docker; tests/test_docker.py runs the steps of the Dockerfile",
    "gcloud": "needs a Google Cloud account",
    "IMAGE=europe-docker.pkg.dev/shop/images/catalogue-classifier": "a variable for gcloud",
    "java": "needs a Flink cluster; tests/engines.py starts the same program by its main class",
}
MORE = {
    "sweep": ["--backbone", "small", "--image-size", "32", "--epochs", "1"],  # takes only seconds
    "import": ["--preparation", "none"],  # the best preparation is ambiguous with so few photos
}


def texts() -> dict[str, str]:
    """Return the content of the README, CONTRIBUTING and each page of the docs, by path."""
    files = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    return {str(file.relative_to(REPOSITORY)): file.read_text(encoding="utf-8") for file in files}


def pages_with_commands() -> list[str]:
    return [name for name, text in texts().items() if commands(text)]


def pages() -> list[str]:
    return [name for name in pages_with_commands() if name not in TESTED_ELSEWHERE and runnable(name)]


def runnable(name: str) -> list[list[str]]:
    found = commands(texts()[name])
    return [words for words in found if not any(mark in shlex.join(words) for mark in NOT_RUN)]


@pytest.fixture
def place(drawn: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the commands refer to."""
    from tests.catalogue.model_dir.test_signature import make_keys

    photos = [str(file) for file in sorted(drawn.rglob("*.jpg"))]
    for name in ("photos", "more-photos", "catalogue"):
        shutil.copytree(drawn, tmp_path / name)
    shutil.copytree(tiny_model, tmp_path / "models/clothes")
    for name in ("photo.jpg", "another.jpg"):
        shutil.copy(photos[0], tmp_path / name)
    (tmp_path / "catalogue.csv").write_text("\n".join(["uri", *photos]))
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"uri": photos}), tmp_path / "more.parquet")
    shutil.copy(tiny_model / "model.keras", tmp_path / "classifier.keras")
    (tmp_path / "labels.txt").write_text("\n".join(sorted(os.listdir(drawn))))
    private, public = make_keys(tmp_path, "key")
    os.replace(private, tmp_path / "key.pem")
    (tmp_path / "key.pub").write_text(public)
    monkeypatch.chdir(tmp_path)
    return tmp_path


MAINS: dict[str, Callable[[list[str]], int]] = {"trainer": trainer_main, "pipeline": pipeline_main}


def run(words: list[str], keras_home: Path) -> int:
    """Run a command. `train` gets its own process, because Keras reads KERAS_HOME on import."""
    arguments = [*words[3:], *MORE.get(words[3], [])]
    if words[3] != "train":
        return MAINS[words[2]](arguments)
    environment = os.environ | {"KERAS_HOME": str(keras_home)}
    return subprocess.run([sys.executable, "-m", words[2], *arguments], env=environment, check=False).returncode


@pytest.mark.parametrize("page", pages())
def test_the_commands_of_a_page_run(
    page: str, place: Path, keras_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if any(words[3] == "merge" for words in runnable(page)):
        classify = [
            "classify",
            "--input",
            "catalogue.csv",
            "--model-dir",
            "models/clothes",
            "--output",
            "runs/shards/1",
        ]
        assert pipeline_main([*classify, "--shard", "1/1"]) == 0
    for words in runnable(page):
        output = Path(words[words.index("--output") + 1] if "--output" in words else "none")
        with contextlib.suppress(FileNotFoundError):  # an earlier command of the page may have written it
            shutil.rmtree(output)
        if words[3] in ("train", "import"):
            shutil.rmtree(words[words.index("--model-dir") + 1], ignore_errors=True)
        assert run(words, keras_home) == 0, (words, capfd.readouterr().err)


def test_commands_of_other_programs_are_listed_with_a_reason() -> None:
    found = {words[0] for text in texts().values() for words in shell_commands(text) if words[:2] != ["python", "-m"]}
    assert found == set(OTHER_PROGRAMS)


def test_all_commands_are_in_shell_blocks() -> None:
    programs = {"python", "pip", "java", *OTHER_PROGRAMS}
    for name, text in texts().items():
        for language, block in re.findall(r"(?m)^ *```(\w*)\n(.*?)```", text, flags=re.DOTALL):
            lines = [line.split() for line in block.splitlines() if line.strip()]
            assert language == "sh" or not any(words[0] in programs for words in lines), (name, block)


def test_what_is_listed_exists() -> None:
    found = [shlex.join(words) for text in texts().values() for words in commands(text)]
    assert all((REPOSITORY / name).exists() for name in TESTED_ELSEWHERE)
    for mark in NOT_RUN:
        assert any(mark in command for command in found), mark
    assert sum(len(runnable(name)) for name in pages()) >= 12
