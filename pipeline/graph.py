"""The Beam graph of ``classify``: manifest and model directory to a committed run directory."""

from __future__ import annotations

import functools

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import AsDict, AsIter, AsSingleton

from pipeline.config import ClassifyConfig
from pipeline.inference.handler import SavedModelHandler
from pipeline.inference.rows import Rows
from pipeline.manifest.grouping import GroupByLocation
from pipeline.manifest.reading import ReadManifest
from pipeline.metering.measurement import Total
from pipeline.metering.meter import MeterHandle
from pipeline.reading.decode import Decode
from pipeline.reading.read_ahead import ReadAhead
from pipeline.run_dir import report
from pipeline.run_dir.commit import commit
from pipeline.run_dir.layout import DEAD_LETTERS, PREDICTIONS
from pipeline.run_dir.run import Run
from pipeline.run_dir.stats import ClassStatistics, DeadLetterStatistics
from pipeline.run_dir.write_rows import WriteRows


def classification(pipeline: beam.Pipeline, config: ClassifyConfig, run: Run) -> beam.PCollection:
    """Builds the graph. Its one element at the end is the content of ``run.json``."""
    meter = MeterHandle(run.temporary)
    handler = SavedModelHandler(config.model_dir, run.model.id, config.inference, meter)

    rows, columns, left_out = pipeline | "Manifest" >> ReadManifest(config.manifest, meter)
    listed = rows.results | "Group by location" >> GroupByLocation()
    fetched = listed | "Read" >> ReadAhead(config.limits, meter)
    decoded = fetched.results | "Decode" >> Decode(run.model.image, config.limits, meter)
    predictions, measurements = (
        decoded.results | "Classify" >> RunInference(handler) | "Rows" >> Rows(run.model.id, meter)
    )
    dead_letters = (rows.dead_letters, fetched.dead_letters, decoded.dead_letters) | beam.Flatten()

    write = functools.partial(WriteRows, run.temporary, form=run.output_format, top_k=run.top_k, columns=columns)
    chunks = (
        predictions | "Write predictions" >> write(folder=PREDICTIONS),
        dead_letters | "Write dead letters" >> write(folder=DEAD_LETTERS),
    ) | "Chunks" >> beam.Flatten()
    counts = (  # each by itself: Beam's local runner keeps all that is flattened before it is combined
        rows.results | "Count rows" >> beam.combiners.Count.Globally(),
        rows.dead_letters | "Count wrong rows" >> beam.combiners.Count.Globally(),
    )
    inputs = counts | "Counts" >> beam.Flatten() | "Inputs" >> beam.CombineGlobally(sum)
    duplicates = listed | beam.Map(lambda image: len(image.rows) - 1) | "Duplicates" >> beam.CombineGlobally(sum)
    class_stats = predictions | "Statistics" >> beam.CombineGlobally(ClassStatistics())
    measured = measurements | "Measurements" >> beam.CombineGlobally(Total())
    reasons = dead_letters | "Reasons" >> beam.CombineGlobally(DeadLetterStatistics())
    pictured = (
        class_stats
        | "Examples" >> beam.FlatMap(report.pictured)
        | beam.Reshuffle()
        | "Read examples" >> ReadAhead(config.limits, meter)
    )
    thumbnails = pictured.results | "Thumbnails" >> beam.Map(report.thumbnail, limits=config.limits) | beam.Filter(bool)
    return (
        pipeline
        | beam.Create([run])
        | "Commit"
        >> beam.Map(
            commit,
            columns=AsSingleton(columns),
            chunks=AsIter(chunks),
            inputs=AsSingleton(inputs),
            duplicates=AsSingleton(duplicates),
            left_out=AsSingleton(left_out),
            stats=AsSingleton(class_stats),
            dead_letters=AsSingleton(reasons),
            thumbnails=AsDict(thumbnails),
            measured=AsSingleton(measured),
        )
    )
