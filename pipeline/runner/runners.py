"""Choice of the Beam runner and its workers, from Beam's flags and the defaults of this project."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    S3Options,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import create_runner
from apache_beam.transforms import environments

from catalogue.cli.errors import UserError
from catalogue.cli.flags import Parser, refuse_unknown
from pipeline.machine import cores, has_gpu, memory
from pipeline.runner import amazon_flags, remote_options, unix_sockets
from pipeline.runner.worker_processes import ProcessRunner

LOCAL_RUNNER = "FnApiRunner"
_NEVER_MS = 10**11
_WORKER_BYTES = 3 * 2**29  # with TensorFlow; see docs/benchmarks.md
_LARGE_WEIGHTS_BYTES = 100 * 10**6  # from this size on, threads are as fast as processes; see docs/guides/sizing.md


def beam_options(flags: Sequence[str]) -> PipelineOptions:
    """Return Beam's options for some flags, with the defaults of this project. Raises UserError.

    Without ``--runner`` the job runs on Beam's FnApiRunner, with one process per core, or fewer if memory is short. If
    there is a GPU, the workers are threads of one process, because the GPU has room for only one copy of the network.
    ``--runner DirectRunner`` has the same effect. Beam's own DirectRunner would choose between three runners, one of
    which it downloads.
    """
    options = PipelineOptions(list(flags))
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if standard.runner in (None, "DirectRunner"):
        standard.runner = LOCAL_RUNNER
    if standard.runner == LOCAL_RUNNER:
        _set_workers(direct, flags)
    if direct.direct_num_workers < 0:
        raise UserError("--direct_num_workers is negative: give a number of workers, or 0 for one per core")
    if standard.no_wait_until_finish:
        raise UserError("--no_wait_until_finish is not supported, as classify checks the finished run: omit it")
    if options.view_as(S3Options).get_all_options(drop_default=True).keys() & amazon_flags.VARIABLES.keys():
        amazon_flags.export(options)
        setup = options.view_as(SetupOptions)
        setup.beam_plugins = [*(setup.beam_plugins or ()), amazon_flags.__name__]
    try:
        standard.runner = type(create_runner(standard.runner)).__name__  # accepts flink or a dotted path, too
    except ValueError as error:
        known = (remote_options.DATAFLOW, remote_options.FLINK, remote_options.SPARK, remote_options.PORTABLE,
                 remote_options.PRISM)  # fmt: skip
        nearest = difflib.get_close_matches(str(standard.runner), known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"give {', '.join(known)}, or omit it"
        raise UserError(f"--runner {standard.runner} is unknown: {hint}") from error
    return options


def _set_workers(direct: DirectOptions, flags: Sequence[str]) -> None:
    """Set the number and the mode of the local workers where the flags do not."""
    if not _is_given("--direct_num_workers", flags):
        direct.direct_num_workers = cores() if has_gpu() else max(1, min(cores(), memory() // _WORKER_BYTES))
    elif direct.direct_num_workers == 0:
        direct.direct_num_workers = cores()
    if not _is_given("--direct_running_mode", flags) and direct.direct_num_workers != 1:
        direct.direct_running_mode = "multi_threading" if has_gpu() else "multi_processing"


def share_weights(options: PipelineOptions, flags: Sequence[str], weights: int) -> None:
    """Run the local workers as threads of one process if the weights are large, as each process would load a copy.

    Args:
        options: Beam's options, changed in place.
        flags: flags that `options` was parsed from; an explicit ``--direct_running_mode`` is kept.
        weights: size of the network in bytes.
    """
    direct = options.view_as(DirectOptions)
    is_chosen_here = is_local(options) and not _is_given("--direct_running_mode", flags)
    if is_chosen_here and direct.direct_running_mode == "multi_processing" and weights >= _LARGE_WEIGHTS_BYTES:
        direct.direct_running_mode = "multi_threading"


def _is_given(flag: str, flags: Sequence[str]) -> bool:
    return any(word.split("=")[0] == flag for word in flags)


def is_local(options: PipelineOptions) -> bool:
    """Return whether the workers are local threads or processes, which end with this process."""
    return options.view_as(StandardOptions).runner == LOCAL_RUNNER


def division_of_cores(options: PipelineOptions, threads: int | None) -> tuple[int | None, int]:
    """Divide the cores among concurrent batches.

    Args:
        options: Beam's options.
        threads: cores per batch; None to choose automatically.

    Returns:
        The number of threads of a worker process that run batches concurrently, None if only the worker can tell, and
        the number of cores per batch.
    """
    if not is_local(options):
        return None, threads or 1
    direct = options.view_as(DirectOptions)
    workers = direct.direct_num_workers
    callers = 1 if direct.direct_running_mode == "multi_processing" else workers
    return callers, threads or max(1, cores() // workers)


def runner_for(options: PipelineOptions) -> Any:
    """Return the runner named in Beam's options, for a single run.

    The FnApiRunner's ports are replaced by `pipeline.runner.unix_sockets`, and its worker processes by those of
    `pipeline.runner.worker_processes`.

    In threading mode FnApiRunner flushes output every second from another thread without a lock. Elements written
    meanwhile are lost, or make the reader allocate memory without limit (Beam 2.77:
    ``TimeBasedBufferingClosableOutputStream``; about a hundred of 200,000 grouped lines were missing in every third
    run). So time-based flushing is off: buffers are flushed when they are full or the bundle ends.
    """
    direct, name = options.view_as(DirectOptions), options.view_as(StandardOptions).runner
    mode = direct.direct_running_mode
    if name != LOCAL_RUNNER or mode == "in_memory":
        return name
    unix_sockets.install()
    direct.direct_running_mode = "in_memory"  # in this mode, the given environment is used
    if mode == "multi_processing":
        return ProcessRunner()
    environment = environments.EmbeddedPythonGrpcEnvironment(
        data_buffer_time_limit_ms=_NEVER_MS, capabilities=environments.python_sdk_capabilities()
    )
    return FnApiRunner(default_environment=environment)


def refuse_unknown_beam_flags(flags: Sequence[str], own: Sequence[str]) -> None:
    """Refuse flags that Beam does not know. Raises UserError with the most similar flag of Beam or of `own`.

    For remote runners only misspelled flags are refused, because Beam does not know all flags of the engines.
    """

    class BeamParser(Parser, pipeline_options._BeamArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(message)

    parser = BeamParser(add_help=False, conflict_handler="resolve")
    for options in pipeline_options.PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    arguments, unknown = parser.parse_known_args(list(flags))
    if arguments.runner in (None, "DirectRunner", LOCAL_RUNNER):
        refuse_unknown(unknown, [*own, *parser.flags()])
    else:
        remote_options.refuse_near_misses(unknown, [*own, *parser.flags()])
