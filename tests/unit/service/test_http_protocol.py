"""The protocol's patience, cut short: whom it must not cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.http_protocol import HttpProtocol

PATIENCE = 0.2  # seconds


class Impatient(HttpProtocol):
    patience = PATIENCE


async def slow_application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Reads the body, computes for longer than the protocol's patience, and answers."""
    while (await receive())["more_body"]:
        pass
    await asyncio.sleep(3 * PATIENCE)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Port of a server that answers slowly."""
    config = uvicorn.Config(slow_application, port=0, http=Impatient, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


REQUEST = b"POST / HTTP/1.1\r\nHost: duet\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [REQUEST + b"ab"],  # computed for longer than the patience
        [REQUEST + b"a", b"b"],  # sent for longer than it
        [REQUEST + b"ab" + REQUEST + b"ab"],  # pipelined: the second waits for the first, and is computed after it
    ],
)
async def test_request_that_has_begun_is_not_cut_off(port: int, pieces: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(2 * PATIENCE)
    received = await reader.read()  # until the service closes the connection, after its last answer
    writer.close()
    assert received.count(b"200 OK") == received.count(b"done") == b"".join(pieces).count(b"POST")


async def test_connection_without_a_request_is_closed_without_a_word(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()
