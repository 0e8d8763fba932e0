from __future__ import annotations

import collections
import zlib

import pytest

from pipeline.manifest.partitions import PARTITIONS, packet_of, partition_of


def test_packets_are_of_one_partition_and_of_similar_size() -> None:
    keys = collections.defaultdict(list)
    for number in range(300_000):
        key = f"gs://shop/{number}.jpg"
        keys[partition_of(key)].append(key)
    packets = collections.defaultdict(list)
    for partition, own in keys.items():
        for key in own:
            packets[packet_of(key, len(own))].append(partition)
    assert all(len(set(partitions)) == 1 for partitions in packets.values())
    assert 30 <= sum(map(len, packets.values())) / len(packets) <= 64
    assert max(map(len, packets.values())) < 150


@pytest.mark.parametrize(("images", "workers", "most"), [(1_000_000, 16, 1.1), (5_000_000, 64, 1.1)])
def test_packets_spread_the_work_evenly_over_many_workers(images: int, workers: int, most: float) -> None:
    """Packets are distributed by hash, as by an engine; `most` limits the ratio of the largest share to the mean.

    Partitions are fewer than packets, and would give ratios of 1.23 and 1.65.
    """
    each = images // PARTITIONS
    shares = collections.Counter[int]()
    for partition in range(PARTITIONS):
        for packet in range(-(-each // 64)):
            shares[zlib.crc32(f"{partition + PARTITIONS * packet}".encode()) % workers] += 1
    assert max(shares.values()) / (sum(shares.values()) / workers) <= most
