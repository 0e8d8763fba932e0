"""A run on a runner of many machines. Its job may outlive the command, and be followed again, or cancelled, by another.

What it is found by is in ``job.json`` among the files of the attempt.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, TestOptions

from catalogue import storage
from catalogue.cli.command import ignore_interrupts
from catalogue.cli.errors import CommandFailed, Fault, Interrupted, UserError
from catalogue.cli.logs import say
from catalogue.reasons import Reason, StorageError
from pipeline.config import ClassifyConfig
from pipeline.errors import JobFailedError, JobGoesOnError, of_command
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

_LOOK_SECONDS, _SECONDS_TO_END = 5.0, 30.0


def run(config: ClassifyConfig, own: Run, options: PipelineOptions) -> None:
    """Submits the job and follows it to its end.

    Args:
        config: the settings.
        own: the run.
        options: Beam's.

    Raises:
        UserError, CommandFailed, Fault: the job failed, or could not be submitted.
        Interrupted: the command was interrupted, and the job ends with it.
        JobGoesOnError: the command ends, and the job does not, or may not.
    """
    try:
        with jobs.submitted(lambda pipeline: classification(pipeline, config, own), options) as job:
            say(f"Created job with id: [{job.name.id}]")
            storage.write_text(f"{own.temporary}/{JOB_FILE}", job.name.to_json())
            ends_here = config.cancel_on_interrupt or remote_options.ends_with_command(options)
            _follow(job, own.output, own.token, cancels=ends_here)
    except (UserError, CommandFailed, Fault, JobGoesOnError):
        raise
    except FileNotFoundError as error:
        raise UserError(f"the job cannot be submitted: there is no {error.filename}: is Java installed?") from error
    except Exception as error:
        raise of_command(error) from error


def dry_run(config: ClassifyConfig, own: Run, options: PipelineOptions) -> bool:
    """Builds the graph for the runner and nothing else, if ``--dry_run`` says so. Returns whether it did."""
    if not options.view_as(TestOptions).dry_run:
        return False
    try:
        pipeline = beam.Pipeline(options=options)
        classification(pipeline, config, own)
        pipeline.run()
    except Exception as error:
        raise of_command(error) from error
    return True


def attach(output: str, *, cancel: bool) -> str:
    """Follows the job of a run whose command has ended, until the run is committed.

    Args:
        output: the run directory.
        cancel: whether to end the job instead.

    Returns:
        The folder that the run is in.

    Raises:
        UserError: there is no such job.
        CommandFailed, Fault, Interrupted, JobGoesOnError: see `run`.
    """
    try:
        holder = read_holder(output)
        name = _job_name(output, holder.token) if holder else None
    except StorageError as error:
        raise UserError(f"--attach {output} cannot be read: {error}") from error
    if holder is None or name is None:
        folder = _committed(output, holder.token) if holder else output
        if folder is None or not storage.is_file(f"{folder}/{RUN_FILE}"):
            raise UserError(f"--attach {output}: there is no job that goes on elsewhere, and no run that has finished")
        if holder:
            release(output, holder.token)
        return folder
    with held_again(output, holder), _cleaning(output, holder):
        job = jobs.find(name)
        if cancel:
            _cancel(job, name)
        say(f"following {name}")
        if job:
            _follow(job, output, holder.token, cancels=False)
        else:
            _wait_for_commit(output, holder.token, name)
        folder = _committed(output, holder.token)
        if folder is None:
            raise CommandFailed(f"{output} has no {RUN_FILE} of this run: it has not finished")
        return folder


def is_at_work(output: str, token: str) -> bool:
    """Whether a run whose command has ended has a job that goes on."""
    name = _job_name(output, token)
    job = jobs.find(name) if name else None
    return job is not None and not job.has_ended()


def _job_name(output: str, token: str) -> JobName | None:
    """What the job of an attempt is found by; None if it has none, or is over. Raises StorageError."""
    try:
        return JobName.from_json(storage.read_text(f"{output}/{TEMPORARY}/{token}/{JOB_FILE}"))
    except StorageError as error:
        if error.reason is Reason.NOT_FOUND:
            return None
        raise
    except (ValueError, TypeError):  # damaged
        return None


def _follow(job: Job, output: str, token: str, *, cancels: bool) -> None:
    """Waits for a job.

    Args:
        job: to wait for.
        output: the run directory.
        token: of the attempt.
        cancels: whether the job is to end if the command is interrupted.
    """
    try:
        with Watch(f"{output}/{TEMPORARY}/{token}", counters=lambda: job.counters(NAMESPACE)):
            _wait(job, output, token)
        ignore_interrupts()
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
        if cancels:
            with contextlib.suppress(CommandFailed):
                _end(job)
            raise
        raise JobGoesOnError(f"interrupted; {job.name} goes on; {_how(output)}", number) from None
    except JobGoesOnError as error:
        raise JobGoesOnError(f"{error}; {_how(output)}") from error


def _wait(job: Job, output: str, token: str) -> None:
    """Waits until a job has ended, or has committed its run.

    A job server of Beam forgets to say that a job has ended if a command that followed it was killed (2.62:
    ``JobInvocation`` fails to tell the one that is gone, and then tells nobody).
    """
    errors, ended = list[BaseException](), threading.Event()

    def wait() -> None:
        try:
            job.wait()
        except BaseException as error:  # raised in the thread of the command
            errors.append(error)
        ended.set()

    threading.Thread(target=wait, name="job", daemon=True).start()
    while not ended.wait(_LOOK_SECONDS):
        if _committed(output, token):
            ended.wait(_SECONDS_TO_END)
            return
    if errors:
        raise errors[0]


def _how(output: str) -> str:
    words = shlex.join(["python", "-m", "pipeline", "classify", "--attach", output])
    return f"to follow it: {words}; to end it: {words} --cancel"


def _cancel(job: Job | None, name: JobName) -> None:
    if job is None:
        raise JobGoesOnError(f"{name} cannot be cancelled from here: nobody answers who knows it")
    _end(job)
    raise CommandFailed(f"{name} was cancelled")


def _end(job: Job) -> None:
    """Cancels a job and gives it a while to end. Raises CommandFailed."""
    job.cancel()
    end = time.monotonic() + _SECONDS_TO_END
    while not job.has_ended() and time.monotonic() < end:
        time.sleep(0.5)


def _wait_for_commit(output: str, token: str, name: JobName) -> None:
    """Waits for a job that only its files tell of."""
    say(f"{name}: nobody answers who knows it; waiting for its last files")
    try:
        with Watch(f"{output}/{TEMPORARY}/{token}"):
            while _committed(output, token) is None:
                time.sleep(_LOOK_SECONDS)
    except Interrupted as error:
        raise JobGoesOnError(f"interrupted; {name} goes on, as far as is known", error.signal) from None


def _committed(output: str, token: str) -> str | None:
    """The folder in which a run is complete; None as long as it is not."""
    for folder in (output, f"{output}/{FAILED}"):
        record = read_record(folder) if storage.is_file(f"{folder}/{RUN_FILE}") else None
        if record and record["attempt"] == token:
            is_complete = record["status"] != "succeeded" or storage.is_file(f"{folder}/{SUCCESS_FILE}")
            return folder if is_complete else None
    return None


@contextlib.contextmanager
def _cleaning(output: str, holder: Holder) -> Iterator[None]:
    """Removes what nobody needs of a job that has failed."""
    try:
        yield
    except (JobFailedError, UserError, CommandFailed) as error:
        kept = preflight.keep_chunks(f"{output}/{TEMPORARY}/{holder.token}")
        words = "; finished work is kept: the command that began the run continues it" if kept else ""
        raise CommandFailed(f"{of_command(error)}{words}") from error
