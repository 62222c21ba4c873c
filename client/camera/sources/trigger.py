"""Frames that somebody asks for or sends by HTTP: a PLC, a robot, a barcode reader."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog

from ..frame import Frame
from . import Host
from .opencv import LatestPicture, VideoDevice, encoded

_MAX_BYTES = 64 * 2**20
_SECONDS = 10.0  # for a body to come, a camera to give a picture, and a spool to take it

log = structlog.stdlib.get_logger(__name__)


@dataclass
class _Request:
    frame: Frame
    spooled: threading.Event = field(default_factory=threading.Event)
    _unclaimed: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Whether the caller is the first: the source, which takes the frame, or the sender, who takes it back."""
        return self._unclaimed.acquire(blocking=False)


@dataclass(frozen=True)
class Trigger:
    """`POST /?part=NUMBER`: a body is the picture itself; without one, `device` takes it.

    202 means that it is in the spool; of a single one, as its text says, that it is the next for a full spool.
    """

    host: str
    port: int
    device: VideoDevice | None

    def frames(self, stop: threading.Event, host: Host) -> Iterator[Frame]:
        """Give what was asked for, in the order in which it came."""
        requests: queue.Queue[_Request] = queue.Queue(maxsize=1)
        camera = LatestPicture(self.device, stop, host.lost) if self.device else nullcontext()
        with camera as latest, _Server((self.host, self.port), requests, latest, stop) as server:
            thread = threading.Thread(target=server.serve_forever, name="duet-trigger", daemon=True)
            thread.start()
            log.info("listening for triggers", host=self.host, port=server.server_port)
            try:
                while not stop.is_set():
                    try:
                        request = requests.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    if request.claim():
                        yield request.frame
                        request.spooled.set()
            finally:
                server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        requests: queue.Queue[_Request],
        latest: LatestPicture | None,
        stop: threading.Event,
    ) -> None:
        super().__init__(address, _Handler)
        self.requests = requests
        self.latest = latest
        self.stop = stop


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def do_POST(self) -> None:
        """Spool one picture."""
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._answer(411, "send a Content-Length, not a Transfer-Encoding")
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BYTES:
            self.close_connection = True
            self._answer(413, "Content-Length is needed, and at most 64 MiB")
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the sender went away: half a picture, and no wish for one of the camera's
            self.close_connection = True
            return
        part = parse_qs(urlsplit(self.path).query).get("part", [None])[0]
        if body:
            frame = Frame(body, time.time(), part)
        elif self.server.latest is None:
            self._answer(400, "send the picture as the body, or name a camera with --device")
            return
        elif (seen := self.server.latest.next(self.server.stop, _SECONDS)) is None:
            self._answer(503, "the camera gives no picture")
            return
        else:
            frame = encoded(seen, part)
        request = _Request(frame)
        try:
            self.server.requests.put(request, timeout=_SECONDS)
        except queue.Full:
            self._answer(503, "the spool is full")
            return
        if request.spooled.wait(_SECONDS):
            self._answer(202, "spooled")
        elif request.claim():
            self._answer(503, "the spool is full")
        else:  # not 503, at which a PLC would send the part once more
            self._answer(202, "the spool is full; the picture is in memory, and spooled as soon as there is room")

    def log_message(self, format: str, *args: Any) -> None:
        """Failures alone are told, by the answers."""

    def _answer(self, status: int, text: str) -> None:
        body = json.dumps({"detail": text}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)
