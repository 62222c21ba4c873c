"""Times of several ways to do the same work, taken in turns: what slows the machine for a while slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from rich.table import Table

Times = dict[str, list[float]]


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Seconds of each piece of work in each turn, after one call of each to warm up. The order within a turn is shuffled."""
    for function in work.values():
        function()
    seconds: Times = {name: [] for name in work}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(work)):
            started = time.perf_counter()
            work[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def table(milliseconds: Times, title: str) -> Table:
    """Median milliseconds an image, and how many times as fast as the first: median and quartiles over the turns."""
    shown = Table("", "ms an image", "times as fast", "quartiles", title=title)
    reference = np.array(next(iter(milliseconds.values())))
    for name, values in milliseconds.items():
        low, middle, high = np.quantile(reference / np.array(values), (0.25, 0.5, 0.75))
        shown.add_row(name, f"{np.median(values):.3g}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    return shown
