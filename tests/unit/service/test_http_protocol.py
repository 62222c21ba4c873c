"""The protocol's patience, cut short: whom it must not cut off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http_protocol import HttpProtocol

PATIENCE = 1.0  # seconds
IDLE = 8  # seconds between requests


class Impatient(HttpProtocol):
    patience = PATIENCE
    least_read = 1


class Demanding(Impatient):
    least_read = 2**30


async def slow_application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Reads the body, computes for longer than the protocol's patience, and answers."""
    while (await receive())["more_body"]:
        pass
    await asyncio.sleep(3 * PATIENCE)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


LARGE = bytes(64 * 2**20)  # more than the buffers of both sides hold


async def large_application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Answers a lot."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(LARGE))]})
    await send({"type": "http.response.body", "body": LARGE})


@contextlib.asynccontextmanager
async def serving(application: ASGIApp, protocol: type[Impatient] = Impatient) -> AsyncIterator[uvicorn.Server]:
    """A server with little patience."""
    config = uvicorn.Config(
        application, port=0, http=protocol, ws="none", lifespan="off", log_config=None, timeout_keep_alive=IDLE
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await running


def port_of(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Port of a server that answers slowly."""
    async with serving(slow_application) as server:
        yield port_of(server)


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


async def test_connection_may_rest_for_longer_between_requests(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(REQUEST + b"ab")
        assert await reader.readuntil(b"done")
        await asyncio.sleep(3 * PATIENCE)
    assert await reader.read() == b""  # until it has rested for too long
    writer.close()


async def hasty_application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Answers before it has read the body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


async def test_connection_rests_after_the_end_of_a_body_that_was_answered_early() -> None:
    async with serving(hasty_application) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(REQUEST)
        assert await reader.readuntil(b"done")
        writer.write(b"ab")
        await asyncio.sleep(2 * PATIENCE)
        writer.write(REQUEST)
        assert await reader.readuntil(b"done")
        writer.write(b"ab")
        async with asyncio.timeout(30):
            assert await reader.read() == b""  # until it has rested for too long
        writer.close()


async def test_rest_of_a_body_that_was_answered_early_is_not_waited_for() -> None:
    async with serving(hasty_application) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(REQUEST)
        assert await reader.readuntil(b"done")
        async with asyncio.timeout(IDLE):  # not the time that it may rest
            assert await reader.read() == b""
        writer.close()


async def test_header_that_does_not_end_is_cut_off_after_an_answer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST + b"ab")
    await reader.readuntil(b"done")
    await asyncio.sleep(2 * PATIENCE)
    writer.write(b"POST / HTTP/1.1\r\n")
    async with asyncio.timeout(IDLE):  # not the time that it may rest
        assert await reader.read() == b""
    writer.close()


async def test_connection_without_a_request_is_closed_without_a_word(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()


async def test_client_that_reads_nothing_is_cut_off() -> None:
    async with serving(large_application) as server:
        connection = socket.create_connection(("127.0.0.1", port_of(server)))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: duet\r\n\r\n")
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        while server.server_state.connections:  # until the server has let go of it
            await asyncio.sleep(0.01)
        connection.close()


@pytest.mark.parametrize("protocol", [Impatient, Demanding])
async def test_client_that_reads_slowly_gets_all_of_its_answer_unless_it_reads_too_little(protocol: type[Impatient]) -> None:
    """It takes many times the patience, but something is read in each stretch of it."""
    async with serving(large_application, protocol) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server), limit=2**20)
        writer.write(b"GET / HTTP/1.1\r\nHost: duet\r\nConnection: close\r\n\r\n")
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(2**22):
                received += len(data)
                await asyncio.sleep(PATIENCE / 4)
        assert (received > len(LARGE)) == (protocol is Impatient)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
