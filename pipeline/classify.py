"""The ``classify`` command: check the settings, run the Beam job and print the summary table."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from catalogue import model_dir, storage
from catalogue.cli.errors import CommandFailed, Interrupted, UserError
from catalogue.cli.logs import say
from catalogue.model_dir import signature
from catalogue.reasons import StorageError
from pipeline import local_run, remote_run
from pipeline.config import ClassifyConfig
from pipeline.errors import JobGoesOnError, JobWrittenError
from pipeline.inference import engines
from pipeline.manifest import reading
from pipeline.run_dir import preflight
from pipeline.run_dir.commit import committed_to
from pipeline.run_dir.layout import RUN_FILE, TEMPORARY
from pipeline.run_dir.lock import held
from pipeline.run_dir.previous import previous_runs
from pipeline.run_dir.report import shown
from pipeline.run_dir.run import Run, now
from pipeline.run_dir.verify import verify
from pipeline.runner import remote_options, runners
from pipeline.summary import print_summary


def run_command(config: ClassifyConfig, command: Sequence[str]) -> None:
    """Classify a catalogue, print the summary table, and fail if the run did not succeed.

    Args:
        config: settings of the run.
        command: command line as typed, for ``run.json``.

    Raises:
        UserError, CommandFailed, Fault, Interrupted: the run failed, was interrupted, or may continue without this
            command, see `classify`.
    """
    try:
        with _ending_alone():
            finished = classify(config, command)
    except JobWrittenError as error:
        say(str(error))
        return
    if finished is None:
        say(f"the graph is valid for {runners.beam_options(config.beam_flags).view_as(StandardOptions).runner}")
    else:
        print_summary(*finished, config.output)


def attach_command(output: str, *, cancel: bool) -> None:
    """Follow the job of a run whose command has ended, then print the summary table.

    Args:
        output: path of the run directory.
        cancel: whether to cancel the job instead.

    Raises:
        UserError, CommandFailed, Fault, Interrupted: the run failed, or may continue without this command, see
            `pipeline.remote_run.attach`.
    """
    storage.check(output)
    output = storage.absolute(output)
    with _ending_alone():
        folder = remote_run.attach(output, cancel=cancel)
    print_summary(folder, verify(folder), output)


@contextlib.contextmanager
def _ending_alone() -> Iterator[None]:
    """Convert a `JobGoesOnError`, but not a `JobWrittenError`, into the error that the command exits with."""
    try:
        yield
    except JobWrittenError:
        raise
    except JobGoesOnError as error:
        raise (Interrupted(error.signal, str(error)) if error.signal else CommandFailed(str(error))) from error


def classify(config: ClassifyConfig, command: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Classify a catalogue.

    Args:
        config: settings of the run.
        command: command line as typed, for ``run.json``.

    Returns:
        The run directory and the content of its ``run.json``. A failed run is written to the subfolder ``_failed`` if
        `output` holds a finished run. None for a dry run, which only builds the graph.

    Raises:
        UserError: a problem that the user can fix.
        CommandFailed, Fault: the run ended before it was committed, or its run directory is incomplete.
        JobGoesOnError: the command ends, but its remote job is, or may be, still running.
        JobWrittenError: the job was written to a file and has not started.
    """
    config = _with_public_key(config)
    options = runners.beam_options(config.beam_flags)
    is_local = runners.is_local(options)
    if is_local:
        engines.check(config.inference.engine)
        remote_options.check_local(options, config)
    else:
        remote_options.check(options, create_runner(options.view_as(StandardOptions).runner), config)
    with model_dir.fetched(config.model_dir, config.inference.public_key) as model:
        info = model.info
        runners.share_weights(options, config.beam_flags, model.network_bytes)
    reading.check(config.manifest)
    preflight.check(config.output, overwrite=config.overwrite)
    if reading.names(config.manifest, f"{config.output}/{RUN_FILE}"):
        raise UserError(f"--output {config.output} would be read as part of --input: choose a folder elsewhere")
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
            shard=config.manifest.shard,
            overwrite=config.overwrite,
            started=now(),
        )
        config = local_run.with_cores(config, options)
        return None if remote_run.dry_run(config, run, options) else _run(config, run, options)


def _with_public_key(config: ClassifyConfig) -> ClassifyConfig:
    """Return the settings with the content of the public key, which the workers need too. Raises UserError."""
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
    """Yield a token for the run, and a folder for the local runner's grouped rows, or None for a remote job."""
    token = uuid.uuid4().hex[:12]
    if not here:
        yield token, None
    elif storage.is_remote(output):
        with tempfile.TemporaryDirectory(prefix="catalogue-classifier-") as folder:
            yield token, folder
    else:
        yield token, f"{output}/{TEMPORARY}/{token}"


def _run(config: ClassifyConfig, run: Run, options: PipelineOptions) -> tuple[str, dict[str, Any]]:
    """Run the job. Returns and raises as `classify` does."""
    with (
        preflight.new_folders(run.output),
        held(run.output, run.token, run.started, remote_run.is_at_work),
        preflight.attempt(run),
    ):
        preflight.check(run.output, overwrite=run.overwrite)  # another run may have finished since the first check
        is_continued = preflight.has_chunks(run)
        has_results = bool(run.previous) or is_continued
        runner = options.view_as(StandardOptions).runner
        say(f"classifying {shown(config.manifest.inputs)} with model {run.model.id} on {runner}")
        if is_continued:
            say(f"continuing an earlier run in {run.output}: its results are reused where they still apply")
        start = local_run.run if runners.is_local(options) else remote_run.run
        start(config, run, options)
        folder = committed_to(run)
        if folder is None:
            raise CommandFailed(f"the run did not finish: {run.output} has no {RUN_FILE} of this run")
        record = verify(folder)
        if has_results and not any(record["counts"]["reused"].values()):
            say("none of the earlier results could be reused: the images, the model or the settings may have changed")
        return folder, record
