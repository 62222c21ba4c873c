"""A command run for each verdict: the relay of a rejecter, a lamp, a label printer."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

_SECONDS = 10.0
_WITHOUT_DEADLINE = 60.0
_GRACE = 2.0  # seconds: a fail-safe verdict is given at the deadline, and the command before it may still run

log = structlog.stdlib.get_logger(__name__)


class Command:
    """Runs once for each verdict that is not late, without a shell; the verdict is its standard input and its DUET_ variables.

    A command that fails or takes too long is told of and counted, not repeated: by then another part lies under the rejecter.
    So it does where the part was taken more than `deadline` seconds ago (None: a minute), and the verdict has waited since.
    """

    name = "command"

    def __init__(self, arguments: Sequence[str], deadline: float | None, failed: Callable[[], None]) -> None:
        self._arguments = list(arguments)
        self._oldest = (_WITHOUT_DEADLINE if deadline is None else deadline) + _GRACE
        self._failed = failed

    def deliver(self, body: str) -> None:
        """Run the command and wait for its end."""
        verdict = json.loads(body)
        if verdict["late"]:
            return
        age = time.time() - datetime.fromisoformat(verdict["taken"]).timestamp()
        if age > self._oldest:
            self._failed()
            log.error("command not run, the part has gone by", part=verdict["part"], seconds=round(age, 1))
            return
        told = {
            f"DUET_{name.upper()}": str(verdict[name] or "") for name in ("id", "part", "camera", "line", "station", "verdict")
        }
        try:
            done = subprocess.run(self._arguments, input=body.encode(), env=os.environ | told, timeout=_SECONDS, check=False)
            reason = f"exit status {done.returncode}" if done.returncode else None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # a value that no variable can hold, too
            reason = str(error)
        if reason:
            self._failed()
            log.error("command failed", part=verdict["part"], verdict=verdict["verdict"], reason=reason)

    def close(self) -> None:
        """Nothing is open."""
