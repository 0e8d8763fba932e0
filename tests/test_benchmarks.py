from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import commands


def test_a_benchmark_says_what_it_measured_and_fails_below_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    commands.finish({"rounds": (0.961234, 2), "text": {"of": 1234.56}}, {"0.95 of the ceiling": True})
    said = json.loads(capsys.readouterr().out)
    assert {"rounds": [0.9612, 2], "text": {"of": 1235.0}}.items() <= said.items()
    assert {"benchmark", "cores", "versions"} < said.keys()
    with pytest.raises(SystemExit, match=r"^limits not met: 0\.95 of the ceiling; 3\.0 times$"):
        commands.finish({"ratio": 0.9}, {"0.95 of the ceiling": False, "1.6 times": True, "3.0 times": False})
    assert json.loads(capsys.readouterr().out)["ratio"] == 0.9


def test_the_functions_that_techniques_replace_exist() -> None:
    """The test uses a process of its own, because the functions stay replaced."""
    program = """
from benchmarks.techniques import VARIANTS
changes = [variant for variant in VARIANTS.values() if variant.change]
for variant in changes:
    variant.change(*["teachers"] * variant.needs_teachers)
print(len(changes))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
