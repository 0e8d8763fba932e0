"""Ray Data: ``read_images`` and ``map_batches`` with an actor, as in Ray's guide to batch inference.

https://docs.ray.io/en/latest/data/batch_inference.html
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(model_file: str, photos: str, output: str, size: int, batch_size: int) -> None:
    """Classify a folder of JPEGs and write a CSV file: path, class index, probability."""
    import ray

    class Predictor:
        """A loaded model."""

        def __init__(self) -> None:
            import keras

            self._model = keras.saving.load_model(model_file)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            """Classify a batch with `predict_on_batch`, which is compiled once, unlike a plain call of the model."""
            probabilities = self._model.predict_on_batch(batch["image"])
            return {
                "path": batch["path"],
                "index": probabilities.argmax(axis=1),
                "probability": probabilities.max(axis=1),
            }

    results = ray.data.read_images(
        photos, size=(size, size), mode="RGB", include_paths=True, file_extensions=["jpg"]
    ).map_batches(Predictor, batch_size=batch_size, compute=ray.data.ActorPoolStrategy(size=1))
    results.to_pandas().to_csv(Path(output), header=False, index=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
