"""The report of a benchmark as one HTML page; its pictures lie beside it, in the folders of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..files import write_text
from ..report import PICTURES
from .results import TaskResult

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1c1c1e; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e3e3e8; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
tr.mean td { font-weight: 600; background: #f4f4f7; }
figure { margin: 1rem 0 2rem; } img { max-width: 100%; }
details { border-top: 1px solid #e3e3e8; padding: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
"""


def write_page(
    file: Path,
    headline: str,
    titles: Sequence[str],
    rows: Sequence[tuple[str, str, Sequence[str]]],
    results: Sequence[TaskResult],
) -> None:
    """Table of `rows` (group, name, a cell a title), and for each task its curves and its sheet of pictures."""
    shown = [i for i in range(len(titles)) if any(cells[i] for _, _, cells in rows)]
    head = "".join(f"<th>{escape(title)}</th>" for title in ("group", "normal", *(titles[i] for i in shown)))
    body = "".join(_row(group, name, [cells[i] for i in shown]) for group, name, cells in rows)
    tasks = "".join(map(_task, results))
    write_text(
        file,
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Duet: {escape(headline)}</title><style>{STYLE}</style><h1>{escape(headline)}</h1>"
        "<p>Per cent. <em>nearest</em>: nearest neighbours on the same teacher, nothing trained. A row of one task is measured "
        "over all its pictures with one threshold.</p>"
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<h2>Tasks</h2>{tasks}</html>\n",
    )


def _row(group: str, name: str, cells: Sequence[str]) -> str:
    kind = " class='mean'" if "mean" in name else ""
    return f"<tr{kind}>{''.join(f'<td>{escape(text)}</td>' for text in (group, name, *cells))}</tr>"


def _task(result: TaskResult) -> str:
    folder = quote(result.folder)
    pictures = "".join(
        f"<figure><img loading='lazy' src='{folder}/{name}' alt='{what}'><figcaption>{what}</figcaption></figure>"
        for name, what in PICTURES.items()
    )
    title = escape(f"{result.group}: {result.name}, seed {result.seed}")
    return f"<details><summary>{title}</summary>{pictures}</details>"
