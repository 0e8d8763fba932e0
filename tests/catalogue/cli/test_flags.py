from __future__ import annotations

import argparse

import pytest

from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.cli.flags import refuse_unknown


def test_a_path_may_be_a_file_uri() -> None:
    assert flags.path("file:/a%20b") == flags.path("/a b") == "/a b"
    with pytest.raises(argparse.ArgumentTypeError, match=r"^file://server/a names the host 'server'"):
        flags.path("file://server/a")


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown argument --epoch; did you mean --epochs\?"):
        refuse_unknown(["--epoch=3"], ["--epochs", "--seed"])
    refuse_unknown([], ["--epochs"])
