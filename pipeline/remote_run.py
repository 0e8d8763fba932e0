"""Runs on remote runners. The job may outlive its command; another command can follow or cancel it.

The name of the job is stored in ``job.json`` among the files of the attempt.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import signal
import threading
import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TestOptions

from catalogue import storage
from catalogue.cli.command import ignore_interrupts
from catalogue.cli.errors import CommandFailed, Fault, Interrupted, UserError
from catalogue.cli.logs import say
from catalogue.reasons import Reason, StorageError
from pipeline.config import ClassifyConfig
from pipeline.errors import JobFailedError, JobGoesOnError, JobWrittenError, of_command
from pipeline.graph import classification
from pipeline.metering.meter import NAMESPACE
from pipeline.metering.watch import Watch
from pipeline.run_dir import preflight
from pipeline.run_dir.layout import FAILED, JOB_FILE, RUN_FILE, SUCCESS_FILE, TEMPORARY
from pipeline.run_dir.lock import Holder, held_again, read_holder, release
from pipeline.run_dir.record import read_record
from pipeline.run_dir.run import Run
from pipeline.runner import jobs, remote_options
from pipeline.runner.jobs import Job, JobName

_LOOK_SECONDS, _SECONDS_TO_END = 5.0, 60.0


def run(config: ClassifyConfig, own: Run, options: PipelineOptions) -> None:
    """Submit the job and follow it until it ends.

    Args:
        config: settings of the run.
        own: the run.
        options: Beam's options.

    Raises:
        UserError, CommandFailed, Fault: the job failed or could not be submitted.
        Interrupted: the command was interrupted and its job has ended.
        JobGoesOnError: the command ends, but the job is, or may be, still running.
        JobWrittenError: the job was written to a file and has not started.
    """
    ends_here, file = remote_options.ends_with_command(options), remote_options.written_to(options)
    try:
        with jobs.submitted(lambda pipeline: classification(pipeline, config, own), options) as job:
            if file:
                if job.name.id:  # Beam reports a job even if the job server only writes the file
                    job.wait()
                raise JobWrittenError(f"the job was written to {file}: run it on an engine to complete {own.output}")
            say(f"Created job with id: [{job.name.id}]")
            _follow(job, own, ends_here=ends_here, cancels=config.cancel_on_interrupt)
    except (UserError, CommandFailed, Fault, JobGoesOnError):
        raise
    except Exception as error:
        raise of_command(error) from error


def dry_run(config: ClassifyConfig, own: Run, options: PipelineOptions) -> bool:
    """Build the graph for Dataflow without running it if ``--dry_run`` is set. Returns whether the flag is set."""
    if not options.view_as(TestOptions).dry_run:
        return False
    if options.view_as(StandardOptions).runner != remote_options.DATAFLOW:
        raise UserError(f"--dry_run requires --runner {remote_options.DATAFLOW}")
    try:
        pipeline = beam.Pipeline(options=options)
        classification(pipeline, config, own)
        pipeline.run()
    except Exception as error:
        raise of_command(error) from error
    return True


def attach(output: str, *, cancel: bool) -> str:
    """Follow the job of a run whose command has ended, until the run is committed.

    Args:
        output: path of the run directory.
        cancel: whether to cancel the job instead.

    Returns:
        The folder that holds the run.

    Raises:
        UserError: the output has neither a finished run nor a job to follow.
        CommandFailed, Fault, JobGoesOnError: the job failed, was canceled, or may still be running, see `run`.
    """
    try:
        holder = read_holder(output)
        name = _job_name(output, holder.token) if holder else None
        if holder is None or name is None:
            return _finished(output, holder)
    except StorageError as error:
        raise UserError(f"--attach {output} cannot be read: {error}") from error
    with held_again(output, holder), _attached(output, holder.token):
        job = jobs.find(name)
        if cancel:
            _cancel(job, name)
        say(f"following {name}")
        _wait(job, output, holder.token)
        folder = _committed(output, holder.token)
        if folder is None:
            raise JobFailedError(f"{name} ended without writing {RUN_FILE}")
        return folder


def is_at_work(output: str, token: str) -> bool:
    """Return whether the job of a run whose command has ended is still running.

    Raises:
        UserError: neither the job server nor the engine can be reached.
        CommandFailed: Dataflow does not answer.
    """
    name = _job_name(output, token)
    if name is None:
        return False
    job = jobs.find(name)
    if job is None:
        file = f"{output}/{TEMPORARY}/{token}/{JOB_FILE}"
        raise UserError(f"{name} cannot be reached and may still write to {output}: if it has ended, delete {file}")
    return not job.has_ended()


def _finished(output: str, holder: Holder | None) -> str:
    """Return the folder of a finished run and release its lock.

    Raises:
        UserError: no run has finished in the output.
    """
    folder = _committed(output, holder.token) if holder else output
    if folder is None or not storage.is_file(f"{folder}/{RUN_FILE}"):
        if not storage.exists(output):
            raise UserError(f"--attach {output} does not exist: give a run directory")
        raise UserError(
            f"--attach {output} has neither a finished run nor a running job: if the job was written to a file, "
            "check its state in the engine"
        )
    if holder:
        release(output, holder.token)
    return folder


def _job_name(output: str, token: str) -> JobName | None:
    """Return the name of an attempt's job; None if its file is missing or damaged. Raises StorageError."""
    try:
        return JobName.from_json(storage.read_text(f"{output}/{TEMPORARY}/{token}/{JOB_FILE}"))
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:
            return None
        raise
    except (ValueError, TypeError):  # damaged
        return None


