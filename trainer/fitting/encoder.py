"""What the frozen part of a network makes of photos, computed once and kept in files.

The files are mapped into memory: as much of them as it has room for is read from there. They belong to the run's
checkpoints; a run that was interrupted goes on with the photo it had come to.
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
    """How photos are read and encoded.

    Attributes:
        network: whose frozen part is run.
        devices: what runs it.
        spec, limits: how photos are read.
        batch_size: photos that go through the network at once.
        folder: where the files are kept, on a local disk.
        in_bfloat16: whether convolutions compute in bfloat16, on the one processor there is.
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
        """Whether some of what is in the files was computed in bfloat16, be it by an earlier run on another machine."""
        return self._rounded.exists()

    @property
    def _rounded(self) -> Path:
        return self.folder / "bfloat16"

    def encode(self, examples: Sequence[Example], *, with_features: bool) -> Encoded:
        """Runs the frozen part once over each photo.

        Args:
            examples: labelled photos.
            with_features: whether the features above the cut are wanted too.
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
        """Runs the frozen part over some photos again, in full precision.

        Args:
            encoded: all photos; its values and features are replaced where they were computed in bfloat16.
            rows: int [M], the photos whose values are.

        Raises:
            UserError: a photo was changed since it was encoded.
        """
        models = self._models(encoded.features is not None)
        if not models:
            return  # the images are what they are
        arrays = [encoded.values] if self.network.lower is not None else []
        if encoded.features is not None and encoded.features is not encoded.values:
            arrays.append(encoded.features)
        run = self.runner(models)
        title = "running the frozen network in full precision on what validates"
        for here, images in self._again(encoded, rows, "exact", title):
            for array, values in zip(arrays, run(images), strict=True):
                array[rows[here]] = values

    def copies(self, encoded: Encoded, rows: np.ndarray, varied: Augmentation, count: int, seed: int) -> np.ndarray:
        """Runs the frozen part once over each of some varied copies of photos.

        Args:
            encoded: all photos.
            rows: int [T], those to vary.
            varied: how.
            count: of copies of each, C.
            seed: of the variation.

        Returns:
            [C, T, ...], as `Encoded.values`.

        Raises:
            UserError: a photo was changed since it was encoded.
        """
        lower = self.network.lower
        assert lower is not None  # at the pixels each epoch has copies of its own
        (array,) = _open_arrays(self.folder, ["copies"], [_stored(lower)], count * len(rows))
        copies = array.reshape(count, len(rows), *array.shape[1:])
        if self.in_bfloat16:
            self._rounded.touch()
        run = self.runner([lower], varied=True, in_bfloat16=self.in_bfloat16)
        drawn = [augmentation.draws(seed, copy + 1, len(encoded.examples))[rows] for copy in range(count)]
        title = f"running the frozen network over {count} varied copies"
        for here, images in self._again(encoded, rows, "copies", title):
            for copy in range(count):
                how = augmentation.variation(varied, drawn[copy][here], self.spec.size)
                copies[copy, here] = run(images, *how)[0]
        return copies

    def _again(self, encoded: Encoded, rows: np.ndarray, name: str, title: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads photos a second time, from where an interrupted run of that name had come to.

        Yields:
            The part of `rows` that a batch is, and its images; it counts as done when the next one is asked for.
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
        """What is run one after the other: what gives the values, and what gives the features above them."""
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
        """A function that runs models, each of which takes the output of the one before it.

        Args:
            models: what is run.
            images_too: whether the images themselves are its first output.
            varied: whether it also takes how to vary the images, as `trainer.fitting.augmentation.variation` says it.
            in_bfloat16: see `catalogue.model_dir.graph.in_session`; for one replica.

        Returns:
            A function of uint8 [N, H, W, 3] to one array [N, ...] for each output, in the types they are kept in.
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
        """Runs a function on all devices of this process, a part of the rows on each."""
        count = len(arrays[0])
        numbers, _ = self.devices.parts(count, local=True)
        parts = [self.devices.per_replica([array[part] for part in numbers]) for array in arrays]
        return [self.devices.local(value, count) for value in self.devices.run(function, *parts)]


def _stored(model: keras.Model) -> tuple[Any, tuple[int, ...]]:
    """The type and the shape that the outputs of a model are kept in."""
    shape = model.output_shape[1:]
    return (np.float16 if len(shape) > 1 else np.float32), shape


def _narrowed(x: Any) -> Any:
    if len(x.shape) < 3:
        return tf.cast(x, tf.float32)
    largest = tf.cast(tf.float16.max, x.dtype) if x.dtype != tf.float16 else tf.float16.max
    return tf.cast(tf.clip_by_value(x, -largest, largest), tf.float16)


def _check_unchanged(then: Contents, examples: Sequence[Example], limits: Limits) -> None:
    """Refuses to go on with an interrupted run whose photos are others now, although their names are the same."""
    changed = sorted({uri for uri, _ in set(then) - set(contents_of(examples, limits))}) if examples else []
    if changed:
        count = "1 photo was" if len(changed) == 1 else f"{len(changed):,} photos were"
        raise UserError(
            f"{count} changed since the run was interrupted, such as {changed[0]}: leave --resume out to begin anew"
        )


def _unchanged(photo: Photo | Unreadable, encoded: Encoded, row: int) -> np.ndarray:
    """The image of a photo that was read a second time."""
    if isinstance(photo, Unreadable) or photo.content_hash != encoded.content_hashes[row]:
        raise UserError(f"{photo.example.uri} was changed while it was being trained on: start again")
    return photo.image
