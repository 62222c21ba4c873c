"""The soak as a picture."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .records import Recording

_BIN = 5.0  # seconds


def plot(recording: Recording, unexpected: int, file: Path) -> None:
    """Write memory, descriptors, threads, queue, latency and answers over time as PNG, bursts shaded."""
    mpl.use("Agg")
    figure, axes = plt.subplots(4, 1, figsize=(12, 11), sharex=True, layout="constrained", height_ratios=[2, 2, 2, 3])
    figure.suptitle(f"{recording.length / 60:.3g} minutes of mixed traffic, {len(recording.answers)} requests, "
                    f"{unexpected} unexpected answers; sustainable {recording.capacity:.0f} pictures/s")  # fmt: skip
    _resources(axes[0], recording)
    _queue(axes[1], recording)
    _latency(axes[2], recording)
    _answers(axes[3], recording)
    for axis in axes:
        axis.axvspan(0, recording.warm, color="0.93", zorder=0)
        for burst in recording.bursts:
            axis.axvspan(burst.start, burst.end, color="tab:red", alpha=0.12, linewidth=0)
        axis.grid(axis="y", color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set(xlim=(0, recording.length), xlabel="seconds (warm-up grey, bursts red)")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _resources(axis: Axes, recording: Recording) -> None:
    times = [sample.at for sample in recording.samples]
    axis.plot(times, [sample.rss / 2**20 for sample in recording.samples], color="tab:blue", label="resident memory, MB")
    axis.set(ylabel="MB", ylim=(0, None))
    counts = axis.twinx()
    counts.plot(times, [sample.descriptors for sample in recording.samples], color="tab:brown", lw=1, label="file descriptors")
    counts.plot(times, [sample.threads for sample in recording.samples], color="tab:gray", lw=1, label="threads")
    counts.set(ylabel="count", yscale="log")
    counts.spines["top"].set_visible(False)
    lines = [*axis.get_lines(), *counts.get_lines()]
    axis.legend(
        lines,
        [str(line.get_label()) for line in lines],
        loc="lower right",
        bbox_to_anchor=(1, 0.99),
        ncols=3,
        fontsize="small",
        frameon=False,
    )


def _queue(axis: Axes, recording: Recording) -> None:
    axis.plot([s.at for s in recording.samples], [s.queue for s in recording.samples], color="tab:olive")
    axis.set(ylabel="pictures in the queue", ylim=(0, None))
    for sample in recording.samples:
        if not sample.ready:
            axis.axvline(sample.at, color="black", lw=1)


def _latency(axis: Axes, recording: Recording) -> None:
    for kind, colour in (("burst", "tab:orange"), ("12 megapixels", "tab:blue"), ("good", "tab:green")):
        scored = [answer for answer in recording.answers if answer.kind == kind and answer.status == 200]
        axis.plot([a.started for a in scored], [1000 * a.seconds for a in scored], ".", ms=2.5, color=colour, label=kind)
    axis.set(ylabel="ms to a 200", yscale="log")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=3, fontsize="small", frameon=False, markerscale=4)


def _answers(axis: Axes, recording: Recording) -> None:
    """The rate of each outcome; logarithmic, because a burst is far more than the rest."""
    bins: dict[str, Counter[int]] = defaultdict(Counter)
    for answer in recording.answers:
        bins[answer.outcome][int((answer.started + answer.seconds) // _BIN)] += 1
    numbers = range(int(recording.length // _BIN) + 1)
    times = [(number + 0.5) * _BIN for number in numbers]
    by_frequency = sorted(bins.items(), key=lambda item: -item[1].total())
    for colour, (outcome, counts) in zip(itertools.cycle(mpl.color_sequences["tab20"]), by_frequency, strict=False):
        rates = [counts[number] / _BIN or math.nan for number in numbers]  # no line through empty bins
        axis.plot(times, rates, "o-", ms=3, lw=1, color=colour, label=f"{outcome} ({counts.total()})")
    axis.set(ylabel="answers a second", yscale="log")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4, fontsize="small", frameon=False)