def _follow(job: Job, own: Run, *, ends_here: bool, cancels: bool) -> None:
    """Wait for a job. After an error, its files and lock are kept unless the job has ended or ends with this command.

    Args:
        job: the job to wait for.
        own: the run.
        ends_here: whether the engine or its workers end with this command.
        cancels: whether to cancel the job if the command is interrupted.
    """
    try:
        if not ends_here:
            storage.write_text(f"{own.temporary}/{JOB_FILE}", job.name.to_json())
        _wait(job, own.output, own.token)
    except JobFailedError:
        raise
    except BaseException as error:
        ignore_interrupts()  # the cleanup must not be interrupted
        if _is_committed(own.output, own.token):
            return
        if ends_here:  # its job server may have ended already: do not wait
            with contextlib.suppress(CommandFailed):
                job.cancel()
        elif not (_end(job) if cancels and isinstance(error, KeyboardInterrupt) else job.has_ended()):
            raise _going_on(error, job.name, own.output) from error
        if isinstance(error, JobGoesOnError):
            raise JobFailedError(str(error)) from error
        raise
    ignore_interrupts()


@contextlib.contextmanager
def _attached(output: str, token: str) -> Iterator[None]:
    """Clean up after a job that has failed. After any other error keep its files, as the job may still be running."""
    try:
        yield
    except JobFailedError as error:
        kept = preflight.keep_chunks(f"{output}/{TEMPORARY}/{token}")
        words = "; finished work is kept: run the original command again to continue" if kept else ""
        found = of_command(error)
        raise type(found)(f"{found}{words}") from error
    except JobGoesOnError:
        raise
    except BaseException as error:
        ignore_interrupts()
        raise _going_on(error, None, output) from error


def _going_on(error: BaseException, name: JobName | None, output: str) -> JobGoesOnError:
    """Return the error of a command whose job is, or may be, still running."""
    words = shlex.join(["python", "-m", "pipeline", "classify", "--attach", output])
    job = f"; {name} is still running" if isinstance(error, KeyboardInterrupt) and name else ""
    number = error.signal if isinstance(error, Interrupted) else None
    if number is None and isinstance(error, KeyboardInterrupt):
        number = signal.SIGINT
    what = str(error) or type(error).__name__
    return JobGoesOnError(f"{what}{job}; to follow the job: {words}; to cancel the job: {words} --cancel", number)


def _wait(job: Job | None, output: str, token: str) -> None:
    """Wait until a job has ended or has committed its run.

    The run directory is polled because Beam's job server may not report the end of a job: if a client that followed the
    job was killed, the server fails to notify that client and then notifies no other (Beam 2.62: ``JobInvocation``).

    Args:
        job: the job to wait for; None if neither the job server nor the engine can be reached.
        output: path of the run directory.
        token: token of the attempt.
    """
    errors, ended = list[BaseException](), threading.Event()

    def wait() -> None:
        try:
            if job:
                job.wait()
                ended.set()
        except BaseException as error:  # raised again in the command's thread
            errors.append(error)
            ended.set()

    if job is None:
        say("neither the job server nor the engine can be reached: waiting for the run's files, without a timeout")
    threading.Thread(target=wait, name="job", daemon=True).start()
    counters = functools.partial(job.counters, NAMESPACE) if job else None
    with Watch(f"{output}/{TEMPORARY}/{token}", counters=counters):
        while not ended.wait(_LOOK_SECONDS):
            if _is_committed(output, token):
                ended.wait(_SECONDS_TO_END)
                return
    if errors:
        raise errors[0]


def _cancel(job: Job | None, name: JobName) -> None:
    """Cancel a job. Raises JobFailedError once the job has ended, CommandFailed if it may still be running."""
    if job is None:
        raise CommandFailed(f"{name} cannot be canceled: neither its job server nor its engine can be reached")
    job.cancel()
    if not _has_ended_soon(job):
        raise CommandFailed(f"{name} was canceled but has not ended yet")
    raise JobFailedError(f"{name} was canceled")


def _end(job: Job) -> bool:
    """Cancel a job. Returns whether it has ended."""
    with contextlib.suppress(CommandFailed):
        job.cancel()
    return _has_ended_soon(job)


def _has_ended_soon(job: Job) -> bool:
    end = time.monotonic() + _SECONDS_TO_END
    while not job.has_ended():
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)
    return True


def _is_committed(output: str, token: str) -> bool:
    try:
        return _committed(output, token) is not None
    except (StorageError, OSError):  # polling may succeed next time
        return False


def _committed(output: str, token: str) -> str | None:
    """Return the folder that holds the complete run; None if the run is incomplete. Raises StorageError."""
    for folder in (output, f"{output}/{FAILED}"):
        record = read_record(folder) if storage.is_file(f"{folder}/{RUN_FILE}") else None
        if record and record["attempt"] == token:
            is_complete = record["status"] != "succeeded" or storage.is_file(f"{folder}/{SUCCESS_FILE}")
            return folder if is_complete else None
    return None
