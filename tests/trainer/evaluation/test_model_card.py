from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from catalogue import model_dir
from trainer.evaluation.model_card import NAME, model_card


def test_the_card_tells_what_model_json_does(tiny_model: Path) -> None:
    info = model_dir.read(tiny_model).info
    text = (tiny_model / NAME).read_text()
    assert text == model_card(info)
    assert text.startswith(f"# Model {info.id}\n")
    assert info.created in text
    for label, own in info.metrics["per_class"].items():
        row, *_ = re.findall(rf"^\| {label} \| (.*) \|$", text, re.MULTILINE)
        assert row.split(" | ")[1] == f"{own['recall']:.1%}"
        assert row.split(" | ")[3] == f"{own['support']}"
    for words in (
        f"Validation accuracy {info.metrics['accuracy']:.3f} on 4 photos",
        "small, weights none",
        "32 pixels",
    ):
        assert words in text


def test_names_of_classes_do_not_become_markdown(tiny_model: Path) -> None:
    info = model_dir.read(tiny_model).info
    shares = {"<b>a|b*c</b>\n# d": 1.0}
    text = model_card(dataclasses.replace(info, class_shares=shares))
    assert r"- \<b\>a\|b\*c\</b\> \# d: 100.0%" in text


def test_the_report_is_of_the_model(tiny_model: Path) -> None:
    info = model_dir.read(tiny_model).info
    text = (tiny_model / "report.html").read_text()
    written = f"written {info.created[:10]} {info.created[11:16]} UTC"
    assert f"model {info.id} · {written} · small, 32 pixels, weights none" in text
    assert "Most confused pairs" in text or info.metrics["accuracy"] == 1
    assert "Settings" in text
