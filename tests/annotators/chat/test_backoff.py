"""Waits between tries: within their bounds, spread out, and never before the server asked for."""

import random
from datetime import UTC, datetime

import pytest

from annotators.chat.backoff import BASE, CAP, backoff, parse_retry_after


@pytest.mark.parametrize("tries", [1, 2, 5, 40, 10_000])
def test_a_wait_is_drawn_from_the_whole_of_its_growing_range(tries: int):
    rng = random.Random(0)
    ceiling = min(CAP, BASE * 2 ** min(tries - 1, 16))
    waits = sorted(backoff(tries, retry_after=None, rng=rng) for _ in range(400))
    assert waits[0] >= 0
    assert waits[-1] <= ceiling
    tenth = [sum(i * ceiling / 10 <= w < (i + 1) * ceiling / 10 for w in waits) for i in range(10)]
    assert min(tenth) > 15, (
        "no tenth of the range is left out, so clients do not come back together"
    )


def test_jitter_comes_on_top_of_what_the_server_asked_for():
    rng = random.Random(0)
    waits = [backoff(3, retry_after=7.0, rng=rng) for _ in range(100)]
    assert min(waits) >= 7.0
    assert max(waits) <= 7.0 + 4 * BASE
    assert max(waits) - min(waits) > BASE


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("0", 0.0),
        ("Fri, 20 Nov 2026 10:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 09:00:00 GMT", 0.0),
        ("Friday, 20-Nov-26 10:00:07 GMT", 7.0),
        (None, None), ("", None), ("soon", None), ("nan", None), ("inf", None), ("1e999", None),
        ("Fri, 99 Nov 2026 10:00:30 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date_and_nonsense_is_nothing(
    value: str | None, seconds: float | None
):
    assert parse_retry_after(value, now=datetime(2026, 11, 20, 10, tzinfo=UTC)) == seconds
