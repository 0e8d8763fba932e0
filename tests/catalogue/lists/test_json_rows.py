from __future__ import annotations

import decimal
import json
import math
import random
import struct
import sys
import time
from collections.abc import Callable

import pytest

from catalogue.lists.json_rows import MAX_DEPTH, parsed


@pytest.mark.parametrize(
    "line",
    [
        '{"uri": "a.jpg", "label": "hat", "label": "dress"}',
        '{"uri": "a.jpg", "label": "hat", "la\\u0062el": "hat"}',
        '{"label":1,"uri":"a.jpg","label" :\t1}',
        '{"uri": "a.jpg", "other": {"x": "a: b", "label": 1, "label": 2}}',
        '{"uri": "a.jpg", "other": [{"x": 1}, [{"label": null, "y": 0, "label": null}]]}',
    ],
)
def test_a_key_twice_is_a_problem_at_every_level(line: str) -> None:
    assert parsed(line) == ({}, f"duplicate key 'label': {line}")


@pytest.mark.parametrize(
    "line",
    [
        '{"uri": "a.jpg", "label": {"uri": "label"}, "x": [{"uri": 1}, {"uri": 2}]}\n',
        '{"uri": "a\\": \\"uri\\": .jpg", "uri ": "{\\"uri\\": 1, \\"uri\\": 2}"}\r\n',
        ' \t{"": 1, "\\u0000": 2} \n',
        "{}",
    ],
)
def test_keys_that_are_not_repeated_are_no_problem(line: str) -> None:
    assert parsed(line) == (json.loads(line), "")


def test_many_keys_take_no_longer_than_the_line() -> None:
    line = "{" + ",".join(f'"{number}":0' for number in range(300_000)) + ',"7":0}'
    start = time.monotonic()
    assert parsed(line)[1].startswith("duplicate key '7'")
    assert time.monotonic() - start < 10  # a quadratic version took longer


@pytest.mark.parametrize(
    "text",
    [
        "1234567890123456.789",
        "-0.12345678901234567891",
        "1e400",
        "-1E+400",
        "1e-400",
        "4.5e-324",
        "1.00000000000000000001",
    ],
)
def test_a_number_that_a_double_would_change_is_a_decimal(text: str) -> None:
    row, _ = parsed(f'{{"uri": "a.jpg", "x": [{text}]}}')
    assert row["x"] == [decimal.Decimal(text)]
    assert isinstance(row["x"][0], decimal.Decimal)


def doubles() -> list[float]:
    chance = random.Random(0)
    found = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(3000)]
    ends = [0.0, -0.0, 0.1, 1e23, 2.0**-44, sys.float_info.max, sys.float_info.min, 5e-324]
    return [number for number in found if math.isfinite(number)] + ends


@pytest.mark.parametrize("written", [repr, "{:.17g}".format, "{:.16e}".format, "{:.30e}".format, "{:.800e}".format])
def test_a_double_is_a_double_however_it_is_written(written: Callable[[float], str]) -> None:
    for number in doubles():
        text = written(number)
        (found,) = parsed(f'{{"x": {text if set(text) & set(".e") else text + ".0"}}}')[0].values()
        assert struct.pack("<d", found) == struct.pack("<d", number)
        assert isinstance(found, float)


def test_whole_numbers_are_exact_and_no_number_is_infinite_by_accident() -> None:
    assert parsed('{"x": 12345678901234567890123, "y": Infinity}') == (
        {"x": 12345678901234567890123, "y": math.inf},
        "",
    )
    _, problem = parsed('{"x": 1e99999999999999999999}')
    assert problem.startswith("unreadable JSON, the number 1e99999999999999999999 is too large or too small: {")


@pytest.mark.parametrize(("levels", "is_wrong"), [(MAX_DEPTH - 1, False), (MAX_DEPTH, True)])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_levels_are_limited(brackets: str, levels: int, is_wrong: bool) -> None:
    inner = "[" * levels + "]" * levels if brackets == "[]" else '{"x":' * levels + "1" + "}" * levels
    assert bool(parsed(f'{{"uri": "a.jpg", "x": {inner}}}')[1]) == is_wrong


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"uri": 1} {"uri": 2}', "invalid JSON, Extra data at column 12"),
        ('{"uri": 1', "invalid JSON, Expecting ',' delimiter at column 10"),
        ("uri", "invalid JSON, Expecting value at column 1"),
        ('"uri"', "not a JSON object"),
        ("\u00a0{}", "invalid JSON, Expecting value at column 1"),
        ("{}\u00a0", "invalid JSON, Extra data at column 3"),
    ],
)
def test_other_problems_are_named(line: str, problem: str) -> None:
    assert parsed(line) == ({}, f"{problem}: {line.strip()}")
