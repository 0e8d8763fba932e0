"""The ``classify`` command: a manifest and a model directory to a run directory."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from catalogue.cli import console
from catalogue.cli.console import CommandFailed, Fault, UserError
from pipeline.records import ENGINES, OUTPUT_FORMATS, PRECISIONS, URI_COLUMN, EngineChoice

if TYPE_CHECKING:
    import apache_beam as beam

    from catalogue.images.reader import Limits
    from pipeline.inference.handler import InferenceConfig
    from pipeline.manifest.reading import Manifest
    from pipeline.run_dir.output import Run

BATCH_SIZE = 16
TOP_K = 5
MAX_FAILURE_RATE = 0.05


@dataclasses.dataclass(frozen=True)
class ClassifyConfig:
    """Everything that ``classify`` is told.

    Attributes:
        manifest: what is classified.
        model_dir: what the trainer wrote.
        output: the run directory.
        inference: how the network is run.
        max_failure_rate: the share of dead letters above which a run is not a success.
        overwrite: whether a finished run at `output` may be replaced.
        output_format: of the rows, one of `pipeline.records.OUTPUT_FORMATS`.
        limits: which images are too large.
        price_per_hour: of all machines together, for the cost of the run; None if nobody wants to know.
        beam_options: flags for Beam.
    """

    manifest: Manifest
    model_dir: str
    output: str
    inference: InferenceConfig
    max_failure_rate: float
    overwrite: bool
    output_format: str
    limits: Limits
    price_per_hour: float | None
    beam_options: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of ``classify`` that are not Beam's."""
    add = parser.add_argument
    add(
        "--input",
        type=console.path,
        nargs="+",
        action="extend",
        required=True,
        metavar="WHERE",
        help="folders, globs, images, or lists of URIs: text, CSV, TSV, JSON Lines, Parquet",
    )
    add("--uri-column", default=URI_COLUMN, metavar="NAME", help="the column of a list that names the image")
    add(
        "--base-uri",
        type=console.path,
        metavar="URI",
        help="what relative URIs are relative to, in place of the folder of their list",
    )
    add("--model-dir", type=console.path, required=True, metavar="DIR", help="what the trainer wrote")
    add("--output", type=console.path, required=True, metavar="RUN_DIR", help="the run directory")
    add("--top-k", type=console.positive_int, default=TOP_K, metavar="N", help="labels kept of each image")
    add(
        "--max-failure-rate",
        type=console.rate,
        default=MAX_FAILURE_RATE,
        metavar="R",
        help="share of images that may fail before the run is no success",
    )
    add("--output-format", choices=OUTPUT_FORMATS, default=OUTPUT_FORMATS[0], help="how the rows are written")
    add("--overwrite", action="store_true", help="replace the finished run that is there")
    add(
        "--price-per-hour",
        type=console.non_negative_float,
        metavar="P",
        help="what all machines cost together: for the cost of a million images",
    )
    _add_engine_arguments(parser)
    console.add_limit_arguments(parser)
    parser.epilog = (
        "Any other flag is Beam's: --runner, --direct_num_workers, --project and so on. Without --runner the job runs "
        "on this machine, in a process for each core, or in threads of one process where there is a GPU."
    )


