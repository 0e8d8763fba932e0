from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from catalogue import model_dir
from trainer.evaluation import facts
from trainer.evaluation.metrics import measure

LABELS = ("a", "b", "c", "d")


def test_the_weakest_class_comes_first_and_one_without_photos_last() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 0, 1, 2, 1, 1])
    found = facts.weakest_first(measure(truth, np.eye(4)[predicted], LABELS))
    assert [(one.label, one.photos) for one in found] == [("c", 2), ("b", 2), ("a", 4), ("d", 0)]


def test_settings_name_all_that_was_set(tiny_model: Path) -> None:
    info = model_dir.read(tiny_model).info
    main = info.training["main"] | {
        "weight_decay": 0.02,
        "ema": 0.99,
        "class_weights": "balanced",
        "warmup_epochs": 1.0,
    }
    layers = {"convolutions": [16, 24], "kernel": 5, "strides": 2, "pooling": "average"}
    training = info.training | {
        "main": main,
        "backbone": "convolutional",
        "layers": layers,
        "refit": True,
        "dropout": 0.4,
    }
    found = dict(facts.settings(dataclasses.replace(info, training=training)))
    assert found["layers"] == "convolutions 16 24, kernel 5, strides 2, pooling average"
    assert found["regularization"] == "dropout 0.4, weight decay 0.02, ema 0.99, class weights balanced"
    assert ", warmup 1, batches of " in found["optimizer"]
    assert found["refit"] == "trained again up to the best epoch, with the validation photos included"


def test_pairs_that_are_confused_most_often_come_first() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 2, 1, 2, 1, 1])
    found = facts.confused_pairs(measure(truth, np.eye(4)[predicted], LABELS))
    assert [tuple(pair) for pair in found] == [("c", "b", 2, 1.0), ("b", "c", 1, 0.5), ("a", "c", 1, 0.25)]
