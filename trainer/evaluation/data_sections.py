"""Sections of the report about the data: near-duplicates and possible label noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalogue.cli.text import counted
from catalogue.html import page
from trainer.data.duplicates import Duplicates
from trainer.data.label_issues import FILE, LabelIssues
from trainer.evaluation.thumbnails import thumbnail

SHOWN_PAIRS, SHOWN_ISSUES = 12, 24


def sections(
    uris: Sequence[str],
    truth: np.ndarray,
    labels: Sequence[str],
    duplicates: Duplicates | None,
    issues: LabelIssues | None,
) -> list[str]:
    """Return the non-empty sections.

    Args:
        uris: URIs of the N training and validation photos.
        truth: int [N], label index of each photo.
        labels: class names.
        duplicates: near-duplicates among the photos; None if they were not searched for.
        issues: photos whose labels may be wrong; None if they were not searched for.
    """
    found = []
    if duplicates and len(duplicates.pairs):
        count, pairs = len(duplicates.pairs), duplicates.pairs[:SHOWN_PAIRS].tolist()
        more = f", the first {SHOWN_PAIRS} shown" if count > SHOWN_PAIRS else ""
        words = f"<p>{counted(count, 'pair')}{more}. Near-duplicates stay on the same side when --data is split.</p>"
        figures = [
            page.figure(
                thumbnail(uris[row]),
                page.text(f"{number}: {labels[truth[row]]}") + page.file_name(uris[row]),
                uris[row],
            )
            for number, pair in enumerate(pairs, 1)
            for row in pair
        ]
        found.append(page.section("Near-duplicates", words, page.gallery(figures)))
    if issues and len(issues.rows):
        words = (
            f"<p>{counted(len(issues.rows), 'photo')} with a label that differs from the prediction of a model fitted "
            f"to other photos, most suspicious first. All are listed in {FILE}: delete the rows whose label is right, "
            "then pass the file to <code>train --drop</code> to omit the photos of the remaining rows. The list also "
            "has photos that are only hard to classify.</p>"
        )
        figures = [
            page.figure(
                thumbnail(uris[row]),
                f"{page.text(labels[truth[row]])} → <b>{page.text(labels[suggested])}</b> {confidence:.0%}"
                + page.file_name(uris[row]),
                uris[row],
            )
            for row, suggested, confidence in zip(
                issues.rows[:SHOWN_ISSUES].tolist(), issues.suggested.tolist(), issues.confidence.tolist(), strict=False
            )
        ]
        found.append(page.section("Labels that may be wrong", words, page.gallery(figures)))
    return found
