"""The distributed package: its dependencies, the wheel, and the archive that Beam makes with ``--setup_file``."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

PACKAGES = ("catalogue", "trainer", "pipeline")
# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "grpc": "grpcio",
    "PIL": "pillow",
    "apache_beam": "apache-beam",
    "boto3": "boto3",
    "botocore": "boto3",
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud.storage": "google-cloud-storage",
    "google.protobuf": "protobuf",
}


def imported(repository: Path) -> Iterator[tuple[str, str]]:
    """Yield every module outside this project that its packages import, with the importing file."""
    for package in PACKAGES:
        for file in (repository / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                yield from ((name, str(file)) for name in names if name.split(".")[0] not in PACKAGES)


def distribution_of(module: str) -> str:
    for name, distribution in DISTRIBUTIONS.items():
        if f"{module}.".startswith(f"{name}."):
            return distribution
    return module.split(".", maxsplit=1)[0].replace("_", "-")


def test_what_is_imported_is_declared_and_the_other_way_round(repository: Path) -> None:
    """Extras count as declared, except the extra for development, which the packages need not import."""
    required = metadata.requires("catalogue-classifier") or []
    declared = {
        re.split(r"[\[<>=; ]", line)[0].lower() for line in required if "extra == 'dev'" not in line.replace('"', "'")
    }
    used = {
        (distribution_of(name), file)
        for name, file in imported(repository)
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert {entry for entry in used if entry[0] not in declared} == set()
    # model-signing imports pyopenssl without declaring it; mkdocs-material is a command.
    assert declared - {name for name, _ in used} == {"pyopenssl", "mkdocs-material"}


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files that are packaged, without build outputs."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if name.split("/")[0] in (*PACKAGES, "setup.py", "pyproject.toml") and (repository / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)
    return folder


def run(*words: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False, env=environment or None
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["wheel", "archive"])
def test_both_commands_start_from_what_is_built(form: str, source: Path, tmp_path: Path) -> None:
    """The commands start in a new environment that shares only the dependencies."""
    if form == "wheel":
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source, cwd=tmp_path)
    else:  # as Beam does for --setup_file
        run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", tmp_path, cwd=source)
    (built,) = (path for path in tmp_path.iterdir() if path.suffix in (".whl", ".gz"))
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", built, cwd=tmp_path)
    lent = {"PYTHONPATH": sysconfig.get_path("purelib"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    where = run(python, "-c", "import catalogue, sys; print(catalogue.__file__)", cwd=tmp_path, **lent)
    assert where.startswith(str(tmp_path / "venv"))
    for module, command in (("trainer", "train"), ("trainer", "sweep"), ("pipeline", "classify")):
        assert f"usage: python -m {module} {command}" in run(
            python, "-m", module, command, "--help", cwd=tmp_path, **lent
        )
    assert "usage: python -m trainer.task" in run(python, "-m", "trainer.task", "--help", cwd=tmp_path, **lent)
    every = [
        ".".join(file.relative_to(source).with_suffix("").parts)
        for package in PACKAGES
        for file in (source / package).rglob("*.py")
        if not file.stem.startswith("__")
    ]
    run(python, "-c", f"import importlib\nfor name in {every}: importlib.import_module(name)", cwd=tmp_path, **lent)


def test_beams_programs_are_of_the_version_of_beam_that_is_tested(repository: Path) -> None:
    beam = re.search(r"^apache-beam==(\S+)", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert beam
    versions = re.findall(r"\$\(BEAM\)/\S+@v(\S+)", (repository / "Makefile").read_text())
    assert versions == [beam[1]] * 2
    assert f"FROM apache/beam_python3.11_sdk:{beam[1]} AS beam" in (repository / "Dockerfile").read_text()
