from __future__ import annotations

import json

import pytest

from benchmarks import commands


def test_a_benchmark_says_what_it_measured_and_fails_below_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    commands.finish({"ratio": 0.96}, {"0.95 of the ceiling": True})
    said = json.loads(capsys.readouterr().out)
    assert said["ratio"] == 0.96
    assert {"cores", "versions"} < said.keys()
    with pytest.raises(SystemExit, match="^not reached: 0.95 of the ceiling; 3.0 times$"):
        commands.finish({"ratio": 0.9}, {"0.95 of the ceiling": False, "1.6 times": True, "3.0 times": False})
    assert json.loads(capsys.readouterr().out)["ratio"] == 0.9
