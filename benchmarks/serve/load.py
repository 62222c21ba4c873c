"""Load from wrk: at saturation, or with pauses that bring a share of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .servers import Server

SCRIPT = Path(__file__).with_name("post.lua")
SHARE = 0.7
WARM_UP = 2.0  # seconds
LOOK = 0.5  # seconds between two looks at the memory
PAUSE = 1.0  # seconds between two requests of a connection then: uvicorn, as most peers have it, hangs up after 5
FEWEST = 4  # connections then


class LoadError(RuntimeError):
    """wrk is absent, or a server did not answer everything; the message says which."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw: answers a second, and percentiles of their times in milliseconds."""

    rate: float
    p50: float
    p95: float
    p99: float
    answers: int


def warm_up(server: Server, body: Path, media_type: str, connections: int) -> None:
    """A first load, of which nothing is kept."""
    _wrk(server, body, media_type, connections, WARM_UP, 0.0)


def saturate(server: Server, body: Path, media_type: str, connections: int, seconds: float, paths: Sequence[str] = ()) -> Load:
    """So many connections, each of which sends its next request with the answer to the last; to `paths` in turns, if given."""
    return _answered(server, _wrk(server, body, media_type, connections, seconds, 0.0, paths))


def at_share(server: Server, body: Path, media_type: str, seconds: float, rate: float) -> Load:
    """Requests at about SHARE of `rate`, as from people: connections that pause, as many as that takes."""
    connections = max(FEWEST, round(SHARE * rate * PAUSE))
    between = 1000 * connections / (SHARE * rate)  # milliseconds from request to request of one connection
    pilot = _wrk(server, body, media_type, connections, seconds, max(between - 2000 / rate, 1.0))  # how long an answer takes
    return _answered(server, _wrk(server, body, media_type, connections, seconds, max(between - pilot.p50, 1.0)))


def _answered(server: Server, load: Load) -> Load:
    if not load.answers:
        raise LoadError(f"{server.name} answered nothing in time: allow more --seconds")
    return load


def _wrk(
    server: Server, body: Path, media_type: str, connections: int, seconds: float, think: float, paths: Sequence[str] = ()
) -> Load:
    if not shutil.which("wrk"):
        raise LoadError("wrk is missing: apt-get install wrk")
    file, content_type = server.encoded(body, media_type)
    environment = os.environ | {"BODY_FILE": str(file), "BODY_TYPE": content_type}
    environment |= {"BODY_PATHS": ",".join(paths), "THINK_MS": str(think)}
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", "60s", "--script", str(SCRIPT), server.url]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None:  # it prints little, and at its end
        server.watch_memory()
        time.sleep(LOOK)
    printed = process.communicate()[0]
    lines = [line for line in printed.splitlines() if line.startswith("JSON ")]
    if process.returncode or not lines:
        raise LoadError(f"wrk failed against {server.name}: {printed}")
    found: dict[str, Any] = json.loads(lines[0].removeprefix("JSON "))
    if found["failed"]:
        raise LoadError(f"{server.name} answered {found['answers']} requests and failed {found['failed']}:\n{server.log()}")
    return Load(found["answers"] / found["seconds"], found["p50"], found["p95"], found["p99"], found["answers"])
