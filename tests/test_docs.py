"""The README and the docs agree with the code."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from benchmarks import recipes
from catalogue import model_dir
from catalogue.images.formats import FORMATS
from catalogue.images.spec import RESIZE_RULES
from catalogue.lists import values
from catalogue.lists.kinds import ENDINGS
from catalogue.reasons import Reason
from catalogue.storage import hosts, http_status, stores, web
from docs import cli_reference
from pipeline import records
from pipeline.run_dir import layout
from pipeline.runner import runners

PROSE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")


@pytest.fixture(scope="module")
def docs(repository: Path) -> dict[str, str]:
    """The README and every page of the docs, by path."""
    files = [repository / name for name in PROSE] + sorted((repository / "docs").rglob("*.md"))
    return {str(file.relative_to(repository)): file.read_text(encoding="utf-8") for file in files}


def table(text: str, title: str, number: int = 0) -> list[list[str]]:
    """Return the rows of a table below a heading, without the header row, each a list of cells."""
    section = re.split(r"\n#+ ", re.split(rf"(?m)^#+ {re.escape(title)}\n", text)[1])[0]
    tables = [block for block in section.strip().split("\n\n") if block.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number].splitlines()[2:]]


def shell_commands(text: str) -> list[list[str]]:
    """Return the commands in the ``sh`` blocks of a page, each a list of words."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def commands(text: str) -> list[list[str]]:
    """Return the commands of this project in the ``sh`` blocks of a page, each a list of words."""
    return [words for words in shell_commands(text) if words[:2] == ["python", "-m"]]


def test_the_readme_is_short(docs: dict[str, str]) -> None:
    assert len(docs["README.md"].splitlines()) <= 160


def test_the_tree_in_the_readme(docs: dict[str, str], repository: Path) -> None:
    block = docs["README.md"].split("## The tree")[1].split("```")[1]
    described, folder = set(), ""
    for line in block.strip().splitlines():
        name = line.split()[0]
        if line.startswith(" "):
            described.add(f"{folder}{name}")
        elif line.endswith("LICENSE"):
            described |= set(line.split())
        else:
            folder = name
            described.add(name)
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True)
    actual = set()
    for file in listed.stdout.splitlines():
        top, *folders, _ = file.split("/") if "/" in file else (file, "")
        actual.add(file if top == ".ci" or "/" not in file else f"{top}/")
        if top in ("catalogue", "trainer", "pipeline") and folders:
            actual.add(f"{top}/{folders[0]}/")
    assert described == {name for name in actual if not name.startswith(".") or name == ".ci/run"}


def test_links_lead_to_files_and_headings(docs: dict[str, str], repository: Path) -> None:
    anchors = {
        name: {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)}
        for name, text in docs.items()
    }
    found = 0
    for name, text in docs.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            file = (repository / name).parent.joinpath(path).resolve() if path else repository / name
            assert file.exists(), f"{name}: {target}"
            if anchor:
                assert anchor in anchors[str(file.relative_to(repository))], f"{name}: {target}"
            found += 1
    assert found > 60


def test_pages_link_only_to_pages_of_the_site(docs: dict[str, str], repository: Path) -> None:
    for name, text in docs.items():
        if name.startswith("docs/"):
            for target in re.findall(r"\]\((?!http|#)([^)#\s]+)", text):
                assert (repository / name).parent.joinpath(target).resolve().is_relative_to(repository / "docs"), name


def test_every_page_is_in_the_navigation(docs: dict[str, str], repository: Path) -> None:
    listed = re.findall(r"- ([\w/]+\.md)$", (repository / "mkdocs.yml").read_text(), flags=re.M)
    assert sorted(listed) == sorted(name.removeprefix("docs/") for name in docs if name.startswith("docs/"))
    index = docs["docs/index.md"]
    assert all(f"]({name})" in index for name in listed if name != "index.md")


