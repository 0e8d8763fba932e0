"""A run on this machine: on Beam's local runner, again with fewer workers if memory runs out, or stopped early."""

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
    """Runs the job to its end, or finds that it was at its end already when something ended it.

    Args:
        config: the settings.
        own: the run.
        options: Beam's.

    Raises:
        UserError, CommandFailed, Fault, KeyboardInterrupt: what ended it before.
    """
    try:
        _run_with_retries(config, own, options)
        ignore_interrupts()
    except KeyboardInterrupt:  # perhaps at the very end
        if not _is_finished(own):
            raise
        ignore_interrupts()


def _run_with_retries(config: ClassifyConfig, own: Run, options: PipelineOptions) -> None:
    """Runs the job, and again with fewer workers if the system kills one, as it does where memory runs out."""
    retries = config.retries
    while True:
        workers = options.view_as(DirectOptions).direct_num_workers
        try:
            with Watch(own.temporary, 1.0 if config.keep_going else own.max_failure_rate):
                _run_job(config, own, options)
        except WorkerKilledError as error:
            if _is_finished(own):  # it was killed at the very end
                return
            if not retries or workers < 2:
                raise Fault(f"the run failed: {error}") from error
            retries, workers = retries - 1, workers // 2
            say(f"a worker process was killed, as the system does where memory runs out: continuing with {workers}")
            preflight.keep_chunks(own.temporary)
            options = runners.beam_options([*config.beam_flags, f"--direct_num_workers={workers}"])
            config = with_cores(config, options)
        else:
            return


def _is_finished(own: Run) -> bool:
    """Whether a run has been committed. What its last worker has left to do is done here."""
    folder = committed_to(own)
    if folder is None:
        return False
    end(own, read_record(folder) or {})
    return True


def with_cores(config: ClassifyConfig, options: PipelineOptions) -> ClassifyConfig:
    """The settings with the division of the cores among workers and batches."""
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
        save_all()  # where the workers are threads of this process
