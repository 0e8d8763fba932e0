"""Encoding of photos by the frozen part of a network, computed once and stored in files.

The files are memory-mapped, so the operating system caches as much of them as fits into memory. If they are kept with
the run's checkpoints, an interrupted run resumes after the last finished batch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from catalogue.cli.errors import UserError
from catalogue.cli.progress import Progress
from catalogue.images.spec import ImageSpec, Limits
from catalogue.model_dir import graph
from trainer.data.examples import Example
from trainer.data.identity import Contents, contents_of
from trainer.data.photos import Photo, Unreadable, read_photos
from trainer.fitting import augmentation, warping
from trainer.fitting.augmentation import Augmentation
from trainer.fitting.distribution import Devices
from trainer.fitting.encoded import Encoded
from trainer.fitting.encoding_files import _Log, _open_arrays, _replace
from trainer.networks.network import Network


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Encoder of photos by the frozen part of a network.

    Attributes:
        network: network whose frozen part is run.
        devices: devices that run it.
        spec, limits: image specification and limits for reading photos.
        batch_size: number of photos per batch.
        folder: folder of the files, on a local disk.
        in_bfloat16: whether convolutions compute in bfloat16; for a single CPU only.
    """

    network: Network
    devices: Devices
    spec: ImageSpec
    limits: Limits
    batch_size: int
    folder: Path
    in_bfloat16: bool = False

    @property
    def has_rounded(self) -> bool:
        """Whether any stored values were computed in bfloat16, possibly by an earlier run on another machine."""
        return self._rounded.exists()

    @property
    def _rounded(self) -> Path:
        return self.folder / "bfloat16"

    def encode(self, examples: Sequence[Example], *, with_features: bool) -> Encoded:
        """Run the frozen part once over each photo.

        Args:
            examples: labeled photos.
            with_features: whether to compute the features above the cut, too.

        Raises:
            UserError: photos have changed since an interrupted run encoded them, or the disk is too full.
        """
        models = self._models(with_features)
        stored = [_stored(model) for model in models]
        if self.network.lower is None:
            stored.insert(0, (np.uint8, self.spec.shape))
        arrays = _open_arrays(self.folder, [f"values-{n}" for n in range(len(stored))], stored, len(examples))
        if self.in_bfloat16 and models:
            self._rounded.touch()
        run = self.runner(models, images_too=self.network.lower is None, in_bfloat16=self.in_bfloat16)
        title = "reading photos" + (" and running the frozen network" if models else "")
        with _Log(self.folder / "photos.jsonl", examples) as log:
            _check_unchanged(log.contents(), examples[: log.done], self.limits)
            photos = read_photos(examples[log.done :], self.spec, self.limits)
            with Progress(title, len(examples), "photos", done=log.done) as progress:
                while batch := list(itertools.islice(photos, self.batch_size)):
                    images = [photo.image for photo in batch if isinstance(photo, Photo)]
                    if images:
                        rows = slice(len(log.kept), len(log.kept) + len(images))
                        for array, values in zip(arrays, run(np.stack(images)), strict=True):
                            array[rows] = values
                    log.add(batch)
                    progress.advance(len(batch), f"{len(log.unreadable)} unreadable" if log.unreadable else "")
        count = len(log.kept)
        values = arrays[0][:count]
        features = arrays[-1][:count] if with_features and len(arrays) > 1 else None
        if self.network.upper is None:
            features = values
        uris = tuple(example for example, _ in log.kept)
        hashes = tuple(content_hash for _, content_hash in log.kept)
        return Encoded(values, features, uris, hashes, tuple(log.unreadable))

    def encode_exactly(self, encoded: Encoded, rows: np.ndarray) -> None:
        """Recompute the values and features of some photos in full precision.

        Args:
            encoded: all photos; the values and features of `rows` are replaced in place.
            rows: int [M], rows of the photos to encode again.

        Raises:
            UserError: a photo has changed since it was encoded.
        """
        models = self._models(encoded.features is not None)
        if not models:
            return  # images need no encoding
        arrays = [encoded.values] if self.network.lower is not None else []
        if encoded.features is not None and encoded.features is not encoded.values:
            arrays.append(encoded.features)
        run = self.runner(models)
        title = "running the frozen network in full precision on held-out photos"
        for here, images in self._again(encoded, rows, "exact", title):
            for array, values in zip(arrays, run(images), strict=True):
                array[rows[here]] = values

    def copies(self, encoded: Encoded, rows: np.ndarray, varied: Augmentation, count: int, seed: int) -> np.ndarray:
        """Run the frozen part once over augmented copies of some photos.

        Args:
            encoded: all photos.
            rows: int [T], rows of the photos to augment.
            varied: augmentation settings.
            count: number of copies of each photo, C.
            seed: seed of the augmentation.

        Returns:
            [C, T, ...], in the form of `Encoded.values`.

        Raises:
            UserError: a photo has changed since it was encoded, or the disk is too full.
        """
        lower = self.network.lower
        assert lower is not None  # with the cut at the pixels each epoch draws new copies
        (array,) = _open_arrays(self.folder, ["copies"], [_stored(lower)], count * len(rows))
        copies = array.reshape(count, len(rows), *array.shape[1:])
        if self.in_bfloat16:
            self._rounded.touch()
        run = self.runner([lower], varied=True, in_bfloat16=self.in_bfloat16)
        drawn = [augmentation.draws(seed, copy + 1, len(encoded.examples))[rows] for copy in range(count)]
        title = f"running the frozen network over augmented copies ({count} per photo)"
        for here, images in self._again(encoded, rows, "copies", title):
            for copy in range(count):
                how = augmentation.variation(varied, drawn[copy][here], self.spec.size)
                copies[copy, here] = run(images, *how)[0]
        return copies

    def _again(self, encoded: Encoded, rows: np.ndarray, name: str, title: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Read photos a second time, resuming where an interrupted pass of the same `name` stopped.

        Yields:
            The slice of `rows` in a batch, and its images; a batch counts as done when the next one is requested.
        """
        counter = self.folder / f"{name}.done"
        done = int(counter.read_text()) if counter.exists() else 0
        photos = read_photos((encoded.examples[row] for row in rows[done:]), self.spec, self.limits)
        with Progress(title, len(rows), "photos", done=done) as progress:
            while batch := list(itertools.islice(photos, self.batch_size)):
                images = np.stack([_unchanged(photo, encoded, rows[done + n]) for n, photo in enumerate(batch)])
                yield slice(done, done + len(batch)), images
                done += len(batch)
                _replace(counter, str(done))
                progress.advance(len(batch))

    def _models(self, with_features: bool) -> list[keras.Model]:
        """Return the models to run in sequence: one for the values, and one for the features above them."""
        lower, upper = self.network.lower, self.network.upper
        return [model for model in (lower, upper if with_features else None) if model is not None]

    def runner(
        self,
        models: Sequence[keras.Model],
        *,
        images_too: bool = False,
        varied: bool = False,
        in_bfloat16: bool = False,
    ) -> Callable[..., list[np.ndarray]]:
        """Return a function that runs models in sequence, each on the output of the previous one.

        Args:
            models: models to run.
            images_too: whether to return the images as the first output.
            varied: whether the function also accepts variations, see `trainer.fitting.augmentation.variation`.
            in_bfloat16: whether to compute in bfloat16, see `catalogue.model_dir.graph.in_session`; ignored if there
                are several replicas.

        Returns:
            A function from uint8 [N, H, W, 3] to an array [N, ...] for each output, in the dtype in which it is stored.
        """
        if not models:
            return lambda images: [images]

        def compute(images: Any, *how: Any) -> list[Any]:
            x = warping.apply(images, *how) if varied else images
            outputs = []
            for model in models:
                x = model(x, training=False)
                outputs.append(_narrowed(x))
            return outputs

        signature = [tf.TensorSpec((None, *self.spec.shape), tf.uint8)]
        if varied:
            signature += [tf.TensorSpec((None, 8), tf.float32), tf.TensorSpec((None, 3, 4), tf.float32)]
        function = tf.function(compute, input_signature=signature)
        run = self._compiled(function, in_bfloat16)
        return lambda *arrays: [arrays[0], *run(*arrays)] if images_too else run(*arrays)

    def _compiled(self, function: Any, in_bfloat16: bool) -> Callable[..., list[np.ndarray]]:
        if self.devices.replicas > 1:
            return lambda *arrays: self._on_all(function, *arrays)
        concrete = function.get_concrete_function()
        if in_bfloat16:
            return graph.in_session(graph.merged(graph.constant(concrete)), in_bfloat16=True)
        folded = graph.folded(concrete)
        return lambda *arrays: [value.numpy() for value in folded(*arrays)]

    def _on_all(self, function: Any, *arrays: np.ndarray) -> list[np.ndarray]:
        """Run a function on all devices of this process, with a part of the rows on each."""
        count = len(arrays[0])
        numbers, _ = self.devices.parts(count, local=True)
        parts = [self.devices.per_replica([array[part] for part in numbers]) for array in arrays]
        return [self.devices.local(value, count) for value in self.devices.run(function, *parts)]


def _stored(model: keras.Model) -> tuple[Any, tuple[int, ...]]:
    """Return the dtype and the shape in which the output of a model for a photo is stored."""
    shape = model.output_shape[1:]
    return (np.float16 if len(shape) > 1 else np.float32), shape


def _narrowed(x: Any) -> Any:
    if len(x.shape) < 3:
        return tf.cast(x, tf.float32)
    largest = tf.cast(tf.float16.max, x.dtype) if x.dtype != tf.float16 else tf.float16.max
    return tf.cast(tf.clip_by_value(x, -largest, largest), tf.float16)


def _check_unchanged(then: Contents, examples: Sequence[Example], limits: Limits) -> None:
    """Refuse to resume a run whose photos have changed under the same names."""
    changed = sorted({uri for uri, _ in set(then) - set(contents_of(examples, limits))}) if examples else []
    if changed:
        count = "1 photo has" if len(changed) == 1 else f"{len(changed):,} photos have"
        raise UserError(
            f"{count} changed since the run was interrupted, for example {changed[0]}: omit --resume to start over"
        )


def _unchanged(photo: Photo | Unreadable, encoded: Encoded, row: int) -> np.ndarray:
    """Return the image of a photo that was read again. Raise UserError if the photo has changed."""
    if isinstance(photo, Unreadable) or photo.content_hash != encoded.content_hashes[row]:
        raise UserError(f"{photo.example.uri} changed during training: start over without --resume")
    return photo.image
