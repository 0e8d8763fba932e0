from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from catalogue import storage
from catalogue.cli.errors import UserError


@pytest.mark.parametrize(
    ("path", "scheme"),
    [("gs://b/a", "gs"), ("S3://b", "s3"), ("/a/b", ""), ("a:b", ""), ("a/b://c", ""), ("https://h/a", "https")],
)
def test_what_is_remote(path: str, scheme: str) -> None:
    assert storage.scheme(path) == scheme
    assert storage.is_remote(path) is bool(scheme)


def test_a_path_means_the_same_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/../b/") == f"{tmp_path}/b"
    assert storage.absolute("gs://shop/run/") == "gs://shop/run"


@pytest.mark.parametrize("uri", ["file:///a%20b/c", "FILE:///a%20b/c", "file://localhost/a b/c/", "/a b/c"])
def test_file_uris_are_paths(uri: str) -> None:
    assert storage.absolute(uri) == "/a b/c"


def test_places_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is on the web, where only images can be read"):
        storage.check("https://shop/list.csv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"s3:// needs the extra aws: pip install -e '\.\[aws\]'"):
        storage.check("s3://shop/list.csv")
