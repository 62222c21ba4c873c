"""How a result looks in a notebook. Verdicts differ in sign and word, not in colour alone; no style sheet, no script."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .results import ScoreResult

_BAD, _GOOD, _TRACK = "#b3261e", "#00696b", "#8883"
_BAR = 180  # pixels


def result_html(result: ScoreResult) -> str:
    """Heatmap, verdict, and a bar a branch with the threshold as a tick on the joint one."""
    colour, sign, word = (_BAD, "&#10007;", "anomalous") if result.anomalous else (_GOOD, "&#10003;", "good")
    scores = result.scores
    rows = "".join(
        _row(name, value, colour if name == "joint" else "#777", result.threshold if name == "joint" else None)
        for name, value in (("local", scores.local), ("semantic", scores.semantic), ("joint", scores.joint))
        if value is not None
    )
    about = escape(f"{result.model} {result.version}, {result.width} x {result.height}, {result.timing_ms.total:.0f} ms")
    return (
        '<div style="display:flex;gap:18px;align-items:center;font:14px/1.5 system-ui,sans-serif">'
        f"{_picture(result)}<div>"
        f'<div style="font-size:22px;font-weight:700;color:{colour}">{sign} {word}</div>'
        f'<table style="border-collapse:collapse;margin:6px 0">{rows}</table>'
        f'<div style="opacity:.7;font-size:12px">{about}</div></div></div>'
    )


def _picture(result: ScoreResult) -> str:
    if result.heatmap is None:
        return ""
    data = base64.b64encode(result.heatmap.png).decode()
    return f'<img alt="heatmap" src="data:image/png;base64,{data}" style="width:160px;border-radius:4px">'


def _row(name: str, value: float, colour: str, threshold: float | None) -> str:
    tick = ""
    if threshold is not None:
        tick = (
            f'<div title="threshold {threshold:.3f}" style="position:absolute;top:-3px;height:14px;width:2px;'
            f'background:currentColor;left:{threshold * _BAR:.0f}px"></div>'
        )
    bar = (
        f'<div style="position:relative;width:{_BAR}px;height:8px;border-radius:4px;background:{_TRACK}">'
        f'<div style="width:{value * _BAR:.0f}px;height:8px;border-radius:4px;background:{colour}"></div>{tick}</div>'
    )
    cell = "background:none;border:0;padding:1px 10px 1px 0;text-align:left"
    return f'<tr><td style="{cell}">{name}</td><td style="{cell}">{bar}</td><td style="{cell}">{value:.3f}</td></tr>'
