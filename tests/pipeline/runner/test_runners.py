"""The choice of a runner and its workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

from catalogue.cli.errors import UserError
from pipeline.runner import runners


@pytest.mark.parametrize(
    ("flags", "runner", "mode", "workers"),
    [
        ([], "FnApiRunner", "multi_processing", 8),
        (["--runner=DirectRunner"], "FnApiRunner", "multi_processing", 8),
        (["--direct_num_workers=1"], "FnApiRunner", "in_memory", 1),
        (["--direct_num_workers=3"], "FnApiRunner", "multi_processing", 3),
        (["--direct_num_workers", "0"], "FnApiRunner", "multi_processing", 8),
        (["--direct_running_mode=multi_threading"], "FnApiRunner", "multi_threading", 8),
        (["--runner=FlinkRunner"], "FlinkRunner", "in_memory", 1),
    ],
)
def test_defaults_of_beam(
    flags: list[str], runner: str, mode: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "cores", lambda: 8)
    monkeypatch.setattr(runners, "memory", lambda: 32 * 2**30)
    monkeypatch.setattr(runners, "has_gpu", lambda: False)
    options = runners.beam_options(flags)
    direct = options.view_as(DirectOptions)
    assert options.view_as(StandardOptions).runner == runner
    assert (direct.direct_running_mode, direct.direct_num_workers) == (mode, workers)


@pytest.mark.parametrize(("gigabytes", "mode", "workers"), [(8, "multi_processing", 5), (1, "in_memory", 1)])
def test_fewer_workers_where_memory_is_short(
    gigabytes: int, mode: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "cores", lambda: 8)
    monkeypatch.setattr(runners, "memory", lambda: gigabytes * 2**30)
    monkeypatch.setattr(runners, "has_gpu", lambda: False)
    options = runners.beam_options([])
    direct = options.view_as(DirectOptions)
    assert (direct.direct_running_mode, direct.direct_num_workers) == (mode, workers)
    assert runners.division_of_cores(options, None) == (1, 8 // workers)


@pytest.mark.parametrize(
    ("flags", "mode", "workers"),
    [
        ([], "multi_threading", 8),
        (["--direct_num_workers=1"], "in_memory", 1),
        (["--direct_running_mode=multi_processing"], "multi_processing", 8),
    ],
)
def test_a_gpu_has_one_network(flags: list[str], mode: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "cores", lambda: 8)
    monkeypatch.setattr(runners, "memory", lambda: 8 * 2**30)
    monkeypatch.setattr(runners, "has_gpu", lambda: True)
    direct = runners.beam_options(flags).view_as(DirectOptions)
    assert (direct.direct_running_mode, direct.direct_num_workers) == (mode, workers)


@pytest.mark.parametrize(
    ("flags", "megabytes", "mode"),
    [
        ([], 9, "multi_processing"),
        ([], 240, "multi_threading"),
        (["--direct_running_mode=multi_processing"], 240, "multi_processing"),
        (["--direct_running_mode", "multi_processing"], 240, "multi_processing"),
        (["--direct_num_workers=1"], 240, "in_memory"),
        (["--runner=FlinkRunner"], 240, "in_memory"),
    ],
)
def test_workers_share_large_weights(
    flags: list[str], megabytes: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "cores", lambda: 8)
    monkeypatch.setattr(runners, "memory", lambda: 32 * 2**30)
    monkeypatch.setattr(runners, "has_gpu", lambda: False)
    options = runners.beam_options(flags)
    runners.share_weights(options, flags, megabytes * 10**6)
    assert options.view_as(DirectOptions).direct_running_mode == mode


@pytest.mark.parametrize(
    ("flags", "threads", "expected"),
    [
        (["--direct_num_workers=1"], None, (1, 8)),
        (["--direct_num_workers=2", "--direct_running_mode=multi_threading"], None, (2, 4)),
        (["--direct_num_workers=2", "--direct_running_mode=multi_processing"], None, (1, 4)),
        (["--direct_num_workers=0", "--direct_running_mode=multi_processing"], None, (1, 1)),
        (["--direct_num_workers=0", "--direct_running_mode=multi_threading"], None, (8, 1)),
        (["--direct_num_workers=99", "--direct_running_mode=multi_threading"], None, (99, 1)),
        (["--direct_num_workers=2", "--direct_running_mode=multi_processing"], 3, (1, 3)),
        (["--runner=FlinkRunner"], None, (None, 1)),
        (["--runner=FlinkRunner"], 2, (None, 2)),
    ],
)
def test_the_cores_are_divided_among_the_workers(
    flags: list[str], threads: int | None, expected: tuple[int | None, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "cores", lambda: 8)
    assert runners.division_of_cores(runners.beam_options(flags), threads) == expected


def test_nothing_is_lost_in_a_bundle_that_takes_seconds(tmp_path: Path, peak_of: Callable[[str, Path], int]) -> None:
    """Beam's own threads would lose some of these rows between two steps, or report sizes of terabytes."""
    (tmp_path / "list.txt").write_text("".join(f"{n}.jpg\n" for n in range(400_000)))
    body = """
import resource
import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to
from pipeline.runner.runners import beam_options, runner_for
from pipeline.config import Manifest
from pipeline.manifest.grouping import GroupByLocation
from pipeline.manifest.reading import ReadManifest
from pipeline.metering.meter import MeterHandle
from pipeline.journal.chunk_files import Settings
from pipeline.journal.saved import SavedResults
from catalogue.images.spec import Limits
saved = SavedResults(sys.argv[1] + ".d", Settings("model", 3, 5, Limits()))
resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
options = beam_options(["--direct_num_workers=2", "--direct_running_mode=multi_threading"])
with beam.Pipeline(runner=runner_for(options), options=options) as pipeline:
    rows = (pipeline | ReadManifest(Manifest((sys.argv[1],)), MeterHandle(sys.argv[1] + ".d"))).rows
    listed = (rows.results, pipeline | "nothing known" >> beam.Create([])) | GroupByLocation(None, saved)
    assert_that(listed | beam.combiners.Count.Globally(), equal_to([400_000]))
"""
    assert peak_of(body, tmp_path / "list.txt") < 2 * 2**30


def test_flags_of_beam_are_known() -> None:
    runners.refuse_unknown_beam_flags(["--project=shop", "--region", "europe-west4", "--num_workers=3"], [])
    with pytest.raises(UserError, match="unknown argument --regoin; did you mean --region"):
        runners.refuse_unknown_beam_flags(["--regoin=x"], [])
