"""Does calibration keep its word? The share of false alarms asked for, beside the one found on good pictures it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.table import Table
from scipy.stats import binomtest

from .calibrate import images_needed, upper_quantile

ALPHAS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1)


class FalseAlarms(NamedTuple):
    """Of one alpha: the joint score that held-out pictures set as the limit, and what exceeds it among good test pictures."""

    alpha: float
    limit: float
    found: int
    images: int
    low: float  # exact 95 % interval of the share found (Clopper and Pearson)
    high: float


def false_alarms(held_out: npt.ArrayLike, unseen: npt.ArrayLike, alphas: Sequence[float] = ALPHAS) -> list[FalseAlarms]:
    """A row an alpha that so many held-out pictures can show; joint scores [M] of held-out and [N] of unseen good pictures."""
    known, new = np.asarray(held_out, dtype=np.float64), np.asarray(unseen, dtype=np.float64)
    rows = []
    for alpha in alphas:
        if len(known) < images_needed(alpha) or not len(new):
            continue
        limit = upper_quantile(known, alpha)
        found = int((new > limit).sum())
        interval = binomtest(found, len(new)).proportion_ci(0.95, method="exact")
        rows.append(FalseAlarms(alpha, limit, found, len(new), float(interval.low), float(interval.high)))
    return rows


def false_alarms_table(rows: Sequence[FalseAlarms]) -> Table:
    """The rows in per cent."""
    table = Table("asked for", "found", "95 % interval", "pictures", title="false alarms on unseen good pictures, per cent")
    for row in rows:
        share, interval = f"{100 * row.found / row.images:.2f}", f"{100 * row.low:.2f} to {100 * row.high:.2f}"
        table.add_row(f"{100 * row.alpha:g}", share, interval, f"{row.found} of {row.images}")
    return table
