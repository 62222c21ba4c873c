"""How late answers are if nothing but waiting for a core delays them."""

from __future__ import annotations

import numpy as np

ARRIVALS = 100_000
SEED = 0


def perfect_p99(rate: float, cores: int, share: float) -> float:
    """99th percentile in milliseconds of the time from arrival to end in a queue M/D/c, simulated.

    Pictures arrive as a Poisson process at `share` of `rate`, a second, and each takes the first free of `cores`, first come,
    first served, for cores / rate seconds. So a server does that answers `rate` at most, computes each picture on one core,
    and loses nothing to batches, threads and HTTP.
    """
    service = cores / rate
    arrivals = np.cumsum(np.random.default_rng(SEED).exponential(1 / (share * rate), ARRIVALS))
    ends = np.empty(ARRIVALS)
    for number, arrival in enumerate(arrivals):
        # in order of arrival and equally long: a picture waits for the one `cores` before it
        ends[number] = max(arrival, ends[number - cores] if number >= cores else 0.0) + service
    return float(np.percentile(ends - arrivals, 99)) * 1000
