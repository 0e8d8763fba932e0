from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from catalogue import storage
from catalogue.cli.progress import Progress
from pipeline.metering import watch as module
from pipeline.metering.watch import Watch


def test_the_watch_says_how_far_a_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[str, int, int | None, str]] = []
    progresses: list[Progress] = []

    class Recorded(Progress):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            progresses.append(self)

        def advance(self, steps: int = 1, note: str = "") -> None:
            super().advance(steps, note)
            shown.append((self._title, self._done, self._total, self._note))

    monkeypatch.setattr(module, "Progress", Recorded)
    watch = Watch(str(tmp_path))
    watch._interval = 0.005
    (tmp_path / "progress-b.json").touch()  # left by a killed worker
    with watch:
        for counts in (
            {"listed": 40},
            {"listed": 100},
            {"listed": 100, "wrong": 1, "classified": 30, "failed": 1},
            {"listed": 100, "wrong": 1, "classified": 97, "failed": 2},
        ):
            storage.write_text(str(tmp_path / "progress-a.json"), json.dumps(counts))
            time.sleep(0.2)
    last = {title: rest for title, *rest in shown}
    assert last == {"listing": [100, None, ""], "classifying": [100, 100, "3 failed"]}
    assert [done for title, done, *_ in shown if title == "classifying"] == [100]
    assert progresses[-1]._before == 32  # images done before the watch began, in an unknown time
    assert capsys.readouterr().err == ""  # a run of a few seconds prints no progress line


def test_work_repeated_for_a_lost_worker_never_exceeds_the_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, int | None]] = []

    class Recorded(Progress):
        def advance(self, steps: int = 1, note: str = "") -> None:
            super().advance(steps, note)
            shown.append((self._done, self._total))

    monkeypatch.setattr(module, "Progress", Recorded)
    watch = Watch(str(tmp_path))
    watch._interval = 0.005
    with watch:
        for number, counts in enumerate(({"listed": 100, "classified": 60}, {"classified": 45}, {"classified": 30})):
            storage.write_text(str(tmp_path / f"progress-{number}.json"), json.dumps(counts))
            time.sleep(0.1)
    assert shown[-1] == (100, 100)


def test_the_watch_of_a_run_that_leaves_nothing_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(str(tmp_path / "none"))
    watch._interval = 0.001
    with watch:
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
