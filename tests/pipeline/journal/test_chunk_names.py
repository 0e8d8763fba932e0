from __future__ import annotations

from pipeline.journal.chunk_names import chunk_name, is_chunk, partitions_named


def test_a_name_tells_the_partitions_unless_there_are_many() -> None:
    for partitions in ({0, 17, 1023}, {5}, set()):
        path = f"gs://bucket/run/{chunk_name(partitions)}"
        assert is_chunk(path)
        assert partitions_named(path) == partitions
    path = chunk_name(range(17))
    assert is_chunk(path)
    assert partitions_named(path) is None
    assert chunk_name({5}) != chunk_name({5})
