"""Division of work among devices; results on several devices are tested in test_loop.py and tests/test_workers.py."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from catalogue.cli.errors import Fault, UserError
from catalogue.model_dir import bfloat16
from trainer.fitting import distribution, precision
from trainer.fitting.distribution import Devices


class Strategy:
    """Stand-in for a `tf.distribute` strategy, with only its number of replicas."""

    def __init__(self, replicas: int) -> None:
        self.num_replicas_in_sync = replicas


@pytest.mark.parametrize("count", [1, 5, 7, 8, 16])
@pytest.mark.parametrize(("workers", "replicas"), [(1, 1), (1, 4), (2, 8), (3, 3)])
def test_every_item_has_one_place_in_order(count: int, workers: int, replicas: int) -> None:
    numbers: list[int] = []
    for worker in range(workers):
        devices = Devices(Strategy(replicas), worker, workers)  # type: ignore[arg-type]
        parts, counts = devices.parts(count)
        assert len(parts) == replicas // workers
        assert parts.shape == counts.shape
        numbers += parts[counts].tolist()
        local, counts = devices.parts(count, local=True)
        assert local[counts].tolist() == list(range(count))
    assert numbers == list(range(count))


def test_without_a_cluster_there_is_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})):
        monkeypatch.setenv("TF_CONFIG", text)
        devices = distribution.find()
        assert (devices.worker, devices.workers, devices.replicas, devices.is_chief) == (0, 1, 1, True)


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), (1, 2)),
        ({"chief": ["c:1"], "worker": ["a:1", "b:1"]}, ("chief", 0), (0, 3)),
        ({"chief": ["c:1"], "worker": ["a:1", "b:1"]}, ("worker", 0), (1, 3)),
    ],
)
def test_numbers_the_workers_of_a_cluster(
    cluster: Any, task: tuple[str, int], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({"cluster": cluster, "task": {"type": task[0], "index": task[1]}})
    monkeypatch.setenv("TF_CONFIG", text)
    assert distribution._cluster() == expected


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
    ],
)
def test_a_cluster_that_cannot_be_used_is_reported(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG is invalid"):
        distribution.find()


def test_values_are_those_of_the_chief() -> None:
    devices = distribution.find()
    arrays = [np.arange(3.0, dtype=np.float32), np.array([2**31 + 1], np.uint32)]
    for array, shared in zip(arrays, devices.from_chief(arrays), strict=True):
        np.testing.assert_array_equal(array, shared)
    assert devices.json_from_chief({"a": [1, 0.1]}) == {"a": [1, 0.1]}
    devices.check_same("photos", ["a"])


def test_a_worker_with_other_photos_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(Strategy(2), 1, 2)  # type: ignore[arg-type]
    monkeypatch.setattr(Devices, "from_chief", lambda self, arrays: [array + 1 for array in arrays])
    with pytest.raises(Fault, match="worker 1 found different photos than worker 0"):
        devices.check_same("photos", ["a"])


def test_precision_is_half_on_gpus_only() -> None:
    assert precision.dtype_policy("auto", 0) == "float32"
    assert precision.dtype_policy("auto", 1) == "mixed_float16"
    assert precision.dtype_policy("mixed_bfloat16", 0) == "mixed_bfloat16"


def test_frozen_layers_are_in_bfloat16_on_one_processor_that_supports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Devices(Strategy(1)), Devices(Strategy(2))  # type: ignore[arg-type]
    monkeypatch.setattr(bfloat16, "is_native", lambda: True)
    assert precision.frozen_in_bfloat16("auto", one)
    assert not precision.frozen_in_bfloat16("float32", one)
    assert not precision.frozen_in_bfloat16("mixed_bfloat16", one)  # the whole network is in bfloat16 already
    assert not precision.frozen_in_bfloat16("auto", two)
    assert not precision.frozen_in_bfloat16("auto", dataclasses.replace(one, gpus=1))
    monkeypatch.setattr(bfloat16, "is_native", lambda: False)
    assert not precision.frozen_in_bfloat16("auto", one)
