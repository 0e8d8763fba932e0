"""What is said of photos once they have been read: unreadable ones, the split, the classes on each side."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np

from catalogue.cli.errors import CommandFailed, UserError
from catalogue.cli.logs import say
from trainer.data.split import split_by_content
from trainer.evaluation import metrics
from trainer.evaluation.inference import Classified
from trainer.fitting.encoded import Encoded

VALIDATION_FRACTION = 0.1
DOMINANT_SHARE = 0.95


def report_unreadable(encoded: Encoded | Classified, total: int) -> None:
    """Says what was skipped and why. Photos that break are the user's to mend, not a reason to stop."""
    if not encoded.unreadable:
        return
    if not encoded.examples:
        first = encoded.unreadable[0]
        raise UserError(
            f"none of the {total:,} files can be read as a photo, such as {first.example.uri}: {first.error}"
        )
    reasons = collections.Counter(photo.error.reason.code for photo in encoded.unreadable)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    say(f"skipped {len(encoded.unreadable):,} of {total:,} photos that cannot be read: {counted}")
    for photo in encoded.unreadable[:10]:
        say(f"  {photo.example.uri}: {photo.error}")
    if len(encoded.unreadable) > 10:
        say(f"  and {len(encoded.unreadable) - 10:,} more")


def choose_validation(encoded: Encoded, held_out: set[str]) -> np.ndarray:
    """Which photos validate, bool [N]: those of --validation-data, or a part chosen by content."""
    if not held_out:
        return split_by_content(encoded.labels, encoded.content_hashes, VALIDATION_FRACTION)
    mask = np.array([path in held_out for path in [example.uri for example in encoded.examples]])
    sides = np.array(encoded.content_hashes)
    both = np.intersect1d(sides[mask], sides[~mask])
    if len(both):
        say(
            f"warning: {len(both):,} photos are in --data and in --validation-data: "
            "the accuracy will look better than it is"
        )
    return mask


def report_classes(encoded: Encoded, validates: np.ndarray, labels: Sequence[str]) -> None:
    """Shows the photos of each class on each side.

    Args:
        encoded: all photos.
        validates: bool [N], which of them validate.
        labels: of the classes.

    Raises:
        UserError: a class has no photos to learn from, or there are none to validate on.
    """
    names = np.array(encoded.labels)
    width = max(map(len, labels))
    say(f"{'class':{width}}  training  validation")
    for label in labels:
        counts = ((names == label) & ~validates).sum(), ((names == label) & validates).sum()
        say(f"{label:{width}}  {counts[0]:8,}  {counts[1]:10,}")
    without = sorted(set(labels) - set(names[~validates]))
    if without:
        raise UserError(f"no readable training photos of {', '.join(map(repr, without))}: mend or remove the class")
    if not validates.any():
        raise UserError("no readable photos to validate on: mend them or leave --validation-data out")
    by_content = collections.defaultdict(set)
    for content_hash, label in zip(encoded.content_hashes, encoded.labels, strict=True):
        by_content[content_hash].add(label)
    ambiguous = sum(len(found) > 1 for found in by_content.values())
    if ambiguous:
        say(f"warning: {ambiguous:,} photos stand in more than one class")
    shares = np.array([(names[~validates] == label).mean() for label in labels])
    if shares.max() > DOMINANT_SHARE:
        largest = labels[int(shares.argmax())]
        say(
            f"warning: {shares.max():.1%} of the training photos are {largest!r}: a model that always says so is as "
            "accurate; look at the recall of the others, and consider --class-weights balanced"
        )
    few = int(validates.sum())
    if few < 5 * len(labels):
        say(f"warning: {few:,} photos validate {len(labels):,} classes: the accuracy will say little")


def check_fitted(logits: np.ndarray, truth: np.ndarray) -> None:
    """Refuses a network whose scores say less than guessing, however they are calibrated.

    Args:
        logits: float [N, K], of the validation photos.
        truth: int [N].

    Raises:
        CommandFailed: its log loss is more than twice that of equal scores for all classes.
    """
    guessing, temperature = math.log(logits.shape[1]), metrics.fit_temperature(logits, truth)
    if metrics.log_loss(logits / temperature, truth) > 2 * guessing:
        raise CommandFailed(
            f"fitting diverged (the validation loss is {metrics.log_loss(logits, truth):,.1f}; equal scores for all "
            f"classes give {guessing:.1f}): lower --learning-rate"
        )
