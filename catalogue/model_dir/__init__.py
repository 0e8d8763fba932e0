"""Model directory: the contract between the trainer and all classification code.

::

    saved_model.pb  variables/  fingerprint.pb              the SavedModel; its variables are constants
    model.json                                              all settings needed to use it correctly (`ModelInfo`)
    golden/NN.png  golden/probabilities.json                a few images with their expected probabilities
    model.keras                                             the same network for further fine-tuning
    report.html                                             the evaluation, with images

Signatures of the SavedModel:

* ``serving_default``: ``images`` uint8 [N, H, W, 3] -> ``probabilities`` float32 [N, K], in the order of the labels;
* ``serve_bytes``: ``data`` string [N] -> ``labels`` string [N, k], ``scores`` float32 [N, k], best first, with
  k = min(5, K).

Reading a directory needs neither TensorFlow nor Keras; they are imported only to run a network.
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
