"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import socket

_HELD: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody else is given while this process lives.

    For servers that set SO_REUSEADDR: on Linux such a one may listen where another socket is bound that sets it too and does
    not listen. Given back before it is used, the port could go to any connection or server of a test beside this one.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    return int(held.getsockname()[1])
