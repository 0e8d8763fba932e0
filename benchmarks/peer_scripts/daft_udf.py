"""Daft: image expressions and a class with a batch method, as in Daft's guide to custom functions.

https://docs.daft.ai/en/stable/custom-code/cls/
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any


def main(model_file: str, photos: str, output: str, size: int, batch_size: int) -> None:
    """Classify a folder of JPEGs and write a CSV file: path, class index, probability."""
    import daft
    import numpy as np
    from daft import DataType, Series, col, functions

    result = DataType.struct({"index": DataType.int64(), "probability": DataType.float32()})

    @daft.cls
    class Predictor:
        """A loaded model."""

        def __init__(self) -> None:
            import keras

            self._model = keras.saving.load_model(model_file)

        @daft.method.batch(return_dtype=result, unnest=True, batch_size=batch_size)
        def predict(self, images: Series) -> list[dict[str, Any]]:
            """Classify a batch with `predict_on_batch`, which is compiled once, unlike a plain call of the model."""
            probabilities = self._model.predict_on_batch(np.stack(images.to_pylist()))
            return [{"index": int(row.argmax()), "probability": float(row.max())} for row in probabilities]

    predictor = Predictor()
    found = (
        daft.from_glob_path(f"{photos}/**/*.jpg")
        .select("path", functions.download(col("path")).alias("data"))
        .select("path", functions.resize(functions.decode_image(col("data"), mode="RGB"), size, size).alias("image"))
        .select("path", predictor.predict(col("image")))
        .to_pydict()
    )
    with Path(output).open("w", newline="") as file:
        writer = csv.writer(file)
        for path, *rest in zip(found["path"], found["index"], found["probability"], strict=True):
            writer.writerow([path.removeprefix("file://"), *rest])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
