"""How long to wait before a call is tried again: exponential, with full jitter.

A wait drawn evenly from [0, min(CAP, BASE * 2^n)] spreads clients that failed together best (Brooker, "Exponential
backoff and jitter", AWS Architecture Blog, 2015). What the server asks for in Retry-After is waited in full, and the
jitter comes on top, or everybody would be back at the same moment. Chance decides when, never what.
"""

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BASE = 0.5
CAP = 30.0


def backoff(tries: int, *, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to wait after `tries` failed tries (1 or more)."""
    assert tries >= 1, tries
    ceiling = min(CAP, BASE * 2.0 ** min(tries - 1, 16))
    return (retry_after or 0.0) + rng.uniform(0.0, ceiling)


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or an HTTP date; None where it says nothing sensible."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
