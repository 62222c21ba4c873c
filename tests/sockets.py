"""Bytes on a connection, for what no HTTP client would send."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.service_process import PATIENCE, ServiceProcess


def connect(service: ServiceProcess, data: bytes = b"") -> socket.socket:
    """A connection to the service on which `data` has been sent."""
    connection = socket.create_connection(("127.0.0.1", service.port), PATIENCE)
    connection.sendall(data)
    return connection


def head(start: str, **fields: object) -> bytes:
    """The header of a request, its start being such as 'GET /models'; `_` stands for the hyphen in names of fields."""
    lines = [f"{start} HTTP/1.1", "Host: duet", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def first_line(connection: socket.socket) -> str:
    """The status line of the answer, which is waited for."""
    received = b""
    while b"\r\n" not in received and (data := connection.recv(4096)):
        received += data
    return received.split(b"\r\n")[0].decode()


def until_closed(connection: socket.socket, drip: bytes = b"") -> str:
    """What the service sends before it closes, which is waited for; meanwhile `drip` is sent, a byte a second."""
    deadline = time.monotonic() + PATIENCE
    received = b""
    connection.settimeout(1)
    while time.monotonic() < deadline:
        try:
            data = connection.recv(4096)
        except TimeoutError:
            with contextlib.suppress(OSError):  # closed: the next recv tells
                connection.sendall(drip[:1])
            drip = drip[1:]
            continue
        except ConnectionResetError:
            data = b""
        if not data:
            return received.decode()
        received += data
    raise RuntimeError(f"the connection is still open after {PATIENCE} s; received {received!r}")
