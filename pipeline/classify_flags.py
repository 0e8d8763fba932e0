"""Command-line flags of ``classify``, and the `ClassifyConfig` they are parsed into."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any

from catalogue import storage
from catalogue.cli import flags
from catalogue.cli.errors import UserError
from catalogue.storage.access import Access
from catalogue.storage.deadline import READ_SECONDS
from pipeline.config import ClassifyConfig, InferenceConfig, Manifest, ReadConfig
from pipeline.records import ENGINES, OUTPUT_FORMATS, PRECISIONS, URI_COLUMN, Shard

BATCH_SIZE = 16
TOP_K = 5
MAX_FAILURE_RATE = 0.05
ROWS_PER_PART = 100_000
RETRIES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``classify`` that are not Beam's."""
    _add_manifest_arguments(parser)
    _add_reading_arguments(parser)
    _add_model_arguments(parser)
    _add_result_arguments(parser)
    _add_failure_arguments(parser)
    _add_job_arguments(parser)
    parser.epilog = (
        "All other flags are passed to Beam: --runner, --direct_num_workers, --project and so on. Without --runner, "
        "the job runs on this machine, usually with one worker per core. The workers are processes, or threads of a "
        "single process if there is a GPU or the network takes 100 MB or more."
    )


def _add_manifest_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("images to classify").add_argument
    add(
        "--input",
        type=flags.path,
        nargs="+",
        action="extend",
        required=True,
        metavar="WHERE",
        help="folders, globs, images, or lists of URIs (text, CSV, TSV, JSON Lines, Parquet)",
    )
    add("--uri-column", default=URI_COLUMN, metavar="NAME", help="name of the column that holds the image's URI")
    add(
        "--base-uri",
        type=flags.path,
        metavar="URI",
        help="base of relative URIs (default: the folder of the list)",
    )
    add(
        "--uri-separator",
        type=flags.separator,
        metavar="TEXT",
        help="separator of several URIs in one cell; the column uri_position holds each URI's position in its cell",
    )
    add(
        "--skip-empty-uri",
        action="store_true",
        help="skip rows without a URI and count them separately (default: they are dead letters)",
    )
    add(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="classify only shard I out of N, such as 2/8; `merge` joins the runs of all shards",
    )


