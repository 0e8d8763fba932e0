from __future__ import annotations

from trainer.data.groups import components


def test_rows_that_are_linked_through_others_are_one_group() -> None:
    found = components(6, [(0, 3), (4, 3), (5, 1)]).tolist()
    assert found[0] == found[3] == found[4]
    assert found[1] == found[5]
    assert len(set(found)) == 3
    assert len(set(components(4, []).tolist())) == 4
    assert set(components(3, [(0, 1), (1, 2), (2, 0)]).tolist()) == {0}
