"""Storage layer for local files, objects in ``gs://``, ``s3://``, ``az://`` and ``abfs(s)://``, and images on the web.

==========================  ====================  =====================================
location                    read with             listed, written, copied, deleted with
==========================  ====================  =====================================
a local path                the standard library  the standard library
``gs://``                   obstore               google-cloud-storage
``s3://``                   obstore               boto3 (extra ``aws``)
``az://``, ``abfs(s)://``   obstore               obstore
``http(s)://``              requests              –
anything else               Beam's file systems   Beam's file systems
==========================  ====================  =====================================

Keys in ``gs://`` and ``s3://`` that obstore cannot address are read with google-cloud-storage and boto3.

Failed access raises `catalogue.reasons.StorageError`. Checksums are verified where the client library does so:
google-cloud-storage and boto3 verify uploads. obstore verifies neither its reads nor its uploads to Azure: TLS protects
the bytes in transit, and damage at rest mostly shows up in image decoding.
"""

from catalogue.storage.new_file import NewFile
from catalogue.storage.operations import (
    check_new_folder,
    copy,
    copy_all,
    create,
    exists,
    folders,
    is_file,
    list_files,
    make_folder,
    open_file,
    read,
    read_bytes,
    read_text,
    remove,
    stat,
    write_bytes,
    write_text,
)
from catalogue.storage.paths import (
    absolute,
    check,
    is_glob,
    is_remote,
    is_temporary,
    is_unicode,
    scheme,
    without_file_scheme,
)
from catalogue.storage.values import Content, Listed

__all__ = [
    "Content",
    "Listed",
    "NewFile",
    "absolute",
    "check",
    "check_new_folder",
    "copy",
    "copy_all",
    "create",
    "exists",
    "folders",
    "is_file",
    "is_glob",
    "is_remote",
    "is_temporary",
    "is_unicode",
    "list_files",
    "make_folder",
    "open_file",
    "read",
    "read_bytes",
    "read_text",
    "remove",
    "scheme",
    "stat",
    "without_file_scheme",
    "write_bytes",
    "write_text",
]