def _add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("reading images").add_argument
    add(
        "--allow-uri",
        type=flags.path,
        action="append",
        metavar="PREFIX",
        help="read only images below this prefix: a folder, or a bucket or host with an optional path; may be repeated",
    )
    add(
        "--read-timeout",
        type=flags.positive_float,
        default=READ_SECONDS,
        metavar="SECONDS",
        help="timeout for reading an image, including retries; above the default, it has no effect on object stores",
    )
    flags.add_limit_arguments(parser)


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the model").add_argument
    add("--model-dir", type=flags.path, required=True, metavar="DIR", help="the model directory")
    add(
        "--require-signature",
        type=flags.path,
        metavar="KEY",
        help="refuse a model unless it is signed with the private key for this public key, see `trainer sign`",
    )
    add("--top-k", type=flags.positive_int, default=TOP_K, metavar="N", help="number of labels to keep per image")
    add(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="auto picks the fastest engine that reproduces the model's golden images on the worker",
    )
    add("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="number format of the computations")
    add(
        "--batch-size",
        type=flags.positive_int,
        default=BATCH_SIZE,
        metavar="N",
        help="images per batch; a batch that does not fit into GPU memory is computed in smaller parts",
    )
    add(
        "--engine-threads",
        type=flags.positive_int,
        metavar="N",
        help="cores per batch (default: in a local run, this machine's cores divided by its workers; otherwise 1)",
    )


def _add_result_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("results").add_argument
    add("--output", type=flags.path, required=True, metavar="RUN_DIR", help="the run directory")
    add("--overwrite", action="store_true", help="replace a finished run in --output")
    add(
        "--previous",
        type=flags.path,
        metavar="RUN_DIR",
        help="reuse the results of unchanged images from this run, or from the newest finished run in this folder",
    )
    add("--output-format", choices=OUTPUT_FORMATS, default=OUTPUT_FORMATS[0], help="file format of the output rows")
    add(
        "--rows-per-part",
        type=flags.positive_int,
        default=ROWS_PER_PART,
        metavar="N",
        help="approximate number of rows per file of the run directory",
    )
    add(
        "--price-per-hour",
        type=flags.non_negative_float,
        metavar="P",
        help="hourly price of all machines together, to report the cost of a million images",
    )


def _add_failure_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("failures").add_argument
    add(
        "--max-failure-rate",
        type=flags.rate,
        default=MAX_FAILURE_RATE,
        metavar="R",
        help="largest share of failed images in a successful run",
    )
    add(
        "--keep-going",
        action="store_true",
        help="do not stop a local run early if too many images have failed (other runners never stop early)",
    )
    add(
        "--retries",
        type=flags.non_negative_int,
        default=RETRIES,
        metavar="N",
        help="number of retries of a local run, with half the workers each, if a worker is killed for lack of memory",
    )


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("jobs on other machines").add_argument
    add(
        "--accelerator",
        type=_accelerator,
        metavar="TYPE",
        help="on Dataflow: GPU of the machines that run the network, such as nvidia-l4; other machines read and decode",
    )
    add(
        "--inference-ram",
        type=_memory,
        metavar="SIZE",
        help="on Dataflow: memory of the machines that run the network, such as 16GB; other machines read and decode",
    )
    add(
        "--cancel-on-interrupt",
        action="store_true",
        help="cancel the remote job if this command is interrupted (default: it keeps running)",
    )
    add(
        "--attach",
        type=flags.path,
        action=_Attach,
        metavar="RUN_DIR",
        help="follow the job of a run whose command has ended; no other flag is required",
    )
    add("--cancel", action="store_true", help="with --attach: cancel that job")


class _Attach(argparse.Action):
    """A flag that makes all other flags optional."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        for action in parser._actions:
            action.required = False


def _shard(given: str) -> Shard:
    found = re.fullmatch(r"(\d+)/(\d+)", given)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{given!r} is not a shard: give I/N, such as 2/8, with I from 1 to N")
    return Shard(int(found[1]), int(found[2]))


def _accelerator(given: str) -> str:
    """Return Beam's resource hint for one GPU of a type. A complete hint, ``type:...``, is returned unchanged."""
    if given.startswith("type:"):
        return given
    if not re.fullmatch(r"[a-z0-9-]+", given):
        raise argparse.ArgumentTypeError(f"{given!r} is not the name of a GPU: give one such as nvidia-l4")
    return f"type:{given};count:1;install-nvidia-driver"


def _memory(given: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[MGT]i?B", given):
        raise argparse.ArgumentTypeError(f"{given!r} is not a size: give one such as 16GB")
    return given


def _inference_hints(arguments: argparse.Namespace) -> dict[str, str]:
    hints = {"accelerator": arguments.accelerator, "min_ram": arguments.inference_ram}
    return {name: value for name, value in hints.items() if value is not None}


def config_from(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> ClassifyConfig:
    """Return the `ClassifyConfig` for parsed flags. Paths are made absolute, as workers have other working directories.

    Raises:
        UserError: a path has an unsupported scheme, a relative path in --allow-uri does not exist, or --cancel is given
            without --attach.
    """
    if arguments.cancel:
        raise UserError("--cancel requires --attach: add --attach RUN_DIR")
    for path in (*arguments.input, arguments.model_dir, arguments.output, arguments.previous):
        if path is not None:
            storage.check(path)
    access = Access(tuple(map(_prefix, arguments.allow_uri or ())))
    return ClassifyConfig(
        manifest=Manifest(
            tuple(map(storage.absolute, arguments.input)),
            arguments.uri_column,
            arguments.base_uri and storage.absolute(arguments.base_uri),
            arguments.uri_separator,
            arguments.skip_empty_uri,
            access,
            arguments.shard,
        ),
        model_dir=storage.absolute(arguments.model_dir),
        require_signature=arguments.require_signature and storage.absolute(arguments.require_signature),
        output=storage.absolute(arguments.output),
        inference=InferenceConfig(
            engine=arguments.engine,
            precision=arguments.precision,
            batch_size=arguments.batch_size,
            top_k=arguments.top_k,
            threads=arguments.engine_threads,
        ),
        max_failure_rate=arguments.max_failure_rate,
        keep_going=arguments.keep_going,
        previous=arguments.previous and storage.absolute(arguments.previous),
        overwrite=arguments.overwrite,
        output_format=arguments.output_format,
        rows_per_part=arguments.rows_per_part,
        reading=ReadConfig(flags.limits(arguments), arguments.read_timeout, access),
        retries=arguments.retries,
        price_per_hour=arguments.price_per_hour,
        inference_hints=_inference_hints(arguments),
        cancel_on_interrupt=arguments.cancel_on_interrupt,
        beam_flags=tuple(beam_flags),
    )


def _prefix(given: str) -> str:
    """Return a value of ``--allow-uri`` as a URI or absolute path. Raises UserError if it may be a host name."""
    found = storage.absolute(given)
    if not storage.is_remote(found) and not os.path.isabs(given) and not os.path.exists(found):
        raise UserError(f"--allow-uri {given} does not exist: give a folder, or https://{given} for a host")
    return found
