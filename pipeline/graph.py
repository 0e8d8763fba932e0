"""Beam graph of ``classify``, from the manifest to the committed run directory."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsIter, AsSingleton

from pipeline.config import ClassifyConfig
from pipeline.inference.classify import Classify
from pipeline.inference.handler import SavedModelHandler
from pipeline.journal.content_index import ContentIndex
from pipeline.journal.known import ReadKnown
from pipeline.journal.reuse import Reuse
from pipeline.journal.saved import SavedResults
from pipeline.journal.statistics import MergeStatistics, Statistics
from pipeline.journal.write_chunks import WriteChunks
from pipeline.manifest.grouping import GroupByLocation
from pipeline.manifest.reading import ReadManifest
from pipeline.metering.counts import note_begin
from pipeline.metering.measurement import Total
from pipeline.metering.meter import MeterHandle
from pipeline.reading.decode import Decode
from pipeline.reading.identical import ResultsByContentHandle
from pipeline.reading.read_ahead import ReadAhead
from pipeline.records import JSON_LINES, ListedImage
from pipeline.run_dir import report
from pipeline.run_dir.commit import commit, has_finished
from pipeline.run_dir.lock import check_holder
from pipeline.run_dir.run import Run
from pipeline.run_dir.write_parts import WriteParts


def classification(pipeline: beam.Pipeline, config: ClassifyConfig, run: Run) -> beam.PCollection:
    """Build the graph. Returns a PCollection of one element, the content of ``run.json``."""
    meter = MeterHandle(run.temporary)
    results = ResultsByContentHandle(ContentIndex(run.journals.parts, run.settings))
    saved = SavedResults(run.temporary, run.settings)
    handler = SavedModelHandler(config.model_dir, run.model.id, config.inference, meter)

    rows, columns, left_out, whole = pipeline | "Manifest" >> ReadManifest(
        config.manifest,
        meter,
        functools.partial(_begins, run),
        needs_columns=config.output_format != JSON_LINES,
    )
    known = pipeline | "Known results" >> ReadKnown(run.journals, run.settings)
    listed = (rows.results, known) | "Group by location" >> GroupByLocation(run.scratch, saved)
    unknown = listed | "Reuse" >> Reuse(meter)
    fetched = unknown.results | "Read" >> ReadAhead(config.reading, meter)
    decoded = fetched.results | "Decode" >> Decode(run.model.image, config.reading.limits, meter, results)
    classified, measurements = decoded.results | "Classify" >> Classify(handler, results, meter, config.inference_hints)

    journal = {  # not flattened: Beam's local runner buffers flattened elements until the stage ends
        "wrong rows": rows.finished,
        "images finished unread": unknown.finished,
        "images finished by reading": fetched.finished,
        "images finished by decoding": decoded.finished,
        "classified images": classified,
    }
    written = [
        finished | f"Write {name}" >> WriteChunks(run.temporary, run.settings, run.rows_per_part)
        for name, finished in journal.items()
    ]
    parts = [one.chunks for one in written] | "Chunks" >> beam.Flatten() | "Parts" >> WriteParts(run, columns)
    statistics = (
        [one.statistics for one in written]
        | "All statistics" >> beam.Flatten()
        | "Statistics" >> beam.CombineGlobally(MergeStatistics())
    )
    counts = (
        rows.results | "Count rows" >> beam.combiners.Count.Globally(),
        rows.finished | "Count wrong rows" >> beam.combiners.Count.Globally(),
    )
    inputs = counts | "Counts" >> beam.Flatten() | "Inputs" >> beam.CombineGlobally(sum)
    measured = measurements | "Measurements" >> beam.CombineGlobally(Total())
    pictured = (
        statistics
        | "Examples" >> beam.FlatMap(_examples)
        | beam.Reshuffle()
        | "Read examples" >> ReadAhead(config.reading, MeterHandle(f"{run.temporary}/examples"))  # not counted
    )
    thumbnails = (
        pictured.results | "Thumbnails" >> beam.Map(report.thumbnail, limits=config.reading.limits) | beam.Filter(bool)
    )
    return (
        pipeline
        | beam.Create([run])
        | "Commit"
        >> beam.Map(
            commit,
            parts=AsIter(parts),
            inputs=AsSingleton(inputs),
            left_out=AsSingleton(left_out),
            whole=AsSingleton(whole),
            statistics=AsSingleton(statistics),
            thumbnails=AsDict(thumbnails),
            measured=AsSingleton(measured),
        )
    )


def _begins(run: Run) -> bool:
    """Record the start of the job and return True, or return False if its run has already been committed.

    An engine may restart a job that has ended.

    Raises:
        UserError: another run has taken over the run directory.
    """
    if has_finished(run):
        return False
    check_holder(run.output, run.token)
    note_begin(run.temporary)
    return True


def _examples(statistics: Statistics) -> Iterator[ListedImage]:
    """Yield the photos for the report as images without manifest lines."""
    found = [
        (own.count, [photo.location for photo in own.surest + own.least_sure]) for own in statistics.classes().values()
    ]
    return (ListedImage(location, ()) for location in report.pictured(found))
