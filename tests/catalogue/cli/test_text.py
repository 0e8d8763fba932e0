from __future__ import annotations

import pytest

from catalogue.cli.logs import print_line, say
from catalogue.cli.progress import Progress
from catalogue.cli.text import visible


def test_terminal_control_characters_are_shown_as_escapes() -> None:
    assert visible("hat, 帽子 and כובע – 1") == "hat, 帽子 and כובע – 1"
    assert visible("\x1b]0;title\x07\x9b2J\r\n\t") == r"\x1b]0;title\x07\x9b2J\x0d\x0a\x09"
    assert visible("a\u202eb\u2066c\u200fd\u2028e") == r"a\u202eb\u2066c\u200fd\u2028e"
    assert visible("\u200fa\u202e", keep="\u200f") == "\u200fa" + r"\u202e"


def test_names_do_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "hat\x1b[2J\u202e"
    print_line(f"label {name}\n  0.9")
    say(f"no photos in {name}")
    progress = Progress("reading", 1, "photos")
    progress.advance(1, name)
    progress._show(final=True)
    found = capsys.readouterr()
    shown = r"hat\x1b[2J\u202e"
    assert found.out == f"label {shown}\n  0.9\n"
    assert found.err.startswith(f"no photos in {shown}\n")
    assert shown in found.err.splitlines()[-1]
    assert "\x1b" not in found.err
