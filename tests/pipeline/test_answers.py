from __future__ import annotations

import pytest

from catalogue.images.reader import ImageError, Limits, Reason
from pipeline import answers

LIMITS = Limits(max_bytes=1000)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, None),
        (206, None),
        (301, Reason.READ_FAILED),
        (400, Reason.NOT_FOUND),
        (401, Reason.PERMISSION_DENIED),
        (403, Reason.PERMISSION_DENIED),
        (404, Reason.NOT_FOUND),
        (408, Reason.READ_FAILED),
        (410, Reason.NOT_FOUND),
        (425, Reason.READ_FAILED),
        (429, Reason.READ_FAILED),
        (451, Reason.PERMISSION_DENIED),
        (500, Reason.READ_FAILED),
        (503, Reason.READ_FAILED),
    ],
)
def test_what_a_status_means(status: int, reason: Reason | None) -> None:
    assert answers.reason_of(status) is reason


def test_how_much_will_come() -> None:
    assert answers.expected_size(1000, LIMITS) == 1000
    assert answers.expected_size(None, LIMITS) == 1000
    assert answers.expected_size(None, Limits()) == answers.UNKNOWN_SIZE
    with pytest.raises(ImageError, match="too_many_bytes: more than 1,000 bytes"):
        answers.expected_size(1001, LIMITS)


def test_a_body_ends_at_the_limit_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    body = answers.Body(LIMITS)
    body.add(b"a" * 600)
    body.add(b"b" * 400)
    assert bytes(body) == b"a" * 600 + b"b" * 400
    with pytest.raises(ImageError, match="too_many_bytes: more than 1,000 bytes"):
        body.add(b"c")
    monkeypatch.setattr(answers, "BODY_SECONDS", -1.0)
    with pytest.raises(ImageError, match="read_failed: not read whole in"):
        answers.Body(LIMITS).add(b"a")
