from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter

from pipeline.metering.counts import counted
from pipeline.metering.measurement import READING
from pipeline.metering.meter import NAMESPACE, Meter, MeterHandle, peak_bytes
from pipeline.records import EngineChoice, FinishedImage, ListedImage, Result

CPU = EngineChoice("tensorflow", "float32", "CPU")


def test_a_process_has_one_meter_for_each_run(tmp_path: Path) -> None:
    handle = MeterHandle(str(tmp_path / "a"))
    sent = pickle.loads(pickle.dumps([handle, handle]))  # each step of a graph gets its own copy
    found: list[Meter] = []
    threads = [threading.Thread(target=lambda n=n: found.append(sent[n % 2].get())) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert MeterHandle(str(tmp_path / "a")).get() is not found[0]


def test_what_is_taken_is_taken_once(tmp_path: Path) -> None:
    own = Meter(str(tmp_path))
    with own.timing("decoding"):
        time.sleep(0.02)
    own.add_batch(16, CPU)
    own.add_batch(3, CPU)
    own.add_batch(16, CPU)
    first = own.take()
    assert 0.02 <= first.seconds["decoding"] < 1
    assert (first.batches, first.engines) == ({16: 2, 3: 1}, {CPU: 35})
    assert first.first == pytest.approx(time.time(), abs=5)
    assert first.peak_bytes > 10 * 2**20
    second = own.take()
    assert (second.seconds, second.batches, second.engines, second.first) == ({}, {}, {}, None)
    assert second.processes == first.processes


def test_a_bundle_has_what_its_thread_did(tmp_path: Path) -> None:
    own, taken = Meter(str(tmp_path)), []
    own.add_batch(16, CPU)

    def other() -> None:
        own.add_batch(3, CPU)
        taken.append(own.take().engines)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert [*taken, own.take().engines] == [{CPU: 3}, {CPU: 16}]


def test_the_peak_is_what_the_system_says() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("/proc is not available")
    assert peak_bytes() == pytest.approx(int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024, rel=0.05)


def test_while_bundles_run_others_can_see_how_far_they_are(tmp_path: Path) -> None:
    own, other = Meter(str(tmp_path)), Meter(str(tmp_path))
    for one in (own, other):
        one._interval = 0.01
        one.begin()
    own.count(listed=10, classified=3)
    other.count(classified=2, failed=1)
    for _ in range(500):
        if counted(str(tmp_path)) == {"listed": 10, "classified": 5, "failed": 1}:
            break
        time.sleep(0.01)
    assert counted(str(tmp_path)) == {"listed": 10, "classified": 5, "failed": 1}
    own.end()
    other.end()
    assert counted(str(tmp_path / "none")) == {}


def test_nothing_is_written_after_the_last_bundle_has_ended(tmp_path: Path) -> None:
    """The run directory is cleaned up after the last bundle; a file written later would stay there forever."""
    own = Meter(str(tmp_path))
    own._interval = 0.001
    for number in range(100):
        own.begin()
        own.count(classified=1)
        time.sleep(0.002 * (number % 3))
        own.end()
        for file in tmp_path.iterdir():
            file.unlink()
        time.sleep(0.003)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    own = Meter(str(tmp_path / "gone"))
    own._interval = 0.001
    with own.working():
        own.count(classified=1)
        time.sleep(0.05)
    assert not (tmp_path / "gone").exists()


class _WorkFn(beam.DoFn):
    """DoFn that uses the meter as the steps of a run do."""

    def __init__(self, handle: MeterHandle) -> None:
        self._handle = handle

    def process(self, number: int) -> Iterator[int]:
        meter = self._handle.get()
        with meter.timing(READING):
            meter.add_bytes(1000 * number)
        meter.add_batch(number, EngineChoice("openvino", "float32", "CPU"))
        meter.count(classified=number)
        meter.begin_listing(str(number))
        meter.count_listed(str(number), 10, 1)
        failed = Result("/a", reason="not_found")
        meter.count_finished(FinishedImage(ListedImage("/a", (("a", {}), ("./a", {}))), failed))
        yield number


def test_engines_show_what_a_run_does(tmp_path: Path) -> None:
    """The counts are Beam metrics, which Flink, Spark and Dataflow show in their web interfaces."""
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | beam.Create([2, 3]) | beam.ParDo(_WorkFn(MeterHandle(str(tmp_path))))
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    counters = {one.key.metric.name: one.committed for one in found["counters"]}
    assert counters == {"classified": 5, "listed": 20, "wrong": 2, "failed": 4, "failed_not_found": 4}
    distributions = {one.key.metric.name: one.committed for one in found["distributions"]}
    assert (distributions["image_bytes"].sum, distributions["image_bytes"].max) == (5000, 3000)
    assert (distributions["batch_size"].count, distributions["batch_size"].min) == (2, 2)
    assert distributions["reading_microseconds"].count == 2
