"""Sections of the report about the data: photos that are there twice, and labels that may be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    """The sections that there is something to show in.

    Args:
        uris: of the N photos that were trained or validated on.
        truth: int [N], the index of the label of each.
        labels: the class names.
        duplicates: near-duplicates among them; None if they were not looked for.
        issues: those whose label may be wrong; None if they were not looked for.
    """
    found = []
    if duplicates and len(duplicates.pairs):
        count, pairs = len(duplicates.pairs), duplicates.pairs[:SHOWN_PAIRS].tolist()
        more = f", of which {SHOWN_PAIRS} are shown" if count > SHOWN_PAIRS else ""
        words = f"<p>{count:,} pairs{more}. Photos that resemble each other so are on the same side of the split.</p>"
        figures = [
            page.figure(
                thumbnail(uris[row]),
                page.text(f"{number}: {labels[truth[row]]}") + page.file_name(uris[row]),
                uris[row],
            )
            for number, pair in enumerate(pairs, 1)
            for row in pair
        ]
        found.append(page.section("Photos that are there twice", words, page.gallery(figures)))
    if issues and len(issues.rows):
        words = (
            f"<p>{len(issues.rows):,} photos for which a model that was fitted to the others says something else, the "
            f"most suspicious first. All are in {FILE}; keep the rows that are wrong, and <code>train --drop</code> "
            "leaves their photos out.</p>"
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
