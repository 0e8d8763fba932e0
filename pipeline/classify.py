"""The work of ``classify``: checks, the Beam job, and what is said at its end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from catalogue import model_dir, storage
from catalogue.cli.command import ignore_interrupts
from catalogue.cli.errors import CommandFailed, Fault, UserError
from catalogue.cli.logs import print_line, say
from catalogue.model_dir import signature
from catalogue.reasons import StorageError
from pipeline.config import ClassifyConfig
from pipeline.graph import classification
from pipeline.inference import engines
from pipeline.journal.open_chunks import save_all
from pipeline.manifest import reading
from pipeline.metering.meter import StoppedEarlyError
from pipeline.metering.watch import Watch
from pipeline.run_dir import preflight
from pipeline.run_dir.commit import committed_to, end
from pipeline.run_dir.layout import RUN_FILE, STATS_FILE, SUCCESS_FILE, TEMPORARY
from pipeline.run_dir.lock import held
from pipeline.run_dir.previous import previous_runs
from pipeline.run_dir.record import read_record
from pipeline.run_dir.report import shown
from pipeline.run_dir.run import Run, now
from pipeline.run_dir.verify import verify
from pipeline.runner import runners
from pipeline.runner.worker_processes import WorkerKilledError
from pipeline.summary import summary


def run_command(config: ClassifyConfig, command: Sequence[str]) -> None:
    """Classifies, prints the closing table, and fails if the run is not a success.

    Args:
        config: the settings.
        command: as it was typed, for ``run.json``.

    Raises:
        UserError, CommandFailed: see `classify`.
    """
    folder, record = classify(config, command)
    class_stats = json.loads(storage.read_text(f"{folder}/{STATS_FILE}"))
    with contextlib.suppress(CommandFailed):  # the run is complete, whatever becomes of its table
        for line in summary(record, class_stats):
            print_line(line)
    if record["problems"]:
        where = f"; the rows are in {folder}, without {SUCCESS_FILE}"
        kept = "" if folder == config.output else f"; the finished run in {config.output} is as it was"
        raise CommandFailed("; ".join(record["problems"]) + where + kept)


def classify(config: ClassifyConfig, command: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Classifies a catalogue.

    Args:
        config: the settings.
        command: as it was typed, for ``run.json``.

    Returns:
        The run directory, and the content of its ``run.json``. A run that failed is in a folder of its own if `output`
        holds a finished one.

    Raises:
        UserError: something the user can fix; nothing has been written.
        CommandFailed: the run failed, or is not a success.
    """
    config = _with_public_key(config)
    options = runners.beam_options(config.beam_flags)
    is_local = runners.is_local(options)
    if is_local:
        engines.check(config.inference.engine)
    with model_dir.fetched(config.model_dir, config.inference.public_key) as model:
        info = model.info
    reading.check(config.manifest)
    preflight.check(config.output, overwrite=config.overwrite)
    if reading.names(config.manifest, f"{config.output}/{RUN_FILE}"):
        raise UserError(f"--output {config.output} is among the files of --input: choose a folder elsewhere")
    with _scratch(config.output, here=is_local) as (token, scratch):
        run = Run(
            output=config.output,
            token=token,
            command=tuple(command),
            inputs=config.manifest.inputs,
            model_dir=config.model_dir,
            model=info,
            output_format=config.output_format,
            rows_per_part=config.rows_per_part,
            limits=config.reading.limits,
            top_k=min(config.inference.top_k, len(info.labels)),
            max_failure_rate=config.max_failure_rate,
            price_per_hour=config.price_per_hour,
            scratch=scratch,
            previous=previous_runs(config.previous, config.output),
            overwrite=config.overwrite,
            started=now(),
        )
        return _run(with_cores(config, options), run, options)


def _with_public_key(config: ClassifyConfig) -> ClassifyConfig:
    """The settings with the key that the model must be signed with, which the workers need, too. Raises UserError."""
    if config.require_signature is None:
        return config
    try:
        key = storage.read_text(config.require_signature)
    except (StorageError, UnicodeDecodeError) as error:
        raise UserError(f"--require-signature {config.require_signature} cannot be read: {error}") from error
    signature.check_public_key(key, config.require_signature)
    return dataclasses.replace(config, inference=dataclasses.replace(config.inference, public_key=key))