def test_every_command_parses(docs: dict[str, str]) -> None:
    found = 0
    parsers = cli_reference.parsers()
    for name, text in docs.items():
        for words in commands(text):
            parser = parsers[f"{words[2]} {words[3]}"]
            arguments, unknown = parser.parse_known_args(words[4:])
            if words[2] == "pipeline":
                runners.refuse_unknown_beam_flags(unknown, parser.flags())
            else:
                assert not unknown, f"{name}: {words}"
            assert vars(arguments).get("model_dir") or arguments.output
            found += 1
    assert found >= 40


def test_every_recipe_is_a_command() -> None:
    found = recipes.recipes()
    assert len(found) == 13
    for words in found.values():
        assert words[:3] == ["python", "-m", "trainer"]
        arguments, unknown = cli_reference.parsers()[f"trainer {words[3]}"].parse_known_args(words[4:])
        assert not unknown
        assert arguments.model_dir or arguments.output


def test_the_reference_of_the_command_line_is_current(docs: dict[str, str]) -> None:
    assert docs["docs/reference/cli.md"] == cli_reference.page(), "run: python -m docs.cli_reference"


def test_formats_and_resize_rules(docs: dict[str, str]) -> None:
    page = docs["docs/reference/images.md"]
    assert [row[0] for row in table(page, "Images")] == [*FORMATS, "HEIC"]
    assert [row[0] for row in table(page, "Resize rules")] == [f"`{rule}`" for rule in RESIZE_RULES]


def test_kinds_of_manifests(docs: dict[str, str]) -> None:
    rows = table(docs["docs/reference/manifests.md"], "Inputs and manifests")
    kinds = {row[0]: set(re.findall(r"`(\.\w+)`", row[1])) for row in rows}
    known = [values.TEXT, values.CSV, "TSV", values.JSON_LINES, values.PARQUET, values.IMAGE]
    assert list(kinds) == ["folder", "glob", *known]
    assert kinds["CSV"] | kinds["TSV"] == {ending for ending, kind in ENDINGS.items() if kind == values.CSV}
    for kind in (values.TEXT, values.JSON_LINES):
        assert kinds[kind] == {ending for ending, own in ENDINGS.items() if own == kind}


def test_storages(docs: dict[str, str]) -> None:
    uris = table(docs["docs/guides/storage.md"], "Storage and credentials")
    schemes = {scheme for row in uris for scheme in re.findall(r"`(\w+)://`", row[0])}
    assert schemes == {"file", *filter(None, stores._KINDS)}
    said = uris[-1][1]
    limits = {"to connect": http_status.CONNECT_SECONDS, "without data": http_status.SILENCE_SECONDS}
    counts = {"images at a time": hosts.READS_PER_HOST, "redirects": web.REDIRECTS, "times": web.RETRIES}
    for words in (
        *(f"{seconds:.0f} s {what}" for what, seconds in limits.items()),
        *(f"{count} {what}" for what, count in counts.items()),
    ):
        assert words in said


def test_extras_exist(docs: dict[str, str]) -> None:
    extras = set(metadata.metadata("catalogue-classifier").get_all("Provides-Extra") or [])
    named = {name for text in docs.values() for name in re.findall(r"extra `(\w+)`", text)}
    assert len(named) >= 5
    assert extras >= named


def test_output_formats(docs: dict[str, str]) -> None:
    rows = table(docs["docs/reference/run_directory.md"], "Output formats")
    assert [row[0] for row in rows] == [f"`{name}`" for name in records.OUTPUT_FORMATS]


def test_reasons(docs: dict[str, str]) -> None:
    rows = table(docs["docs/reference/exit_codes.md"], "Reasons")
    expected = [[f"`{reason.code}`", "yes" if reason.transient else "no", reason.sentence] for reason in Reason]
    assert rows == expected


