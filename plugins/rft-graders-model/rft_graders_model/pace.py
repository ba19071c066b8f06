"""How often an endpoint may be called, and how long to wait before it is called again.

A `Bucket` admits `per_s` units a second, and up to one second's worth at once: each call takes a place in a
schedule, place = max(next, now − burst), next = place + amount / per_s, and waits until then.
It is the token bucket in its form as a schedule (GCRA, ITU-T I.371), which needs no clock of its own and
keeps the order of the calls.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from rft_core.seeds import seed_of

BURST_S = 1.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_ASKED_S = 120.0
"""An endpoint that asks for a longer pause has no quota left, rather than too many calls."""

Clock = Callable[[], float]


class Bucket:
    """A rate of so many units a second."""

    def __init__(self, per_s: float, clock: Clock = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._burst_s = max(0.0, BURST_S - 1 / per_s)
        self._next_s = -math.inf

    def take(self, amount: float) -> float:
        """Reserve the next place; returns the instant from which it may be used."""
        place = max(self._next_s, self._clock() - self._burst_s)
        self._next_s = place + amount / self._per_s
        return place

    def correct(self, amount: float) -> None:
        """Count what a call took beyond its estimate (or less than it, if negative)."""
        self._next_s += amount / self._per_s


class Pace:
    """The rates of one endpoint, and the pauses that it asks for. Used on one event loop."""

    def __init__(self, requests_per_s: float | None, tokens_per_s: float | None) -> None:
        self._requests = Bucket(requests_per_s) if requests_per_s else None
        self._tokens = Bucket(tokens_per_s) if tokens_per_s else None
        self._held_until_s = 0.0

    async def wait(self, tokens: int) -> None:
        """Return when a call of about this many tokens may be made."""
        place_s = 0.0
        if self._requests is not None:
            place_s = self._requests.take(1)
        if self._tokens is not None:
            place_s = max(place_s, self._tokens.take(tokens))
        while (left_s := max(place_s, self._held_until_s) - time.monotonic()) > 0:
            await asyncio.sleep(left_s)

    def hold(self, seconds: float) -> None:
        """Make no call for a while."""
        self._held_until_s = max(self._held_until_s, time.monotonic() + seconds)

    def correct(self, tokens: int) -> None:
        """Count tokens that a call took beyond its estimate."""
        if self._tokens is not None:
            self._tokens.correct(tokens)


def backoff_s(attempt: int, seed: int, *address: int) -> float:
    """Seconds before try `attempt` + 1: 0.5, 1, 2, … up to 30, times a factor from 0.5 to 1 that is drawn
    at the address, so that calls which failed together do not come back together.

    Source: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    jitter = seed_of(seed, "grade", *address, attempt) / 2**63
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt) * (0.5 + jitter / 2))


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a `Retry-After` header, which holds seconds or a date; None if it holds neither.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None  # NaN is not equal to itself
