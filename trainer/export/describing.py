"""The `ModelInfo` of a job, which is written to ``model.json``."""

from __future__ import annotations

import datetime
import hashlib
import platform
from typing import Any

import numpy as np

from catalogue.cli.versions import versions
from catalogue.images.spec import POLICY
from catalogue.model_dir import ModelInfo
from trainer.data.identity import contents_digest
from trainer.evaluation.inference import Classified
from trainer.fitting.training import Job, Prepared, TrainingResult
from trainer.networks.network import Network

PACKAGES = ("tensorflow", "keras", "numpy", "pillow")


def describe_trained(job: Job, prepared: Prepared, result: TrainingResult, tested: Classified | None) -> ModelInfo:
    """Describe a trained model; the caller replaces the temperature and the metrics.

    Args:
        job, prepared, result: job, prepared photos and result of the training.
        tested: test photos with their predictions; None if there are no test photos.
    """
    config, encoded, split = job.config, prepared.encoded, prepared.split
    names = np.array(encoded.labels)[split.training]
    content = sorted(zip(encoded.labels, encoded.content_hashes, strict=True))
    fitting = {
        "frozen_in_bfloat16": prepared.encoder.has_rounded,
        "best_epoch": result.final_fit.best_epoch,
        "epochs_run": list(result.final_fit.epochs),
        "head_best_epoch": result.head_fit.best_epoch if result.head_fit else 0,
        "head_epochs_run": list(result.head_fit.epochs) if result.head_fit else [],
    }
    data = {
        "training_photos": len(split.training),
        "validation_photos": len(split.validation),
        "test_photos": len(tested.examples) if tested else 0,
        "unreadable_photos": len(encoded.unreadable) + (len(tested.unreadable) if tested else 0),
        "validation": "given" if config.validation_data else f"{config.validation_fraction} by content hash",
        "contents": contents_digest(encoded.contents + (tested.contents if tested else [])),
        "fingerprint": hashlib.sha256(repr(content).encode()).hexdigest(),
    }
    shares = {label: float((names == label).mean()) for label in job.labels}
    return describe(job, result.network, fitting, shares, data)


def describe(
    job: Job,
    network: Network,
    fitting: dict[str, Any],
    class_shares: dict[str, float],
    data: dict[str, Any],
) -> ModelInfo:
    """Describe a model. `trainer.export.writing.write` adds the id, the network hash and the files."""
    config = job.config
    return ModelInfo(
        id="",
        labels=job.labels,
        image=config.image,
        policy=POLICY,
        temperature=1.0,
        class_shares=class_shares,
        metrics={},
        training={
            **config.result_settings,
            "cut": network.cut,
            "policy": job.dtype_policy,
            "frozen_in_bfloat16": False,
            "workers": job.devices.workers,
            "replicas": job.devices.replicas,
            "best_epoch": 0,
            "epochs_run": [],
            "head_best_epoch": 0,
            "head_epochs_run": [],
            **fitting,
        },
        network=tuple(network.layers()),
        data={"photos": job.photos, **data},
        versions={"python": platform.python_version()} | versions(PACKAGES),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        files={},
    )
