"""Baseline: transfer learning as in Keras's guide, which runs the frozen network in every epoch.

``python -m benchmarks.plain_keras TRAIN VALIDATION EPOCHS`` prints the best validation accuracy. Like the guide, the
script caches nothing, and reads, batches and prefetches with `tf.data`.
"""

from __future__ import annotations

import sys

import keras


def main(training_folder: str, validation_folder: str, epochs: int) -> float:
    """Train, and return the best validation accuracy."""
    keras.utils.set_random_seed(0)
    options = {"image_size": (224, 224), "batch_size": 32}
    training = keras.utils.image_dataset_from_directory(training_folder, **options, seed=0)
    validation = keras.utils.image_dataset_from_directory(validation_folder, **options, shuffle=False)
    classes = len(training.class_names)
    backbone = keras.applications.MobileNetV2(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
    backbone.trainable = False
    images = keras.Input((224, 224, 3))
    x = backbone(keras.applications.mobilenet_v2.preprocess_input(images), training=False)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(images, keras.layers.Dense(classes)(x))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(training.prefetch(2), validation_data=validation.prefetch(2), epochs=epochs, verbose=2)
    return max(history.history["val_accuracy"])


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
