"""The split of a run's photos, and checks of the photos and of the fitted network."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np

from catalogue.cli.errors import CommandFailed, UserError
from catalogue.cli.logs import say
from catalogue.cli.text import counted
from trainer.data.duplicates import Duplicates
from trainer.data.split import Split, held_out_test, split_by_content
from trainer.evaluation import metrics
from trainer.evaluation.inference import Classified
from trainer.fitting.encoded import Encoded

DOMINANT_SHARE = 0.95
_SHOWN = 5


def report_unreadable(encoded: Encoded | Classified, total: int) -> None:
    """Log the unreadable photos by reason. Raise UserError if no photo can be read."""
    if not encoded.unreadable:
        return
    if not encoded.examples:
        first = encoded.unreadable[0]
        raise UserError(
            f"found {counted(total, 'file')}, but none can be read as a photo; for example {first.example.uri}: "
            f"{first.error}"
        )
    reasons = collections.Counter(photo.error.reason.code for photo in encoded.unreadable)
    shown = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    say(f"skipped unreadable photos: {len(encoded.unreadable):,} of {total:,} ({shown})")
    for photo in encoded.unreadable[:10]:
        say(f"  {photo.example.uri}: {photo.error}")
    if len(encoded.unreadable) > 10:
        say(f"  and {len(encoded.unreadable) - 10:,} more")


def choose_split(
    encoded: Encoded,
    held_out: set[str],
    test: set[str],
    duplicates: Duplicates | None,
    validation_fraction: float,
    test_fraction: float,
) -> Split:
    """Split the photos into training, validation and test sets; sets that are not given are chosen by content.

    Args:
        encoded: all photos.
        held_out: URIs of --validation-data; if empty, `validation_fraction` of --data is held out.
        test: URIs of --test-data; if empty, `test_fraction` of --data is held out.
        duplicates: near-duplicates, kept in one set where sets are chosen by content; None if they are unknown.
        validation_fraction, test_fraction: shares of the photos to hold out; `test_fraction` may be 0.
    """
    labels, hashes = np.array(encoded.labels), np.array(encoded.content_hashes)
    groups = duplicates.groups if duplicates else np.unique(hashes, return_inverse=True)[1]
    validates = np.array([example.uri in held_out for example in encoded.examples])
    given = np.array([example.uri in test for example in encoded.examples], bool)
    tests = given.copy()
    own = np.flatnonzero(~validates & ~tests)
    tests[own] = held_out_test(labels[own], hashes[own], test_fraction, groups[own])
    warn_of_tested(len(np.intersect1d(hashes[given], hashes[~given])))
    if held_out:
        both = np.intersect1d(hashes[validates], hashes[~validates & ~given])
        if len(both):
            say(
                f"warning: --data and --validation-data share {counted(len(both), 'photo')}: "
                "the accuracy will be overestimated"
            )
    else:
        rest = np.flatnonzero(~tests)
        validates[rest] = split_by_content(labels[rest], hashes[rest], validation_fraction, groups[rest])
    return Split.of(validates, tests)


def warn_of_tested(count: int) -> None:
    """Warn if any photos of --test-data are also used for training or validation."""
    if count:
        say(
            f"warning: --test-data shares {counted(count, 'photo')} with the training or validation data: "
            "remove the shared photos"
        )


def report_duplicates(encoded: Encoded, split: Split, duplicates: Duplicates) -> None:
    """Log the number of near-duplicate pairs; warn of pairs that cross the split or have different labels."""
    hashes, names = np.array(encoded.content_hashes), np.array(encoded.labels)
    validates = np.isin(np.arange(len(names)), split.validation)
    one, other = duplicates.pairs.T
    near = hashes[one] != hashes[other]  # identical photos are reported elsewhere
    one, other = one[near], other[near]
    if not len(one):
        return
    uris = [example.uri for example in encoded.examples]
    say(f"{counted(len(one), 'pair')} of near-duplicate photos, for example {uris[one[0]]} and {uris[other[0]]}")
    apart = np.flatnonzero(validates[one] != validates[other])
    if len(apart):
        say(
            f"warning: {counted(len(apart), 'near-duplicate pair')} split between --data and --validation-data: the "
            "accuracy will be overestimated"
        )
    for pair in np.flatnonzero(names[one] != names[other])[:_SHOWN].tolist():
        a, b = one[pair], other[pair]
        say(f"warning: near-duplicates with different labels: {uris[a]} ({names[a]}), {uris[b]} ({names[b]})")


def report_classes(encoded: Encoded, split: Split, labels: Sequence[str]) -> None:
    """Log the photos per class and split; warn of ambiguous labels, a dominant class and few validation photos.

    Args:
        encoded: all photos.
        split: split of the photos.
        labels: labels of the classes.

    Raises:
        UserError: a class has no readable training photos, or none of the validation photos can be read.
    """
    names = np.array(encoded.labels)
    trained, width = names[split.training], max(map(len, labels))
    sides = {"training": split.training, "validation": split.validation}
    sides |= {"test": split.test} if len(split.test) else {}
    say(f"{'class':{width}}  {'  '.join(f'{side:>10}' for side in sides)}")
    for label in labels:
        counts = (int((names[rows] == label).sum()) for rows in sides.values())
        say(f"{label:{width}}  {'  '.join(f'{count:10,}' for count in counts)}")
    without = sorted(set(labels) - set(trained))
    if without:
        raise UserError(
            f"no readable training photos of {', '.join(map(repr, without))}: fix the photos, or remove the class"
        )
    if not len(split.validation):
        raise UserError("none of the validation photos can be read: fix them, or omit --validation-data")
    by_content = collections.defaultdict[str, dict[str, str]](dict)
    for content_hash, example in zip(encoded.content_hashes, encoded.examples, strict=True):
        by_content[content_hash].setdefault(example.label, example.uri)
    ambiguous = [found for found in by_content.values() if len(found) > 1]
    for found in ambiguous[:_SHOWN]:
        say(f"warning: one photo has several labels: {', '.join(f'{uri} ({label})' for label, uri in found.items())}")
    if len(ambiguous) > _SHOWN:
        say(f"warning: several labels for {counted(len(ambiguous) - _SHOWN, 'more photo')}")
    shares = np.array([(trained == label).mean() for label in labels])
    if shares.max() > DOMINANT_SHARE:
        largest = labels[int(shares.argmax())]
        say(
            f"warning: {shares.max():.1%} of the training photos are {largest!r}, and a model that always predicts "
            "this label is as accurate: check the recall of the other classes, and consider --class-weights balanced"
        )
    few = len(split.validation)
    if few < 5 * len(labels):
        photos = counted(few, "validation photo")
        say(f"warning: only {photos} for {len(labels):,} classes: the accuracy will be unreliable")


def check_fitted(logits: np.ndarray, truth: np.ndarray) -> None:
    """Reject a network whose training diverged: even calibrated, it is far worse than guessing.

    Args:
        logits: float [N, K], logits of the validation photos.
        truth: int [N], indices of the true labels.

    Raises:
        CommandFailed: the calibrated log loss is more than ten times that of uniform probabilities.
    """
    guessing, temperature = math.log(logits.shape[1]), metrics.fit_temperature(logits, truth)
    if metrics.log_loss(logits / temperature, truth) > 10 * guessing:
        raise CommandFailed(
            f"training diverged (the validation loss is {metrics.log_loss(logits, truth):,.1f}, that of uniform "
            f"probabilities is {guessing:.1f}): lower --learning-rate"
        )
