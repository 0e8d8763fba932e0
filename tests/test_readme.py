"""What the README says is what the code does."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from benchmarks import recipes
from catalogue import model_dir
from catalogue.cli import flags
from catalogue.images.formats import FORMATS
from catalogue.images.spec import RESIZE_RULES
from catalogue.lists import values
from catalogue.lists.kinds import ENDINGS
from catalogue.reasons import Reason
from catalogue.storage import hosts, http_status, stores, web
from pipeline import classify_flags, merge_flags, records
from pipeline.run_dir import layout
from pipeline.runner import runners
from trainer.commands import (
    evaluate_flags,
    import_flags,
    inspect_flags,
    predict_flags,
    preview_flags,
    sign_flags,
    sweep_flags,
    train_flags,
)

PARSERS = {
    "trainer preview": preview_flags.add_arguments,
    "trainer train": train_flags.add_arguments,
    "trainer sweep": sweep_flags.add_arguments,
    "trainer import": import_flags.add_arguments,
    "trainer evaluate": evaluate_flags.add_arguments,
    "trainer inspect": inspect_flags.add_arguments,
    "trainer predict": predict_flags.add_arguments,
    "trainer sign": sign_flags.add_arguments,
    "pipeline classify": classify_flags.add_arguments,
    "pipeline merge": merge_flags.add_arguments,
}


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def parser(name: str) -> flags.Parser:
    made = flags.Parser(prog=name)
    PARSERS[name](made)
    flags.add_output_arguments(made)
    return made


def test_the_file_map_is_the_tree(readme: str, repository: Path) -> None:
    block = readme.split("## The files")[1].split("```")[1]
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
    actual = {name for name in actual if not name.startswith(".") or name == ".ci/run"}
    assert described == actual


def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(repository: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"):
        text = (repository / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (repository / name).parent.joinpath(target).exists(), f"{name} links to {target}"
        assert not re.findall(
            r"\b[A-Z]{3,}_[A-Z]{3,}\b(?<!AIP_MODEL_DIR)(?<!CATALOGUE_CLASSIFIER)",
            re.sub(r"`[^`]*`|[A-Z]+_[A-Z]+_[A-Z]+|RUN_DIR", "", text),
        )


def test_every_command_in_it_and_in_docs_is_one(repository: Path, readme: str) -> None:
    found = 0
    texts = [readme, *(file.read_text(encoding="utf-8") for file in (repository / "docs").rglob("*.md"))]
    for block in re.findall(r"```sh\n(.*?)```", "\n".join(texts), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] != ["python", "-m"]:
                continue
            arguments, unknown = parser(f"{words[2]} {words[3]}").parse_known_args(words[4:])
            if words[2] == "pipeline":
                runners.refuse_unknown_beam_flags(unknown, [])
            else:
                assert not unknown
            assert vars(arguments).get("model_dir") or arguments.output
            found += 1
    assert found >= 10


def test_every_recipe_is_a_command(readme: str) -> None:
    found = recipes.recipes()
    assert len(found) == 13
    for words in found.values():
        assert words[:3] == ["python", "-m", "trainer"]
        arguments, unknown = parser(f"trainer {words[3]}").parse_known_args(words[4:])
        assert not unknown
        assert arguments.model_dir or arguments.output


def table_under(readme: str, title: str, number: int = 0) -> list[list[str]]:
    """The rows of a table below a title, without its head, each a list of cells."""
    section = re.split(r"\n##+ ", readme.split(f"\n## {title}\n")[1])[0]
    tables = [block for block in section.strip().split("\n\n") if block.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number].splitlines()[2:]]


def test_the_tables_of_flags(readme: str) -> None:
    for number, (name, add_arguments) in enumerate(PARSERS.items()):
        made = flags.Parser(prog=name)
        add_arguments(made)
        expected = []
        for action in made._actions:
            flag = action.option_strings[0] if action.option_strings else str(action.metavar)
            default = "" if action.default is None or action.default is False else str(action.default)
            if flag != "-h":
                words = f"{action.help}" + (f" ({', '.join(action.choices)})" if action.choices else "")
                expected.append([f"`{flag}`", "required" if action.required else default, words])
        assert f"`python -m {name}`" in readme
        assert table_under(readme, "Flags", number) == expected


def test_the_tables_of_formats_and_resize_rules(readme: str) -> None:
    assert [row[0] for row in table_under(readme, "Images", 0)] == [*FORMATS, "HEIC"]
    assert [row[0] for row in table_under(readme, "Images", 1)] == [f"`{rule}`" for rule in RESIZE_RULES]


def test_the_tables_of_manifests(readme: str) -> None:
    kinds = {row[0]: set(re.findall(r"`(\.\w+)`", row[1])) for row in table_under(readme, "Manifests", 0)}
    assert list(kinds) == [
        "folder",
        "glob",
        values.TEXT,
        values.CSV,
        "TSV",
        values.JSON_LINES,
        values.PARQUET,
        values.IMAGE,
    ]
    assert kinds["CSV"] | kinds["TSV"] == {ending for ending, kind in ENDINGS.items() if kind == values.CSV}
    for kind in (values.TEXT, values.JSON_LINES):
        assert kinds[kind] == {ending for ending, own in ENDINGS.items() if own == kind}


def test_the_table_of_storages(readme: str) -> None:
    uris = table_under(readme, "Storage")
    schemes = {scheme for row in uris for scheme in re.findall(r"`(\w+)://`", row[0])}
    assert schemes == {"file", *filter(None, stores._KINDS)}
    said = uris[-1][1]
    limits = {"to connect": http_status.CONNECT_SECONDS, "without a byte": http_status.SILENCE_SECONDS}
    counts = {"reads at a time": hosts.READS_PER_HOST, "redirects": web.REDIRECTS, "times more": web.RETRIES}
    for words in (
        *(f"{seconds:.0f} s {what}" for what, seconds in limits.items()),
        *(f"{count} {what}" for what, count in counts.items()),
    ):
        assert words in said
    assert setup_extras() >= set(re.findall(r"the extra `(\w+)`", readme))


def setup_extras() -> set[str]:
    return set(metadata.metadata("catalogue-classifier").get_all("Provides-Extra") or [])


def test_the_table_of_output_formats(readme: str) -> None:
    assert [row[0] for row in table_under(readme, "Output formats")] == [f"`{name}`" for name in records.OUTPUT_FORMATS]


def test_the_table_of_reasons(readme: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (.*) \|$", readme, flags=re.MULTILINE)
    assert rows == [(reason.code, "yes" if reason.transient else "no", reason.sentence) for reason in Reason]


def test_the_run_directory(readme: str) -> None:
    block = readme.split("## The run directory")[1].split("```")[1]
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


def test_the_model_directory(readme: str, tiny_model: Path) -> None:
    block = readme.split("## The model directory")[1].split("```")[1]
    described = {name.rstrip("/") for name in re.findall(r"^([\w.]+/?)", block, flags=re.MULTILINE)}
    described |= {"variables", "assets", "fingerprint.pb"}
    described.remove("label_issues.csv")  # of pretrained networks, see tests/test_data_quality.py
    assert described == {file.name for file in tiny_model.iterdir()}
    assert model_dir.INFO_FILE in described


def test_defaults_of_the_make_targets(repository: Path, readme: str) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (repository / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"^make (\w+)", readme, flags=re.MULTILINE):
        assert target in targets


def test_every_guarantee_names_tests_that_exist(repository: Path) -> None:
    text = (repository / "docs/guarantees.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert len(rows) > 25
    assert all("::test_" in row for row in rows)
    for file, test in named:
        assert f"\ndef {test}(" in (repository / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_links_in_docs_lead_to_files_and_titles(repository: Path) -> None:
    found = 0
    for file in [repository / "README.md", *(repository / "docs").rglob("*.md")]:
        text = file.read_text(encoding="utf-8")
        titles = {
            re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)
        }
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in titles, f"{file.name}: {target}"
            elif "://" not in target:
                assert (file.parent / target.partition("#")[0]).exists(), f"{file.name}: {target}"
            found += 1
    assert found > 20
