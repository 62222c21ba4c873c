"""How often each client may ask: token buckets."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class _Bucket:
    tokens: float
    filled: float  # when, a time of time.monotonic()


class RateLimit:
    """Lets each client ask `rate` times a second on average, and one second's worth (at least one) at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._size = max(1.0, rate)
        self._buckets: dict[str, _Bucket] = {}
        self._next_sweep = 0.0

    def take(self, client: str) -> float:
        """Seconds until this client may ask again; 0 if it may now, which is then counted."""
        now = time.monotonic()
        self._forget_idle(now)
        bucket = self._buckets.setdefault(client, _Bucket(self._size, now))
        bucket.tokens = self._tokens(bucket, now)
        bucket.filled = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._rate
        bucket.tokens -= 1
        return 0.0

    def _tokens(self, bucket: _Bucket, now: float) -> float:
        return min(self._size, bucket.tokens + (now - bucket.filled) * self._rate)

    def _forget_idle(self, now: float) -> None:
        """Drop full buckets, which say nothing, once in the time that an empty one takes to fill."""
        if now >= self._next_sweep:
            self._buckets = {
                client: bucket for client, bucket in self._buckets.items() if self._tokens(bucket, now) < self._size
            }
            self._next_sweep = now + self._size / self._rate
