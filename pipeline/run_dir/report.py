"""The report of a run: an HTML page with counts, classes, dead letters and photos."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from catalogue.cli.masking import masked_key
from catalogue.cli.text import counted
from catalogue.html import charts, page
from catalogue.images.reader import read_thumbnail
from catalogue.images.spec import Limits
from catalogue.reasons import ImageError, Reason
from pipeline.records import FetchedImage
from pipeline.run_dir.layout import DEAD_LETTERS

THUMBNAIL_SIDE = 160
CLASSES_WITH_PICTURES = 60
_LINKED_FILES = 20


def pictured(classes: Iterable[tuple[int, Sequence[str]]]) -> Iterator[str]:
    """Yield the locations of the photos in the report, which are examples of the most frequent classes.

    Args:
        classes: for each class, the number of its predictions and the locations of its examples.
    """
    frequent = sorted(classes, key=lambda own: own[0], reverse=True)[:CLASSES_WITH_PICTURES]
    yield from dict.fromkeys(location for _, examples in frequent for location in examples)


def thumbnail(fetched: FetchedImage, *, limits: Limits) -> tuple[str, bytes] | None:
    """Return the location of an image, with credentials masked, and its thumbnail as JPEG.

    Returns:
        None if the image cannot be decoded.
    """
    try:
        return masked_key(fetched.listed.location), page.jpeg(read_thumbnail(fetched.data, THUMBNAIL_SIDE, limits))
    except ImageError:
        return None


def shown(inputs: Sequence[str]) -> str:
    """Return a short list of the inputs, as an unquoted glob may have expanded to many."""
    return ", ".join(inputs[:3]) + (f" and {len(inputs) - 3:,} more" if len(inputs) > 3 else "")


def run_page(
    record: Mapping[str, Any], class_stats: Mapping[str, Any], thumbnails: Mapping[str, bytes], parts: Sequence[str]
) -> str:
    """Return the report as an HTML page.

    Args:
        record: content of ``run.json``.
        class_stats: content of ``class_stats.json``.
        thumbnails: location, with credentials masked -> JPEG.
        parts: paths of all parts, relative to the run directory.
    """
    counts, timings = record["counts"], record["timings"]
    failed = sum(counts["dead_letters"].values())
    figures = {
        "images": f"{counts['inputs']:,}",
        "classified": f"{counts['predictions']:,}",
        "dead letters": f"{failed:,}",
        "duplicates": f"{counts['duplicates']:,}",
        **{name.replace("_", " "): f"{count:,} skipped" for name, count in counts["left_out"].items() if count},
        "images per second, with startup": f"{timings['images_per_second']:,.1f}",
        "status": record["status"],
    }
    problems = "".join(f"<p><b>{page.text(problem)}</b></p>" for problem in record["problems"])
    ranked = sorted(class_stats["classes"].items(), key=lambda item: -item[1]["count"])
    pictured_classes = [own for own in ranked if own[1]["count"]][:CLASSES_WITH_PICTURES]
    names = {label: f"class-{number}" for number, (label, _) in enumerate(pictured_classes)}
    galleries = [page.anchor(names[label], label, _galleries(own, thumbnails)) for label, own in pictured_classes]
    dead_letters = _dead_letter_table(counts["dead_letters"], record["dead_letter_examples"], parts)
    return page.document(
        "Catalogue run",
        f"{shown(record['input'])} · model {record['model_id']} · finished {page.moment(timings['finished'])}",
        [
            page.cards(figures),
            problems,
            page.section("Classes", _class_table(ranked, names)),
            page.section("Dead letters", dead_letters),
            page.section("Most and least certain photos by class", *galleries),
            page.section("Run", _run_table(record)),
        ],
        headline=_headline(record["status"], counts["inputs"], counts["predictions"], failed),
    )


def _headline(status: str, inputs: int, predictions: int, failed: int) -> str:
    found = f"{counted(inputs, 'image')}: {predictions:,} classified, {counted(failed, 'dead letter')}"
    return f"Failed: {found}" if status == "failed" else found


def _run_table(record: Mapping[str, Any]) -> str:
    """Return a table of the settings, times and versions of the run."""
    timings, reused = record["timings"], sum(record["counts"]["reused"].values())
    engines = [
        f"{own['engine']}, {own['precision']}, on {own['device']}: {counted(own['images'], 'image')}"
        for own in record["engines"]
    ]
    steady = timings["images_per_second_from_then_on"]
    memory = record["peak_worker_memory_bytes"]
    rows = {
        "command": " ".join(map(shlex.quote, record["command"])),
        "started": page.moment(timings["started"]),
        "seconds": f"{timings['seconds']:,.0f}",
        "images per second, without startup": f"{steady:,.1f}" if steady else "",
        "inference engine": "; ".join(engines),
        "reused results of earlier attempts and runs": f"{reused:,}",
        "peak memory of a worker process": f"{memory / 2**20:,.0f} MiB" if memory else "",
        "largest share of failures allowed": f"{record['max_failure_rate']:.1%}",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    return page.table(
        ["", ""], [[page.text(name), page.text(words)] for name, words in rows.items() if words], wide=(1,)
    )


def _class_table(ranked: list[tuple[str, Any]], anchors: Mapping[str, str]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    def row(label: str, own: Mapping[str, Any]) -> list[str]:
        counts = own["score_histogram"]
        chart = charts.histogram(counts, f"scores of {label} from 0 to 1: {counts}") if counts else ""
        cells = [percent(own["share"]), percent(own["share_in_training"]), percent(own["mean_score"])]
        name = page.link(anchors[label], page.text(label)) if label in anchors else page.text(label)
        return [name, f"{own['count']:,}", *cells, chart]

    header = ["class", "images", "share", "share in training", "mean score", "scores from 0 to 1"]
    return page.table(header, (row(label, own) for label, own in ranked))


def _dead_letter_table(
    counts: Mapping[str, int], examples: Mapping[str, list[dict[str, str]]], parts: Sequence[str]
) -> str:
    if not counts:
        return "<p>None.</p>"
    reasons = {reason.code: reason for reason in Reason}

    def row(code: str, count: int) -> list[str]:
        shown = "<br>".join(f"{page.text(own['uri'])}: {page.text(own['message'])}" for own in examples[code])
        sentence = page.text(reasons[code].sentence)
        return [page.text(code), f"{count:,}", sentence, shown]

    ranked = sorted(counts.items(), key=lambda item: -item[1])
    files = [name for name in parts if name.startswith(f"{DEAD_LETTERS}/")]
    links = ", ".join(page.file_link(name, page.text(name)) for name in files[:_LINKED_FILES])
    more = f" and {len(files) - _LINKED_FILES:,} more files" if len(files) > _LINKED_FILES else ""
    table = page.table(["reason", "images", "meaning", "examples"], (row(*item) for item in ranked), wide=(2, 3))
    return f"{table}<p>All rows: {links}{more}</p>"


def _galleries(own: Mapping[str, Any], thumbnails: Mapping[str, bytes]) -> str:
    def figure(example: Mapping[str, Any]) -> str:
        caption = f"{example['score']:.1%}" + page.file_name(example["uri"])
        return page.figure(thumbnails.get(example["location"]), caption, example["uri"])

    rows = {"most certain": own["surest"], "least certain": own["least_sure"][::-1]}
    return "".join(f"<p>{title}</p>{page.gallery(map(figure, some))}" for title, some in rows.items() if some)