def test_the_run_directory(docs: dict[str, str]) -> None:
    block = docs["docs/reference/run_directory.md"].split("```")[1]
    names = [line.split()[0] for line in block.strip().splitlines()]
    assert names == [
        f"{layout.PREDICTIONS}/part-*", f"{layout.DEAD_LETTERS}/part-*", f"{layout.JOURNAL}/part-*", layout.STATS_FILE,
        layout.RUN_FILE, layout.REPORT_FILE, layout.METRICS_FILE, layout.SUCCESS_FILE,
    ]  # fmt: skip
    prediction = records.Prediction("u", "l", 1.0, (("l", 1.0),), "m", "h", {}).to_row()
    letter = records.DeadLetter("u", "empty", False, "m", {}).to_row()
    for name, row in (("predictions", prediction), ("dead_letters", letter)):
        line = next(line for line in block.splitlines() if line.startswith(name))
        columns = re.sub(r"\(.*?\)", "", line.split(maxsplit=1)[1]).replace(" ", "").split(",")
        assert columns == list(row)


def test_the_row_in_the_readme(docs: dict[str, str]) -> None:
    import json

    row = json.loads(docs["README.md"].split("```json\n")[1].split("```")[0])
    assert list(row) == list(records.Prediction("u", "l", 1.0, (("l", 1.0),), "m", "h", {}).to_row())


def test_the_model_directory(docs: dict[str, str], tiny_model: Path) -> None:
    block = docs["docs/reference/model_directory.md"].split("```")[1]
    described = {name.rstrip("/") for name in re.findall(r"^([\w.]+/?)", block, flags=re.MULTILINE)}
    described |= {"variables", "assets", "fingerprint.pb"}
    described -= {"label_issues.csv", "model.sig"}  # see tests/test_data_quality.py and the tests of `sign`
    assert described == {file.name for file in tiny_model.iterdir()}
    assert model_dir.INFO_FILE in described


def test_make_targets_exist(docs: dict[str, str], repository: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (repository / "Makefile").read_text(), flags=re.MULTILINE)
    named = {target for text in docs.values() for target in re.findall(r"(?m)^make ([a-z-]+)|`make ([a-z-]+)`", text)}
    assert {one or other for one, other in named} <= {*targets}


def test_every_guarantee_names_tests_that_exist(docs: dict[str, str], repository: Path) -> None:
    page = docs["docs/guarantees.md"]
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 25
    assert all("::test_" in row for row in rows)
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page + docs["README.md"]):
        assert f"\ndef {test}(" in (repository / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_flags_that_prose_names_exist(docs: dict[str, str]) -> None:
    """A renamed flag must not survive in prose."""
    known = {flag for parser in cli_reference.parsers().values() for flag in parser.flags()} | {"--help"}
    for name, text in docs.items():
        if name.startswith("docs/guides/training") or name.startswith("docs/reference") or name == "README.md":
            prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
            for flag in re.findall(r"`(--[a-z][a-z0-9-]*)", prose):
                assert flag in known or flag in BEAM_FLAGS, f"{name}: {flag}"


BEAM_FLAGS = {"--build-arg", "--runner", "--setup"}


@pytest.mark.parametrize("name", sorted(cli_reference.parsers()))
def test_help_names_what_is_required_and_ends_with_an_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    parser = cli_reference.parsers()[name]
    first, *_, last = parser.format_help().splitlines()
    assert first.startswith(f"usage: python -m {name} ")
    assert all(
        action.option_strings[0] in first for action in parser._actions if action.required and action.option_strings
    )
    assert last == f"example: {parser.example}"
    words = shlex.split(parser.example)
    assert not parser.parse_known_args(words[4:])[1]


def test_a_flag_has_one_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_MODEL_DIR", "gs://bucket/model")
    monkeypatch.setenv("COLUMNS", "500")
    lines = cli_reference.parsers()["trainer train"].format_help().splitlines()
    assert max(line.count("(default:") for line in lines) == 1


def test_the_help_of_train_fits_two_screens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shown = cli_reference.parsers()["trainer train"].format_help()
    assert len(shown.splitlines()) <= 100
    assert "\nadvanced:\n" in shown
