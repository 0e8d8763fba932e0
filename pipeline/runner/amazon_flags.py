"""Beam's ``--s3_*`` flags as environment variables, which the storage layer of this process reads.

If such flags are given, Beam imports this module in every worker as a plug-in, see `runners.beam_options`.
"""

from __future__ import annotations

import os

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options

VARIABLES = {
    "s3_access_key_id": "AWS_ACCESS_KEY_ID",
    "s3_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "s3_session_token": "AWS_SESSION_TOKEN",
    "s3_endpoint_url": "AWS_ENDPOINT_URL_S3",
    "s3_region_name": "AWS_DEFAULT_REGION",
}


def export(options: PipelineOptions) -> None:
    """Set the environment variables of boto3 that correspond to the flags."""
    given = options.view_as(S3Options).get_all_options(drop_default=True)
    os.environ.update({VARIABLES[name]: value for name, value in given.items() if name in VARIABLES and value})


if FileSystems._pipeline_options is not None:  # set by Beam in a worker before it imports plug-ins
    export(FileSystems._pipeline_options)
