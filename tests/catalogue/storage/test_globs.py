from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalogue import storage
from catalogue.storage import globs


def test_a_link_hides_no_folder(tmp_path: Path) -> None:
    storage.write_text(f"{tmp_path}/photos/zeta/a.jpg", "x")
    storage.write_text(f"{tmp_path}/photos/.hidden", "x")
    (tmp_path / "photos/all").symlink_to("zeta")
    found = {os.path.relpath(file.location, tmp_path / "photos") for file in globs.in_folder(str(tmp_path / "photos"))}
    assert found == {"all/a.jpg", "zeta/a.jpg"}


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        ("{tmp}/photos", "{tmp}/photos/run/run.json", True),
        ("{tmp}/photos", "{tmp}/photos-of-others/run.json", False),
        ("{tmp}/photos/*.json", "{tmp}/photos/run.json", True),
        ("{tmp}/photos/*.jpg", "{tmp}/photos/run.json", False),
        ("{tmp}/**/run.json", "{tmp}/photos/a/b/run.json", True),
        ("gs://shop/photos", "gs://shop/photos/run.json", True),
        ("gs://shop/photos", "gs://shop/photographs/run.json", False),
    ],
)
def test_whether_an_input_names_a_file_that_does_not_exist_yet(
    tmp_path: Path, where: str, path: str, expected: bool
) -> None:
    (tmp_path / "photos").mkdir()
    assert globs.names(where.format(tmp=tmp_path), path.format(tmp=tmp_path)) is expected
