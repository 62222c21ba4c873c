"""A benchmark's table: a row a task, and for each group of tasks the mean over them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from ..files import write_text
from .page import write_page
from .results import TaskResult


class Column(NamedTuple):
    """A figure of the table: whose it is, and its name in measures.py. The screen has room for some of them."""

    title: str
    source: str  # students or neighbours
    metric: str
    on_screen: bool


COLUMNS = (
    Column("local", "students", "image_auroc/local", True),
    Column("semantic", "students", "image_auroc/semantic", True),
    Column("joint", "students", "image_auroc/joint", True),
    Column("nearest: local", "neighbours", "image_auroc/local", True),
    Column("nearest: semantic", "neighbours", "image_auroc/semantic", True),
    Column("joint, mean of kinds", "students", "image_auroc_mean_of_kinds/joint", True),
    Column("joint, logical", "students", "image_auroc_logical_anomalies/joint", False),
    Column("joint, structural", "students", "image_auroc_structural_anomalies/joint", False),
    Column("joint AP", "students", "image_ap/joint", False),
    Column("joint F1", "students", "image_f1_max/joint", False),
    Column("pixel AUROC", "students", "pixel_auroc/local", True),
    Column("pixel AP", "students", "pixel_ap/local", False),
    Column("pixel F1", "students", "pixel_f1_max/local", False),
    Column("AUPRO", "students", "aupro/local", True),
    Column("sPRO 0.05", "students", "spro_0.05/local", True),
    Column("sPRO 0.05, logical", "students", "spro_0.05_logical_anomalies/local", False),
    Column("sPRO 0.05, structural", "students", "spro_0.05_structural_anomalies/local", False),
    Column("nearest: pixel AUROC", "neighbours", "pixel_auroc/local", True),
    Column("false alarms", "students", "false_alarm_rate", True),
)
Figures = tuple[float, ...]  # one a column; nan where a task has none


class Row(NamedTuple):
    """A line of the table: figures by seed."""

    group: str
    name: str
    by_seed: dict[int, Figures]

    def mean(self) -> Figures:
        """Over seeds."""
        return tuple(np.mean(list(self.by_seed.values()), axis=0).tolist())

    def deviation(self) -> Figures | None:
        """Sample standard deviation over seeds; None of a single one."""
        values = list(self.by_seed.values())
        return tuple(np.std(values, axis=0, ddof=1).tolist()) if len(values) > 1 else None


def summary_rows(results: Sequence[TaskResult]) -> list[Row]:
    """Rows of all tasks, group by group, each group closed by its mean over tasks.

    A task of several categories has a row of the mean over them, and one of all pictures pooled under one threshold.
    """
    rows: list[Row] = []
    for group in dict.fromkeys(result.group for result in results):
        own = [result for result in results if result.group == group]
        names = list(dict.fromkeys(result.name for result in own))
        lines = [Row(group, name, {r.seed: _figures(r) for r in own if r.name == name}) for name in names]
        rows += lines
        for name in names:
            of_mean = {r.seed: _figures(r, "_mean") for r in own if r.name == name and _has_mean(r)}
            if of_mean:
                rows.append(Row(group, f"{name}: mean over categories", of_mean))
        complete = [seed for seed in lines[0].by_seed if all(seed in line.by_seed for line in lines)]
        if len(lines) > 1 and complete:
            means = {seed: tuple(np.mean([line.by_seed[seed] for line in lines], axis=0).tolist()) for seed in complete}
            rows.append(Row(group, f"mean of {len(lines)}", means))
    return rows


def _has_mean(result: TaskResult) -> bool:
    return "image_auroc_mean/joint" in result.students


def _figures(result: TaskResult, kind: str = "") -> Figures:
    sources: dict[str, Mapping[str, float]] = {"students": result.students, "neighbours": result.neighbours}
    # what is no branch's metric is known of all pictures together only
    named = (c.metric.replace("/", f"{kind}/") if not kind or "/" in c.metric else "" for c in COLUMNS)
    return tuple(sources[c.source].get(name, float("nan")) for c, name in zip(COLUMNS, named, strict=True))


def summary_table(results: Sequence[TaskResult], title: str) -> Table:
    """The rows in per cent: image AUROC, what there is of pixel metrics, and false alarms."""
    rows = summary_rows(results)
    shown = [i for i, column in enumerate(COLUMNS) if column.on_screen and not all(np.isnan(row.mean()[i]) for row in rows)]
    table = Table("group", "normal", *(COLUMNS[i].title.replace(": ", ":\n") for i in shown), title=f"{title}, per cent")
    for row in rows:
        table.add_row(row.group, row.name, *(text for i, text in enumerate(cells(row)) if i in shown))
        if row.name.startswith("mean of"):
            table.add_section()
    return table


def cells(row: Row) -> list[str]:
    """The row's figures in per cent, with their deviation over seeds where there are several; empty where there is none."""
    deviation = row.deviation()
    texts = []
    for index, value in enumerate(row.mean()):
        spread = f" ± {100 * deviation[index]:.2f}" if deviation else ""
        texts.append("" if np.isnan(value) else f"{100 * value:.2f}{spread}")
    return texts


def write_summary(output: Path, headline: str, results: Sequence[TaskResult]) -> None:
    """Write `results.json` (every figure), `table.csv` (the table) and `report.html` into `output`."""
    write_text(output / "results.json", json.dumps([result.model_dump() for result in results], indent=2))
    rows = summary_rows(results)
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["group", "normal", "seeds", *(column.title for column in COLUMNS)])
    for row in rows:
        values = ("" if np.isnan(value) else repr(value) for value in row.mean())
        writer.writerow([row.group, row.name, len(row.by_seed), *values])
    write_text(output / "table.csv", stream.getvalue())
    titles, lines = [column.title for column in COLUMNS], [(row.group, row.name, cells(row)) for row in rows]
    write_page(output / "report.html", headline, titles, lines, results)
