from __future__ import annotations

from pipeline.metering.measurement import NOTHING, Measurement, Total, total
from pipeline.records import EngineChoice

CPU = EngineChoice("tensorflow", "float32", "CPU")


def test_the_total_of_several_processes() -> None:
    one = Measurement({"reading": 1.0, "all": 4.0}, {16: 2}, {CPU: 32}, 100, frozenset({"a"}), 50.0)
    two = Measurement({"reading": 0.5}, {16: 1, 8: 1}, {CPU: 24}, 300, frozenset({"b"}), 40.0)
    expected = Measurement(
        {"reading": 1.5, "all": 4.0}, {16: 3, 8: 1}, {CPU: 56}, 300, frozenset({"a", "b"}), 40.0
    )  # fmt: skip
    assert total([one, two]) == expected
    combine = Total()
    parts = [combine.add_input(combine.create_accumulator(), part) for part in (one, two)]
    assert combine.extract_output(combine.merge_accumulators(parts)) == expected
    assert total([]) == NOTHING
