"""Labelled photos: folders of classes, lists with labels, and IDX files to `Example`s."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence

from catalogue import storage
from catalogue.cli.errors import UserError
from catalogue.cli.logs import say
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
    "--data takes a folder with one sub-folder of photos for each class, a list with the columns uri and label "
    f"({', '.join((*kinds.LABELLED_ENDINGS, *kinds.PARQUET_ENDINGS))}), or an IDX file of pictures"
)


@dataclasses.dataclass(frozen=True)
class Example:
    """A photo that somebody gave a label."""

    uri: str
    label: str


def find_examples(data: str, *, labelled: bool = True, class_names: Sequence[str] = ()) -> list[Example]:
    """Lists labelled photos at any path of `catalogue.storage`.

    Args:
        data: a folder with one sub-folder for each class, every file below which, however deep, is an example of it,
            except hidden ones and those in hidden folders, see `catalogue.storage.globs`; or a list, or a glob of
            lists, with the columns ``uri`` and ``label``, see `catalogue.lists`; or an IDX file of pictures with its
            file of labels beside it, see `trainer.data.idx`.
        labelled: whether the labels matter; if not, photos may lie in the folder itself.
        class_names: what the numbers in an IDX file stand for, from 0; empty to have the numbers as labels.

    Raises:
        UserError: there are none, or a list has a wrong row, or a class has no name.
    """
    storage.check(data)
    data = storage.without_file_scheme(data)
    data = data.rstrip("/") or data
    try:
        if idx.is_images_file(data):
            return _in_idx(data, class_names)
        if class_names:
            raise UserError(f"--class-names is for IDX files, whose labels are numbers; {data} is none")
        if _is_list(data):
            return list(_in_list(data))
        if labelled:
            return _in_folders(data)
        examples = list(_photos_in(data))
    except StorageError as error:
        raise UserError(f"{data} cannot be read: {error.message}") from error
    except re.error as error:
        raise UserError(f"{data} is not a glob: {error}") from error
    if not examples:
        raise UserError(f"{data} holds no photos: add some")
    return examples


def dropped_names(dropped: str) -> set[str]:
    """Reads the names of the photos to leave out, as `name_of` gives them.

    Args:
        dropped: a list with the column ``uri``, such as ``label_issues.csv`` of a model directory.

    Raises:
        UserError: it is no such list, or cannot be read.
    """
    columns = ListColumns(URI)
    try:
        if not storage.exists(dropped) or not inputs.is_list(dropped):
            raise UserError(f"--drop {dropped}: there is no such list; give a file with the column {URI}")
        rows = [row for part in inputs.parts_of(dropped, columns) for row in inputs.rows(part, columns)]
    except StorageError as error:
        raise UserError(f"--drop {dropped} cannot be read: {error.message}") from error
    return {name_of(row.location) for row in rows if isinstance(row, Row)}


def name_of(uri: str) -> str:
    """One name for all the ways to write the same place."""
    return uri if storage.is_remote(uri) else os.path.realpath(uri)


def is_folder(data: str) -> bool:
    """Whether labelled photos are in folders, one for each class."""
    return not idx.is_images_file(data) and not _is_list(data)


def _is_list(data: str) -> bool:
    """Whether photos are listed in a file, or in those that a glob matches."""
    if storage.is_glob(data) and kinds.is_list_by_name(data):
        return True
    if not storage.exists(data):
        raise UserError(f"{data} does not exist: {_DATA_IS}")
    return inputs.is_list(data)


def _in_list(data: str) -> Iterator[Example]:
    """The examples of a list. What a classifier is to learn from must be right: a wrong row is refused."""
    count = 0
    for part in inputs.parts_of(data, COLUMNS):
        for row in inputs.rows(part, COLUMNS):
            if not isinstance(row, HiddenFiles):
                count += 1
                yield _example(row)
    if not count:
        raise UserError(f"{data} has no rows")


def _example(row: Row | BadRow) -> Example:
    if isinstance(row, BadRow):
        raise UserError(f"{row.message}: complete it or remove it")
    value = row.columns.get(LABEL)
    label = labels.as_text(value)
    if label is None:
        raise UserError(f"{row.where}: the {LABEL} {value!r} is not text or a number: give one class to each photo")
    if not label:
        raise UserError(f"{row.where} has no {LABEL}: complete it or remove it")
    return Example(row.location, label)


def _in_folders(data: str) -> list[Example]:
    folders = [name for name in storage.folders(data) or () if is_visible(name)]
    unnamed = [name for name in folders if not storage.is_unicode(name)]
    if unnamed:
        raise UserError(f"{data}: the name of the folder {unnamed[0]!r} is not UTF-8: rename it")
    classes = {labels.normalized(name) for name in folders}
    if not classes:
        raise UserError(f"{data} has no sub-folders, one for each class: {_DATA_IS}")
    examples = sorted((example for example in _photos_in(data) if example.label), key=lambda example: example.label)
    empty = sorted(classes - {example.label for example in examples})
    if empty:
        raise UserError(f"{data}: no photos in {', '.join(map(repr, empty))}: add some or remove the folder")
    return examples


def _photos_in(folder: str) -> Iterator[Example]:
    """Every photo below a folder; its label is the name of the folder in that one, empty if it is in none."""
    hidden, start = collections.Counter[str](), len(folder.rstrip("/")) + 1
    for file in globs.in_folder(folder, hidden):
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
                f"{images_file} has the class {largest}, --class-names names {len(names)}, from 0: name all"
            )
        return [Example(f"{images_file}#{row}", names[number]) for row, number in enumerate(numbers)]
    width = len(str(numbers.max(initial=0)))  # so that the order of the classes is that of the numbers
    return [Example(f"{images_file}#{row}", f"{number:0{width}}") for row, number in enumerate(numbers)]


def own_image_size(data: str) -> int | None:
    """The side in pixels of the pictures in an IDX file, None for photos, which have any size."""
    return max(idx.read_labeled(data)[0].shape[1:]) if idx.is_images_file(data) else None
