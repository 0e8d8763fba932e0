"""What the README says is what the code does."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline import classify, output, records
from trainer import console, inference, model_dir, task
from trainer.preprocessing import FORMATS, Reason

PARSERS = {
    "trainer train": task.add_arguments,
    "trainer evaluate": inference.add_evaluate_arguments,
    "trainer predict": inference.add_predict_arguments,
    "pipeline classify": classify.add_arguments,
}


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def parser(name: str) -> console.Parser:
    made = console.Parser(prog=name)
    PARSERS[name](made)
    console.add_output_arguments(made)
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
        top, _, rest = file.partition("/")
        if top in ("trainer", "pipeline") and not rest.startswith("__init__"):
            actual.add(file)
        if not top.startswith(".") or file == ".ci/run":
            actual.add(f"{top}/" if rest and top != ".ci" else file)
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


def test_every_command_in_it_is_one(readme: str) -> None:
    found = 0
    for block in re.findall(r"```sh\n(.*?)```", readme, flags=re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] != ["python", "-m"]:
                continue
            arguments, unknown = parser(f"{words[2]} {words[3]}").parse_known_args(words[4:])
            if words[2] == "pipeline":
                classify.refuse_unknown_beam_flags(unknown, [])
            else:
                assert not unknown
            assert arguments.model_dir
            found += 1
    assert found >= 5


def test_every_flag_is_in_it(readme: str) -> None:
    block = readme.split("## Commands")[1].split("```")[1]
    for name in PARSERS:
        section = re.split(r"python -m (?=\w)", block.split(f"python -m {name}")[1])[0]
        shown = set(re.findall(r"--[\w-]+", section))
        assert shown == set(parser(name).flags()) - {"--help", "--verbose", "--log-file"}


def test_the_table_of_reasons(readme: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (.*) \|$", readme, flags=re.MULTILINE)
    assert rows == [(reason.code, "yes" if reason.transient else "no", reason.sentence) for reason in Reason]


def test_the_formats(readme: str) -> None:
    assert f"Formats: {', '.join(FORMATS)}," in readme


def test_the_run_directory(readme: str) -> None:
    block = readme.split("## The run directory")[1].split("```")[1]
    names = [line.split()[0] for line in block.strip().splitlines()]
    assert names == [
        f"{output.PREDICTIONS}/part-*", f"{output.DEAD_LETTERS}/part-*", output.STATS_FILE, output.RUN_FILE,
        output.REPORT_FILE, output.SUCCESS_FILE,
    ]  # fmt: skip
    prediction = records.Prediction("u", "l", 1.0, (("l", 1.0),), "m", "h", {}, "/u").to_row()
    letter = records.DeadLetter("u", "empty", False, "m", {}).to_row()
    for name, row in (("predictions", prediction), ("dead_letters", letter)):
        line = next(line for line in block.splitlines() if line.startswith(name))
        columns = re.sub(r"\(.*?\)", "", line.split(maxsplit=1)[1]).replace(" ", "").split(",")
        assert columns == list(row)


def test_the_model_directory(readme: str, tiny_model: Path) -> None:
    block = readme.split("## The model directory")[1].split("```")[1]
    described = {name.rstrip("/") for name in re.findall(r"^([\w.]+/?)", block, flags=re.MULTILINE)}
    described |= {"variables", "assets", "fingerprint.pb"}
    assert described == {file.name for file in tiny_model.iterdir()}
    assert model_dir.INFO_FILE in described


def test_defaults_of_the_make_targets(repository: Path, readme: str) -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (repository / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"^make (\w+)", readme, flags=re.MULTILINE):
        assert target in targets
