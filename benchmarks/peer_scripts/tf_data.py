"""``tf.data`` and ``Model.predict``, as in TensorFlow's guide to data pipelines and Keras's guide to prediction.

https://www.tensorflow.org/guide/data_performance
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main(model_file: str, photos: str, output: str, size: int, batch_size: int) -> None:
    """Classify a folder of JPEGs and write a CSV file: path, class index, probability."""
    import keras
    import tensorflow as tf

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (size, size))

    model = keras.saving.load_model(model_file)
    files = sorted(map(str, Path(photos).rglob("*.jpg")))
    dataset = (
        tf.data.Dataset.from_tensor_slices(files)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    probabilities = model.predict(dataset, verbose=0)
    with Path(output).open("w", newline="") as file:
        writer = csv.writer(file)
        for path, row in zip(files, probabilities, strict=True):
            writer.writerow([path, row.argmax(), row.max()])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
