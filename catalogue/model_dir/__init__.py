"""The model directory: the contract between the trainer and everything that classifies.

::

    saved_model.pb  variables/  fingerprint.pb              the SavedModel; its variables are constants
    model.json                                              everything needed to use it right (`ModelInfo`)
    golden/NN.png  golden/probabilities.json                a few images and the probabilities the model gave them
    model.keras                                             the same network for fine-tuning further
    report.html                                             the evaluation, with pictures

Signatures of the SavedModel:

* ``serving_default``: ``images`` uint8 [N, H, W, 3] -> ``probabilities`` float32 [N, K], in the order of the labels;
* ``serve_bytes``: ``data`` string [N] -> ``labels`` string [N, k], ``scores`` float32 [N, k], best first, where k is 5
  or K, whichever is less.

Reading needs neither TensorFlow nor Keras; they are imported where a network is run.
"""

from catalogue.model_dir.directory import (
    GOLDEN_MARGIN,
    GOLDEN_TOLERANCE,
    REPAIR,
    ModelDir,
    fetched,
    file_digest,
    read,
)
from catalogue.model_dir.info import FORMAT, INFO_FILE, SERVE_BYTES_NOTE, ModelDirError, ModelInfo

__all__ = [
    "FORMAT",
    "GOLDEN_MARGIN",
    "GOLDEN_TOLERANCE",
    "INFO_FILE",
    "REPAIR",
    "SERVE_BYTES_NOTE",
    "ModelDir",
    "ModelDirError",
    "ModelInfo",
    "fetched",
    "file_digest",
    "read",
]
