from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from catalogue.cli.errors import UserError
from pipeline.classify_flags import add_arguments, config_from
from pipeline.config import ClassifyConfig


def parsed(*flags: object) -> ClassifyConfig:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = list(map(str, flags))
    for name, value in (("--input", "photos"), ("--model-dir", "model"), ("--output", "run")):
        given += [] if any(word.partition("=")[0] == name for word in given) else [name, value]
    return config_from(parser.parse_args(given), [])


def test_prefixes_of_what_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    given = ["photos", "/on/the/workers", "https://shop.example", "gs://shop/photos"]
    flags = [word for prefix in given for word in ("--allow-uri", prefix)]
    prefixes = (f"{tmp_path}/photos", "/on/the/workers", "https://shop.example", "gs://shop/photos")
    assert parsed(*flags).reading.access.prefixes == parsed(*flags).manifest.access.prefixes == prefixes


@pytest.mark.parametrize("host", ["127.0.0.1", "shop.example", "shop.example/photos"])
def test_a_host_without_a_scheme_is_not_taken_for_a_folder(host: str) -> None:
    with pytest.raises(UserError, match=f"does not exist: give a folder, or https://{host} for a host$"):
        parsed("--allow-uri", host)
