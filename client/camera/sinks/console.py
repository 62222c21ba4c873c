"""One line a verdict on standard output."""

from __future__ import annotations

import json
import sys

_MARKS = {"good": "✓ good", "bad": "✗ BAD "}
_COLOURS = {"good": "36", "bad": "1;31"}


class Console:
    """For people; a pipe gets the same lines without colour."""

    name = "console"

    def deliver(self, body: str) -> None:
        """Print time, verdict, part and joint probability."""
        verdict = json.loads(body)
        mark = _MARKS[verdict["verdict"]]
        if sys.stdout.isatty():
            mark = f"\x1b[{_COLOURS[verdict['verdict']]}m{mark}\x1b[0m"
        told = f"{verdict['scores']['joint']:.3f}" if verdict["scores"] else verdict["detail"] or "no answer in time"
        late = "  late" if verdict["late"] else ""
        print(f"{verdict['taken'][11:23]}  {mark}  {verdict['part']}  {told}{late}", flush=True)

    def close(self) -> None:
        """Nothing is open."""
