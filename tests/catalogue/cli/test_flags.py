from __future__ import annotations

import argparse

import pytest

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.flags import Parser, refuse_unknown


def test_a_path_may_be_a_file_uri() -> None:
    assert flags.path("file:/a%20b") == flags.path("/a b") == "/a b"
    with pytest.raises(argparse.ArgumentTypeError, match=r"^file://server/a names the host 'server'"):
        flags.path("file://server/a")


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown argument --epoch; did you mean --epochs\?"):
        refuse_unknown(["--epoch=3"], ["--epochs", "--seed"])
    refuse_unknown([], ["--epochs"])


def test_a_misspelled_flag_that_is_required_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="program")
    parser.add_argument("--data", required=True)
    parser.add_argument("--model-dir", required=True)
    with pytest.raises(SystemExit):
        parser.parse_known_args(["--dta=photos", "--unlike-any", "1", "--model-dir", "m"])
    words = "the following arguments are required: --data; did you mean --data instead of --dta?"
    assert capsys.readouterr().err == f"program: error: {words} (see program --help)\n"
