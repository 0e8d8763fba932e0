from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.sides import find_sides


@pytest.mark.parametrize(("dropped", "warns"), [(1, False), (4, True)])
def test_dropping_many_photos_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dropped: int, warns: bool
) -> None:
    files = [tmp_path / "photos" / label / f"{number}.jpg" for label in ("hat", "shoes") for number in range(10)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "drop.csv").write_text("\n".join(["uri", *map(str, files[:dropped])]))
    sides = find_sides(str(tmp_path / "photos"), None, None, str(tmp_path / "drop.csv"))
    assert len(sides.training) == 20 - dropped
    assert ("unless each was checked, the accuracy will be too high" in capsys.readouterr().err) == warns