def _add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what runs the network").add_argument
    add(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="by itself the fastest that reproduces the golden images of the model on the worker",
    )
    add("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="the type of numbers that it computes in")
    add(
        "--batch-size",
        type=console.positive_int,
        default=BATCH_SIZE,
        metavar="N",
        help="images handed to the engine at once; halved where they do not fit into the memory of a GPU",
    )
    add(
        "--engine-threads",
        type=console.positive_int,
        metavar="N",
        help="cores for each batch (default: those of this machine divided by its workers; 1 on other runners)",
    )


def classification(pipeline: beam.Pipeline, config: ClassifyConfig, run: Run) -> beam.PCollection:
    """The graph. Its one element at the end is the content of ``run.json``."""
    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.pvalue import AsDict, AsIter, AsSingleton

    from pipeline.inference import handler as inference
    from pipeline.manifest import reading as manifest
    from pipeline.metering import meter
    from pipeline.reading import decode as images
    from pipeline.reading import read_ahead
    from pipeline.run_dir import output, report, stats, tables

    handler = inference.SavedModelHandler(config.model_dir, run.model.id, config.inference, run.temporary)

    rows, columns = pipeline | "Manifest" >> manifest.ReadManifest(config.manifest, run.temporary)
    entries = rows.results | "Group by location" >> manifest.GroupByLocation()
    data = entries | "Read" >> read_ahead.ReadAhead(config.limits, run.temporary)
    decoded = data.results | "Decode" >> images.Decode(run.model.image, config.limits, run.temporary)
    predictions, measurements = (
        decoded.results | "Classify" >> RunInference(handler) | "Rows" >> inference.Rows(run.model.id, run.temporary)
    )
    dead_letters = (rows.dead_letters, data.dead_letters, decoded.dead_letters) | beam.Flatten()

    write = functools.partial(tables.WriteRows, run.temporary, form=run.output_format, top_k=run.top_k, columns=columns)
    chunks = (
        predictions | "Write predictions" >> write(folder=tables.PREDICTIONS),
        dead_letters | "Write dead letters" >> write(folder=tables.DEAD_LETTERS),
    ) | "Chunks" >> beam.Flatten()
    counts = (  # each by itself: what is flattened first is kept, all of it, by Beam's local runner
        rows.results | "Count rows" >> beam.combiners.Count.Globally(),
        rows.dead_letters | "Count wrong rows" >> beam.combiners.Count.Globally(),
    )
    inputs = counts | "Counts" >> beam.Flatten() | "Inputs" >> beam.CombineGlobally(sum)
    duplicates = entries | beam.Map(lambda entry: len(entry.rows) - 1) | "Duplicates" >> beam.CombineGlobally(sum)
    class_stats = predictions | "Statistics" >> beam.CombineGlobally(stats.ClassStatistics())
    measured = measurements | "Measurements" >> beam.CombineGlobally(meter.Total())
    reasons = dead_letters | "Reasons" >> beam.CombineGlobally(stats.DeadLetterStatistics())
    examples = (
        class_stats
        | "Examples" >> beam.FlatMap(report.pictured)
        | beam.Reshuffle()
        | "Read examples" >> read_ahead.ReadAhead(config.limits, run.temporary)
    )
    thumbnails = examples.results | "Thumbnails" >> beam.Map(report.thumbnail, limits=config.limits) | beam.Filter(bool)
    return (
        pipeline
        | beam.Create([run])
        | "Commit"
        >> beam.Map(
            output.commit,
            columns=AsSingleton(columns),
            chunks=AsIter(chunks),
            inputs=AsSingleton(inputs),
            duplicates=AsSingleton(duplicates),
            stats=AsSingleton(class_stats),
            dead_letters=AsSingleton(reasons),
            thumbnails=AsDict(thumbnails),
            measured=AsSingleton(measured),
        )
    )


def classify(config: ClassifyConfig, command: Sequence[str]) -> dict[str, Any]:
    """Classifies a catalogue.

    Args:
        config: what is to be done.
        command: as it was typed, for ``run.json``.

    Returns:
        The content of ``run.json``.

    Raises:
        UserError: something the user can put right; nothing has been written.
        CommandFailed: the run failed, or its result is no success.
    """
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import StandardOptions

    from pipeline.inference import engines
    from pipeline.inference import handler as inference
    from pipeline.manifest import reading as manifest
    from pipeline.metering.meter import Watch
    from pipeline.run_dir import output, report
    from pipeline.runner import runners

    options = runners.beam_options(config.beam_options)
    if runners.is_local(options):
        engines.check(config.inference.engine)
    FileSystems.set_options(options)  # this process reads the model and the manifest before Beam does, s3:// needs them
    with inference.fetched(config.model_dir) as model:
        info = model.info
    manifest.check(config.manifest)
    output.check(config.output, overwrite=config.overwrite)
    if manifest.names(config.manifest, f"{config.output}/{output.RUN_FILE}"):
        raise UserError(f"--output {config.output} is among the files of --input: choose a folder elsewhere")
    run = output.Run(
        output=config.output,
        token=uuid.uuid4().hex[:12],
        command=tuple(command),
        inputs=config.manifest.inputs,
        model_dir=config.model_dir,
        model=info,
        output_format=config.output_format,
        top_k=min(config.inference.top_k, len(info.labels)),
        max_failure_rate=config.max_failure_rate,
        price_per_hour=config.price_per_hour,
        overwrite=config.overwrite,
        started=output.now(),
    )
    runner = options.view_as(StandardOptions).runner
    with output.attempt(run, here=runners.is_local(options)):
        console.say(f"classifying {report.shown(config.manifest.inputs)} with model {info.id} on {runner}")
        with Watch(run.temporary):
            _run(config, run, options)
    return output.verify(config.output)


def _run(config: ClassifyConfig, run: Run, options: Any) -> None:
    import apache_beam as beam

    from pipeline.runner import runners

    try:
        with beam.Pipeline(runner=runners.runner_for(options), options=options) as pipeline:
            classification(pipeline, config, run)
    except Exception as error:
        kind, message = cause(error)
        if kind in ("ModelDirError", "UserError"):
            raise UserError(message) from error
        raise Fault(f"the run failed: {kind}: {message}") from error


def cause(error: Exception) -> tuple[str, str]:
    """The name and the message of the error that a run failed by.

    Runners pass a worker's exception on as text, some with more text around it, or as it is where the worker is the
    very thread that runs the job.

    Returns:
        The class without its module, and the message; of the traceback that ends the text of `error`, if there is one.
    """
    text = str(error)
    found = re.findall(r"^((?:\w+\.)*\w*(?:Error|Exception|Failed)): (.*)$", text, flags=re.MULTILINE)
    name, message = found[-1] if found else (type(error).__name__, text)
    return name.rpartition(".")[2], re.sub(r" \[while running '.*'\]$", "", message)


def config_from(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> ClassifyConfig:
    """Flags to a `ClassifyConfig`, with paths that mean the same on every worker."""
    from pipeline import storage
    from pipeline.inference.handler import InferenceConfig
    from pipeline.manifest.reading import Manifest
    from pipeline.runner import runners

    inputs = tuple(map(storage.absolute, arguments.input))
    base_uri = arguments.base_uri and storage.absolute(arguments.base_uri)
    for path in (arguments.model_dir, arguments.output):
        storage.check(path)
    callers, threads = runners.division_of_cores(runners.beam_options(beam_flags), arguments.engine_threads)
    return ClassifyConfig(
        manifest=Manifest(inputs, arguments.uri_column, base_uri),
        model_dir=storage.absolute(arguments.model_dir),
        output=storage.absolute(arguments.output),
        inference=InferenceConfig(
            engine=arguments.engine,
            precision=arguments.precision,
            batch_size=arguments.batch_size,
            top_k=arguments.top_k,
            callers=callers,
            threads=threads,
        ),
        max_failure_rate=arguments.max_failure_rate,
        overwrite=arguments.overwrite,
        output_format=arguments.output_format,
        limits=console.limits(arguments),
        price_per_hour=arguments.price_per_hour,
        beam_options=tuple(beam_flags),
    )


def summary(record: dict[str, Any], class_stats: dict[str, Any]) -> Iterator[str]:
    """The closing table, line by line."""
    counts = record["counts"]
    found = {label: own for label, own in class_stats["classes"].items() if own["count"]}
    ranked = sorted(found.items(), key=lambda item: -item[1]["count"])
    width = max([5, *map(len, found)])
    yield f"{'class':{width}}     images   share  in training  mean score"
    for label, own in ranked:
        trained = "–" if own["share_in_training"] is None else f"{own['share_in_training']:.1%}"
        yield f"{label:{width}}  {own['count']:9,}  {own['share']:6.1%}  {trained:>11}  {own['mean_score']:10.3f}"
    failed = sum(counts["dead_letters"].values())
    yield ""
    inputs, letters = console.counted(counts["inputs"], "image"), console.counted(failed, "dead letter")
    yield f"{inputs}: {counts['predictions']:,} classified, {letters}"
    for reason, count in sorted(counts["dead_letters"].items(), key=lambda item: -item[1]):
        yield f"  {reason:20} {count:9,}"
    if counts["duplicates"]:
        yield f"lines that repeat the image of another line: {counts['duplicates']:,}"
    yield from _performance(record)
    yield f"rows, statistics and report.html are in {record['output']}"


def _performance(record: dict[str, Any]) -> Iterator[str]:
    """What ran, where the time went, and what it cost."""
    timings = record["timings"]
    for own in record["engines"]:
        engine = EngineChoice(own["engine"], own["precision"], own["device"], own["reason"])
        yield f"{console.counted(own['images'], 'image')} by {engine.in_words()}"
    worked = sum(timings["worker_seconds"].values())
    if worked:
        shares = ", ".join(f"{step} {seconds / worked:.1%}" for step, seconds in timings["worker_seconds"].items())
        yield f"time of the workers, once started: {shares}"
        sizes = ", ".join(f"{count:,} of {size}" for size, count in record["batches"].items())
        peak = f"{record['peak_worker_memory_bytes'] / 2**20:,.0f} MiB"
        yield f"batches: {sizes}; peak memory of a worker process: {peak}"
    speed = f"{timings['seconds']:,.1f} s, {timings['images_per_second']:,.1f} images a second, start-up included"
    then = timings["images_per_second_from_then_on"]
    if then is not None:
        speed += f"; the first prediction after {timings['first_prediction_seconds']:,.1f} s, then "
        speed += f"{then:,.1f} images a second"
    yield speed
    if record["cost_per_million_images"] is not None:
        cost = f"at {record['price_per_hour']:g} an hour a million images cost {record['cost_per_million_images']:,.2f}"
        if then is not None:
            cost += f", {record['cost_per_million_images_from_then_on']:,.2f} without the start-up"
        yield cost


def run_command(arguments: argparse.Namespace, beam_flags: Sequence[str], command: Sequence[str]) -> None:
    """The command: classifies, prints the closing table, and fails if the run is no success."""
    from pipeline import storage
    from pipeline.run_dir import output

    config = config_from(arguments, beam_flags)
    record = classify(config, command)
    class_stats = json.loads(storage.read_text(f"{config.output}/{output.STATS_FILE}"))
    for line in summary(record, class_stats):
        print(line)
    sys.stdout.flush()
    if record["problems"]:
        raise CommandFailed("; ".join(record["problems"]) + f"; the rows are in {config.output}, without _SUCCESS")
