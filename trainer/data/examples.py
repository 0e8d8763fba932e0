"""Labeled photos, as `Example`s, from class folders, lists with labels, and IDX files."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from catalogue.lists import inputs, kinds
from catalogue.lists.inputs import BadRow, HiddenFiles, Row
from catalogue.lists.values import ListColumns
from catalogue.reasons import StorageError
from catalogue.storage import globs
from catalogue.storage.paths import is_visible
from trainer.data import idx, labels

URI, LABEL = "uri", "label"
COLUMNS = ListColumns(URI, LABEL)
_DATA_IS = (
    "--data accepts a folder with one subfolder of photos for each class, a list with the columns uri and label "
    f"({', '.join((*kinds.LABELED_ENDINGS, *kinds.PARQUET_ENDINGS))}), or an IDX file of images"
)


@dataclasses.dataclass(frozen=True)
class Example:
    """A labeled photo."""

    uri: str
    label: str


def find_examples(data: str, *, labeled: bool = True, class_names: Sequence[str] = ()) -> list[Example]:
    """List labeled photos at any path that `catalogue.storage` supports.

    Args:
        data: a folder with one subfolder for each class, in which every file at any depth is an example, except hidden
            files and those in hidden folders, see `catalogue.storage.globs`; or a list, or a glob of lists, with the
            columns ``uri`` and ``label``, see `catalogue.lists`; or an IDX file of images with its label file beside
            it, see `trainer.data.idx`.
        labeled: whether the labels matter; if not, photos may be directly in the folder.
        class_names: names of the numeric classes of an IDX file, from 0; empty to use the numbers as labels.

    Raises:
        UserError: no photos were found, the data cannot be read, a list has an invalid row, an IDX class has no name,
            or `class_names` is given for other data.
    """
    storage.check(data)
    data = storage.without_file_scheme(data)
    data = data.rstrip("/") or data
    try:
        if idx.is_images_file(data):
            return _in_idx(data, class_names)
        if class_names:
            raise UserError(f"--class-names applies only to IDX files, and {data} is not one: omit it")
        if _is_list(data):
            return list(_in_list(data))
        if labeled:
            return _in_folders(data)
        examples = list(_photos_in(data))
    except StorageError as error:
        raise UserError(f"{data} cannot be read: {error.message}") from error
    except re.error as error:
        raise UserError(f"{data} is not a valid glob: {error}") from error
    if not examples:
        raise UserError(f"{data} contains no photos: add some")
    return examples


def dropped_names(dropped: str) -> set[str]:
    """Read the names of the photos to omit, in the form that `name_of` returns.

    Args:
        dropped: a list with the column ``uri``, such as ``label_issues.csv`` of a model directory.

    Raises:
        UserError: the file is not such a list, or cannot be read.
    """
    columns = ListColumns(URI)
    try:
        if not storage.exists(dropped) or not inputs.is_list(dropped):
            raise UserError(f"--drop {dropped} is not an existing list: give a file with the column {URI}")
        rows = [row for part in inputs.parts_of(dropped, columns) for row in inputs.rows(part, columns)]
    except StorageError as error:
        raise UserError(f"--drop {dropped} cannot be read: {error.message}") from error
    return {name_of(row.location) for row in rows if isinstance(row, Row)}


def name_of(uri: str) -> str:
    """Return the canonical name of a photo: its URI if it is remote, or else its real path."""
    return uri if storage.is_remote(uri) else os.path.realpath(uri)


def is_folder(data: str) -> bool:
    """Return whether labeled photos are in folders, one for each class."""
    return not idx.is_images_file(data) and not _is_list(data)


def _is_list(data: str) -> bool:
    """Return whether photos are listed in a file, or in the files that a glob matches."""
    if storage.is_glob(data) and kinds.is_list_by_name(data):
        return True
    if not storage.exists(data):
        raise UserError(f"{data} does not exist: {_DATA_IS}")
    return inputs.is_list(data)


def _in_list(data: str) -> Iterator[Example]:
    """Yield the examples of a list. Training data must be correct, so an invalid row is an error."""
    count = 0
    for part in inputs.parts_of(data, COLUMNS):
        for row in inputs.rows(part, COLUMNS):
            if not isinstance(row, HiddenFiles):
                count += 1
                yield _example(row)
    if not count:
        raise UserError(f"{data} has no rows: add some")


def _example(row: Row | BadRow) -> Example:
    if isinstance(row, BadRow):
        raise UserError(f"{row.message}: fix or remove the row")
    value = row.columns.get(LABEL)
    label = labels.as_text(value)
    if label is None:
        raise UserError(f"{row.where}: the {LABEL} {value!r} is not text or a number: give each photo one class")
    if not label:
        raise UserError(f"{row.where} has no {LABEL}: fix or remove the row")
    return Example(row.location, label)


def _in_folders(data: str) -> list[Example]:
    folders = [name for name in storage.folders(data) or () if is_visible(name)]
    unnamed = [name for name in folders if not storage.is_unicode(name)]
    if unnamed:
        raise UserError(f"{data}: the name of the folder {unnamed[0]!r} is not UTF-8: rename it")
    classes = {labels.normalized(name) for name in folders}
    if not classes:
        raise UserError(f"{data} has no class subfolders: {_DATA_IS}")
    found = list(_photos_in(data))
    examples = sorted((example for example in found if example.label), key=lambda example: example.label)
    loose = [example.uri for example in found if not example.label]
    if loose:
        say(
            f"warning: skipped {counted(len(loose), 'file')} outside the class folders of {data}, for example "
            f"{loose[0]}"
        )
    empty = sorted(classes - {example.label for example in examples})
    if empty:
        raise UserError(f"{data}: no photos in {', '.join(map(repr, empty))}: add some or remove the folder")
    return examples


def _photos_in(folder: str) -> Iterator[Example]:
    """Yield every photo below a folder, labeled with its top-level subfolder, or "" if it is in none."""
    hidden, start = collections.Counter[str](), len(folder.rstrip("/")) + 1
    for file in map(storage.Listed.checked, globs.in_folder(folder, hidden)):
        name, slash, _ = file.location[start:].partition("/")
        yield Example(file.location, labels.normalized(name) if slash else "")
    if hidden:
        say(f"{folder}: {HiddenFiles(dict(hidden))}")


def _in_idx(images_file: str, names: Sequence[str]) -> list[Example]:
    _, numbers = idx.read_labeled(images_file)
    if names:
        largest = int(numbers.max(initial=0))
        if largest >= len(names):
            raise UserError(
                f"{images_file} has class {largest}, but --class-names names only classes 0 to {len(names) - 1}: "
                "name all classes"
            )
        return [Example(f"{images_file}#{row}", names[number]) for row, number in enumerate(numbers)]
    width = len(str(numbers.max(initial=0)))  # zero padding, so that labels sort in numeric order
    return [Example(f"{images_file}#{row}", f"{number:0{width}}") for row, number in enumerate(numbers)]


def own_image_size(data: str) -> int | None:
    """Return the longer side in pixels of the images in an IDX file, or None for other data, where sizes vary."""
    return max(idx.read_labeled(data)[0].shape[1:]) if idx.is_images_file(data) else None
