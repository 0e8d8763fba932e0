from __future__ import annotations

from pipeline.journal.chunk_names import chunk_name, is_chunk, packets_named


def test_a_name_tells_the_packets_unless_there_are_many() -> None:
    for packets in ({0, 17, 1023}, {5}, set(), {2**24 - number for number in range(1, 34)}):
        name = chunk_name(packets)
        assert len(name) <= 255
        path = f"gs://bucket/run/{name}"
        assert is_chunk(path)
        assert packets_named(path) == packets
    path = chunk_name(range(34))
    assert is_chunk(path)
    assert packets_named(path) is None
    assert chunk_name({5}) != chunk_name({5})
    assert packets_named("run/chunk-5 (copy)") is None
