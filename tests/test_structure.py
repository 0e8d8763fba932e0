"""The structure of the code: import directions, cycles, lightweight imports, and tests that mirror the code."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("catalogue", "trainer", "pipeline")
HEAVY = ("tensorflow", "keras", "apache_beam")


def modules(repository: Path, package: str) -> dict[str, Path]:
    """Return every module of a package, at any depth: dotted name -> file."""
    found = {}
    for file in sorted((repository / package).rglob("*.py")):
        parts = file.relative_to(repository).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def nodes(tree: ast.AST, *, top_level: bool) -> Iterator[ast.AST]:
    """Yield the nodes of a module; with `top_level`, only those that run on import."""
    for node in ast.iter_child_nodes(tree):
        if top_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from nodes(node, top_level=top_level)


def imports(file: Path, *, top_level: bool = False) -> set[str]:
    """Return the modules that a file imports and the names imported from them, except those for type checking."""
    found = set()
    for node in nodes(ast.parse(file.read_text(encoding="utf-8")), top_level=top_level):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_modules(file: Path, known: dict[str, Path]) -> set[str]:
    """Return the `known` modules that a file imports."""
    return {name if name in known else name.rpartition(".")[0] for name in imports(file)} & set(known)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("catalogue", {"trainer", "pipeline", "demo"}),
        ("trainer", {"pipeline", "apache_beam", "demo"}),
        ("pipeline", {"trainer", "demo"}),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str], repository: Path) -> None:
    for name, file in modules(repository, package).items():
        wrong = {imported for imported in imports(file) if imported.split(".")[0] in forbidden}
        assert not wrong, f"{name} imports {wrong}"


def test_no_module_imports_itself_by_way_of_others(repository: Path) -> None:
    files = {name: file for package in PACKAGES for name, file in modules(repository, package).items()}
    graph = {name: imported_modules(file, files) for name, file in files.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize(
    "arguments", [["trainer", "--help"], ["trainer", "train", "--help"], ["trainer.task", "--help"]]
)
def test_the_trainers_help_is_light(arguments: list[str], repository: Path) -> None:
    assert loaded(arguments, repository) == []


@pytest.mark.parametrize("arguments", [["pipeline", "--help"], ["pipeline", "classify", "--help"]])
def test_the_pipelines_help_is_light(arguments: list[str], repository: Path) -> None:
    assert loaded(arguments, repository) == []


def loaded(arguments: list[str], repository: Path) -> list[str]:
    """Return the heavy packages that a command has imported when it ends."""
    code = f"""
import runpy, sys
sys.argv = {arguments!r}
try:
    runpy.run_module({arguments[0]!r}, run_name="__main__", alter_sys=True)
except SystemExit as error:
    assert not error.code, error
print()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_heavy_packages_are_imported_at_the_top_of_few_modules_of_the_shared_code(repository: Path) -> None:
    heavy = {
        name
        for name, file in modules(repository, "catalogue").items()
        if {imported.split(".")[0] for imported in imports(file, top_level=True)} & set(HEAVY)
    }
    assert heavy == {"catalogue.model_dir.graph", "catalogue.model_dir.saved_model", "catalogue.storage.beam"}


def test_functions_import_only_what_must_be_late(repository: Path) -> None:
    """Late imports are for the work after a command's cheap checks, storage clients, extras, and worker startup."""
    late = {
        name
        for package in PACKAGES
        for name, file in modules(repository, package).items()
        if imports(file) - imports(file, top_level=True)
    }
    commands = {
        f"trainer.commands.{name}"
        for name in ("evaluate", "import_model", "inspect", "predict", "preview", "sweep", "train")
    }
    assert late == commands | {
        "catalogue.cli.versions",
        "catalogue.images.formats",
        "catalogue.model_dir.signature",
        "catalogue.storage.stores",
        "pipeline.__main__",
        "pipeline.runner.jobs",
        "pipeline.runner.worker",
        "trainer.commands.sweep_flags",
    }


def test_files_are_touched_in_one_layer_only(repository: Path) -> None:
    others = re.compile(
        r"tf\.io\.(gfile|read_file|write_file)|FileSystems\.(open|create|match|exists|copy|rename|delete)\("
    )
    for package in PACKAGES:
        for name, file in modules(repository, package).items():
            found = others.search(file.read_text(encoding="utf-8"))
            assert not found or name == "catalogue.storage.beam", f"{name} uses {found and found[0]}"


def test_records_need_the_standard_library_only(repository: Path) -> None:
    found = {name.split(".")[0] for name in imports(repository / "pipeline/records.py")}
    assert found <= set(sys.stdlib_module_names)


def test_every_test_has_its_module(repository: Path) -> None:
    """Tests mirror the packages folder by folder, so that the tests of a module are easy to find."""
    for package in PACKAGES:
        for test in (repository / "tests" / package).rglob("test_*.py"):
            own = repository / test.relative_to(repository / "tests").parent / test.name.removeprefix("test_")
            assert own.is_file() or own.with_suffix("").is_dir(), f"{test} has no module or folder to test"


def test_every_folder_has_tests(repository: Path) -> None:
    for package in PACKAGES:
        for folder in {file.parent for file in modules(repository, package).values()}:
            mirrored = repository / "tests" / folder.relative_to(repository)
            assert list(mirrored.rglob("test_*.py")), f"{folder} has no tests in {mirrored}"