@contextlib.contextmanager
def _scratch(output: str, *, here: bool) -> Iterator[tuple[str, str | None]]:
    """A token for a run, and a local folder for what the local runner groups; None for a job that runs elsewhere."""
    token = uuid.uuid4().hex[:12]
    if not here:
        yield token, None
    elif storage.is_remote(output):
        with tempfile.TemporaryDirectory(prefix="catalogue-classifier-") as folder:
            yield token, folder
    else:
        yield token, f"{output}/{TEMPORARY}/{token}"


def _run(config: ClassifyConfig, run: Run, options: PipelineOptions) -> tuple[str, dict[str, Any]]:
    """Runs the job. Returns and raises as `classify` does."""
    here = runners.is_local(options)
    with (
        preflight.new_folders(run.output),
        held(run.output, run.token, run.started, here=here),
        preflight.attempt(run, here=here),
    ):
        preflight.check(run.output, overwrite=run.overwrite)  # a run may have finished while this one waited
        has_results = bool(run.previous) or preflight.has_chunks(run)
        runner = options.view_as(StandardOptions).runner
        say(f"classifying {shown(config.manifest.inputs)} with model {run.model.id} on {runner}")
        try:
            _run_with_retries(config, run, options)
            ignore_interrupts()
        except KeyboardInterrupt:  # perhaps at the very end
            if not _is_finished(run):
                raise
            ignore_interrupts()
        folder = committed_to(run)
        if folder is None:
            raise CommandFailed(f"{run.output} has no {RUN_FILE} of this run: it has not finished")
        record = verify(folder)
        if has_results and not any(record["counts"]["reused"].values()):
            say("none of the earlier results could be reused: the images, the model or the limits are others")
        return folder, record


def _run_with_retries(config: ClassifyConfig, run: Run, options: PipelineOptions) -> None:
    """Runs the job, and again with fewer workers if the system kills one, as it does where memory runs out."""
    retries = config.retries
    # Other engines try a bundle again, and its failures would count twice.
    stops = runners.is_local(options) and not config.keep_going
    while True:
        workers = options.view_as(DirectOptions).direct_num_workers
        try:
            with Watch(run.temporary, run.max_failure_rate if stops else 1.0):
                _run_job(config, run, options)
        except WorkerKilledError as error:
            if _is_finished(run):  # it was killed at the very end
                return
            if not retries or workers < 2:
                raise Fault(f"the run failed: {error}") from error
            retries, workers = retries - 1, workers // 2
            say(f"a worker process was killed, as the system does where memory runs out: continuing with {workers}")
            preflight.remove_useless(run)
            options = runners.beam_options([*config.beam_flags, f"--direct_num_workers={workers}"])
            config = with_cores(config, options)
        else:
            return


def _is_finished(run: Run) -> bool:
    """Whether a run has been committed. What its last worker has left to do is done here."""
    folder = committed_to(run)
    if folder is None:
        return False
    end(run, read_record(folder) or {})
    return True


def with_cores(config: ClassifyConfig, options: PipelineOptions) -> ClassifyConfig:
    """The settings with the division of the cores among workers and batches."""
    callers, threads = runners.division_of_cores(options, config.inference.threads)
    inference = dataclasses.replace(config.inference, callers=callers, threads=threads)
    return dataclasses.replace(config, inference=inference)


def _run_job(config: ClassifyConfig, run: Run, options: PipelineOptions) -> None:
    try:
        with beam.Pipeline(runner=runners.runner_for(options), options=options) as pipeline:
            classification(pipeline, config, run)
    except WorkerKilledError:
        raise
    except Exception as error:
        kind, message = cause(error)
        if kind in ("ModelDirError", "UserError"):
            raise UserError(message) from error
        if kind == StoppedEarlyError.__name__:
            raise StoppedEarlyError(message) from error
        raise Fault(f"the run failed: {kind}: {message}") from error
    finally:
        save_all()  # where the workers are threads of this process


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
