from __future__ import annotations

import importlib.util
import re
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


@pytest.mark.parametrize(
    "uri",
    [
        "file:///a%20b/c",
        "FILE:///a%20b/c",
        "file:/a%20b/c",  # as written by Java
        "File:/a b/c",
        "file://localhost/a b/c/",
        "file://LocalHost/a%20b/c",
        "file:////a b/c",
        "file:///%2Fa b/c",
        "file:///a b/x/%2E%2E/c",
        "/a b/c",
    ],
)
def test_file_uris_are_paths(uri: str) -> None:
    assert storage.absolute(uri) == "/a b/c"


def test_file_uris_keep_the_characters_of_their_path() -> None:
    path = "/größe/100%/a?b#c\n\\.jpg"
    assert storage.without_file_scheme(Path(path).as_uri()) == path
    for path in ("/file:/a", "file", "files:/a", "a/file:/b", "gs://file:/a"):
        assert storage.without_file_scheme(path) == path


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file://server/share.jpg", "names the host 'server', but only local files can be read"),
        ("file://me:secret@server/share.jpg", "names the host 'server'"),
        ("file://localhosts/a.jpg", "names the host 'localhosts'"),
        ("file://local%68ost/a.jpg", "names the host"),
        ("file://127.0.0.1/a.jpg", "names the host '127.0.0.1'"),
        ("file://photos", "names the host 'photos'"),
        ("file://C:/x.jpg", "names the Windows drive C: give the path on this machine"),
        ("file:///c:/x.jpg", "names the Windows drive c"),
        ("file:/C|/x.jpg", "names the Windows drive C"),
        ("file:C:\\x.jpg", "names the Windows drive C"),
        ("file:a.jpg", "has no absolute path: write file:///PATH"),
        ("file:", "has no absolute path"),
        ("file://", "has no absolute path"),
        ("file://localhost", "has no absolute path"),
        ("file:\\\\server\\a.jpg", "has no absolute path"),
        ("file:///caf%E9.jpg", "names a path that is not UTF-8: rename the file"),
        ("file:/caf\udce9.jpg", "names a path that is not UTF-8"),
    ],
)
def test_file_uris_without_a_local_path_are_refused(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        storage.without_file_scheme(uri)
    assert "secret" not in str(error.value)


def test_places_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is on the web, where only images can be read"):
        storage.check("https://shop/list.csv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"s3:// needs the extra aws: pip install -e '\.\[aws\]'"):
        storage.check("s3://shop/list.csv")
