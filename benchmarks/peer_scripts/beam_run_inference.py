"""Beam's ``RunInference`` with Beam's own TensorFlow handler on all cores, as in the notebooks of Beam.

https://beam.apache.org/documentation/ml/inference-overview/
https://github.com/apache/beam/blob/master/examples/notebooks/beam-ml/run_inference_tensorflow.ipynb
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(model_file: str, photos: str, output: str, size: int, batch_size: int) -> None:
    """Classify a folder of JPEGs and write a CSV file: path, class index, probability."""
    import apache_beam as beam
    import numpy as np
    from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
    from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy
    from apache_beam.options.pipeline_options import PipelineOptions
    from PIL import Image

    def load(path: str) -> tuple[str, Any]:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        return path, np.asarray(resized, np.float32)

    def line(keyed: tuple[str, PredictionResult]) -> str:
        path, result = keyed
        probabilities = np.asarray(result.inference)
        return f"{path},{probabilities.argmax()},{probabilities.max()}"

    handler = TFModelHandlerNumpy(model_file, min_batch_size=batch_size, max_batch_size=batch_size)
    files = sorted(map(str, Path(photos).rglob("*.jpg")))
    options = PipelineOptions(
        ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=0"]
    )
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(files)
            | beam.Map(load)
            | RunInference(KeyedModelHandler(handler))
            | beam.Map(line)
            | beam.io.WriteToText(output, num_shards=1, shard_name_template="")
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
