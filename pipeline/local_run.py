"""Runs on this machine with Beam's local runner. A run is retried with fewer workers if a worker is killed."""

from __future__ import annotations

import dataclasses

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from catalogue.cli.command import ignore_interrupts
from catalogue.cli.errors import Fault
from catalogue.cli.logs import say
from pipeline.config import ClassifyConfig
from pipeline.errors import of_command
from pipeline.graph import classification
from pipeline.journal.open_chunks import save_all
from pipeline.metering.watch import Watch
from pipeline.run_dir import preflight
from pipeline.run_dir.commit import committed_to, end
from pipeline.run_dir.record import read_record
from pipeline.run_dir.run import Run
from pipeline.runner import runners
from pipeline.runner.worker_processes import WorkerKilledError


def run(config: ClassifyConfig, own: Run, options: PipelineOptions) -> None:
    """Run the job until the run is committed. An interrupt after the commit is ignored.

    Args:
        config: settings of the run.
        own: the run.
        options: Beam's options.

    Raises:
        UserError, CommandFailed, Fault, KeyboardInterrupt: the job ended before the commit.
    """
    try:
        _run_with_retries(config, own, options)
        ignore_interrupts()
    except KeyboardInterrupt:  # possibly after the commit
        if not _is_finished(own):
            raise
        ignore_interrupts()


def _run_with_retries(config: ClassifyConfig, own: Run, options: PipelineOptions) -> None:
    """Run the job, and retry with fewer workers if a worker is killed, usually because memory ran out."""
    retries = config.retries
    while True:
        workers = options.view_as(DirectOptions).direct_num_workers
        try:
            with Watch(own.temporary, 1.0 if config.keep_going else own.max_failure_rate):
                _run_job(config, own, options)
        except WorkerKilledError as error:
            if _is_finished(own):  # the worker was killed after the commit
                return
            if not retries or workers < 2:
                raise Fault(f"the run failed: {error}") from error
            retries, workers = retries - 1, workers // 2
            say(
                "a worker process was killed, probably because memory ran out: retrying with "
                f"--direct_num_workers {workers}"
            )
            preflight.keep_chunks(own.temporary)
            options = runners.beam_options([*config.beam_flags, f"--direct_num_workers={workers}"])
            config = with_cores(config, options)
        else:
            return


def _is_finished(own: Run) -> bool:
    """Return whether a run has been committed. If it has, complete the last steps of the commit."""
    folder = committed_to(own)
    if folder is None:
        return False
    end(own, read_record(folder) or {})
    return True


def with_cores(config: ClassifyConfig, options: PipelineOptions) -> ClassifyConfig:
    """Return the settings with the cores divided among workers and batches."""
    callers, threads = runners.division_of_cores(options, config.inference.threads)
    inference = dataclasses.replace(config.inference, callers=callers, threads=threads)
    return dataclasses.replace(config, inference=inference)


def _run_job(config: ClassifyConfig, own: Run, options: PipelineOptions) -> None:
    try:
        with beam.Pipeline(runner=runners.runner_for(options), options=options) as pipeline:
            classification(pipeline, config, own)
    except WorkerKilledError:
        raise
    except Exception as error:
        raise of_command(error) from error
    finally:
        save_all()  # for workers that are threads of this process
