"""What is said of photos once they have been read: unreadable ones, the split, the classes on each side."""

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


def choose_split(
    encoded: Encoded,
    held_out: set[str],
    test: set[str],
    duplicates: Duplicates | None,
    validation_fraction: float,
    test_fraction: float,
) -> Split:
    """Which photos train, validate and test: those of --validation-data, or parts chosen by content.

    Args:
        encoded: all photos.
        held_out: the URIs of --validation-data; empty for a part of --data.
        test: the URIs of other photos to test on; empty for a part of --data, or none.
        duplicates: near-duplicates, which stay on one side where a part is chosen; None if they were not looked for.
        validation_fraction, test_fraction: how large the parts are.
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
                f"warning: {len(both):,} photos are in --data and in --validation-data: "
                "the accuracy will look better than it is"
            )
    else:
        rest = np.flatnonzero(~tests)
        validates[rest] = split_by_content(labels[rest], hashes[rest], validation_fraction, groups[rest])
    return Split.of(validates, tests)


def warn_of_tested(count: int) -> None:
    """Says how many photos of --test-data are among those to train or validate on, if any are."""
    if count:
        say(f"warning: --test-data shares {counted(count, 'photo')} with those to train or validate on: leave them out")


def report_duplicates(encoded: Encoded, split: Split, duplicates: Duplicates) -> None:
    """Says how many near-duplicates there are, and which of them are between the sides or have two labels."""
    hashes, names = np.array(encoded.content_hashes), np.array(encoded.labels)
    validates = np.isin(np.arange(len(names)), split.validation)
    one, other = duplicates.pairs.T
    near = hashes[one] != hashes[other]  # identical photos are told of elsewhere
    one, other = one[near], other[near]
    if not len(one):
        return
    uris = [example.uri for example in encoded.examples]
    say(f"{counted(len(one), 'pair')} of near-duplicate photos, such as {uris[one[0]]} and {uris[other[0]]}")
    apart = np.flatnonzero(validates[one] != validates[other])
    if len(apart):
        say(
            f"warning: {counted(len(apart), 'pair')} of them are divided between --data and --validation-data: the "
            "accuracy will look better than it is"
        )
    for pair in np.flatnonzero(names[one] != names[other])[:_SHOWN].tolist():
        a, b = one[pair], other[pair]
        say(f"warning: the same photo, twice, with two labels: {uris[a]} ({names[a]}), {uris[b]} ({names[b]})")


def report_classes(encoded: Encoded, split: Split, labels: Sequence[str]) -> None:
    """Shows the photos of each class on each side.

    Args:
        encoded: all photos.
        split: of them.
        labels: of the classes.

    Raises:
        UserError: a class has no photos to learn from, or there are none to validate on.
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
        raise UserError(f"no readable training photos of {', '.join(map(repr, without))}: mend or remove the class")
    if not len(split.validation):
        raise UserError("no readable photos to validate on: mend them or leave --validation-data out")
    by_content = collections.defaultdict(set)
    for content_hash, label in zip(encoded.content_hashes, encoded.labels, strict=True):
        by_content[content_hash].add(label)
    ambiguous = sum(len(found) > 1 for found in by_content.values())
    if ambiguous:
        say(f"warning: {ambiguous:,} photos stand in more than one class")
    shares = np.array([(trained == label).mean() for label in labels])
    if shares.max() > DOMINANT_SHARE:
        largest = labels[int(shares.argmax())]
        say(
            f"warning: {shares.max():.1%} of the training photos are {largest!r}: a model that always says so is as "
            "accurate; look at the recall of the others, and consider --class-weights balanced"
        )
    few = len(split.validation)
    if few < 5 * len(labels):
        say(f"warning: {few:,} photos validate {len(labels):,} classes: the accuracy will say little")


def check_fitted(logits: np.ndarray, truth: np.ndarray) -> None:
    """Refuses a network whose scores say less than guessing, however they are calibrated.

    Args:
        logits: float [N, K], of the validation photos.
        truth: int [N].

    Raises:
        CommandFailed: its log loss is more than ten times that of equal scores for all classes.
    """
    guessing, temperature = math.log(logits.shape[1]), metrics.fit_temperature(logits, truth)
    if metrics.log_loss(logits / temperature, truth) > 10 * guessing:
        raise CommandFailed(
            f"fitting diverged (the validation loss is {metrics.log_loss(logits, truth):,.1f}; equal scores for all "
            f"classes give {guessing:.1f}): lower --learning-rate"
        )
