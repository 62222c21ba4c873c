"""A picture for each request of a PLC or a photo-eye."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from client.camera.frame import Frame
from client.camera.sources import Host
from client.camera.sources.opencv import VideoDevice
from client.camera.sources.trigger import Trigger
from tests.frames import PATIENCE, Remembered, Taking, pixels_of
from tests.pictures import encode, noise
from tests.ports import free_port


def wait_until_listening(http: httpx.Client, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            http.get(url)
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_trigger() -> None:
    port = free_port()
    picture = encode(noise(3))
    with Taking(Trigger("127.0.0.1", port, None)) as taking, httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        assert http.post(url, params={"part": "A 7"}, content=picture).status_code == 202
        assert http.post(url, content=picture).status_code == 202
        refused = http.post(url)
        assert (refused.status_code, "--device" in refused.json()["detail"]) == (400, True)
    assert [(frame.part, frame.picture) for frame in taking.taken] == [("A 7", picture), (None, picture)]


def test_trigger_takes_a_picture(film: Path) -> None:
    port = free_port()
    with Taking(Trigger("127.0.0.1", port, VideoDevice(str(film), None))) as taking, httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        assert http.post(url, params={"part": "A7"}).status_code == 202
    assert taking.taken[0].part == "A7"
    assert pixels_of(taking.taken[0]).shape == (48, 64, 3)


def test_trigger_takes_no_half_picture_and_no_chunks(film: Path) -> None:
    port = free_port()
    picture = encode(noise(3))
    with Taking(Trigger("127.0.0.1", port, VideoDevice(str(film), None))) as taking, httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        for sent in (b"", picture[:100]):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(b"POST /?part=4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + sent)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b" 411 " in connection.recv(1000)
        assert http.post(url, params={"part": "A7"}, content=picture).status_code == 202
    assert [frame.part for frame in taking.taken] == ["A7"]


def test_a_part_that_waits_for_a_full_spool_is_taken_back_or_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never refused and taken nevertheless: who obeys Retry-After would have it twice."""
    monkeypatch.setattr("client.camera.sources.trigger._SECONDS", 1.0)
    port, stop = free_port(), threading.Event()
    source = Trigger("127.0.0.1", port, None).frames(stop, Host(Remembered(), lambda: None))
    taken: list[Frame] = []
    thread = threading.Thread(target=lambda: taken.append(next(source)))  # and never asks for another: the spool is full
    thread.start()
    with httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        promised = http.post(url, content=b"first")
        refused = http.post(url, content=b"second")
    thread.join(PATIENCE)
    stop.set()
    assert (promised.status_code, "in memory" in promised.json()["detail"]) == (202, True)
    assert refused.status_code == 503
    assert [frame.picture for frame in [*taken, *source]] == [b"first"]
