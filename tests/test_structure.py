"""What must stay true of the tree: who imports whom, and what is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("tensorflow", "keras", "apache_beam")


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_imports_point_one_way(repository: Path) -> None:
    for file in (repository / "trainer").glob("*.py"):
        wrong = {name for name in imports(file) if name.split(".")[0] in ("pipeline", "apache_beam", "demo")}
        assert not wrong, f"{file} imports {wrong}"
    allowed = {"preprocessing", "model_dir", "saved_model", "bfloat16", "console", "page", "files"}
    for file in (repository / "pipeline").glob("*.py"):
        used = {name.split(".")[1] for name in imports(file) if name.startswith("trainer.")}
        assert used <= allowed, f"{file} imports trainer.{used - allowed}"


@pytest.mark.parametrize(
    "module",
    [
        f"trainer.{name}"
        for name in ("preprocessing", "model_dir", "saved_model", "bfloat16", "console", "page", "files")
    ],
)
def test_what_both_sides_share_is_light(module: str, repository: Path) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "[]"


def test_records_need_the_standard_library_only(repository: Path) -> None:
    modules = {name.split(".")[0] for name in imports(repository / "pipeline/records.py")}
    assert modules <= set(sys.stdlib_module_names)


def test_tests_mirror_the_packages(repository: Path) -> None:
    """Every module with behaviour of its own has its tests; records hold values and `page` is tested by the reports."""
    for package, without in (("trainer", {"page"}), ("pipeline", {"records"})):
        modules = {file.stem for file in (repository / package).glob("[a-z]*.py")}
        tests = {file.stem.removeprefix("test_") for file in (repository / "tests" / package).glob("test_*.py")}
        assert tests == modules - without
