"""One request of each kind, the nasty ones on plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import httpx

from .records import Answer, Recording
from .server import DEADLINE, MAX_BYTES, MODEL, SWAPPED, Server

_PATIENCE = 3 * DEADLINE  # seconds; connections of a burst wait for a while before the server has looked at them
_LOAD_SECONDS = 60.0
SWAP = "swap: "  # begins the kinds of requests that load and unload, which have no deadline
_TRICKLE = 2.0  # seconds that a slow body takes
_STALL_MS = 1000


class Client:
    """Sends requests, and notes what came back in the recording, whose clock starts with it."""

    def __init__(self, server: Server, recording: Recording) -> None:
        self._server, self._recording = server, recording
        self._origin = time.monotonic()
        # Shorter than the server keeps connections, so that none is used that it has just closed.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=2)
        self._key = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        self._http = httpx.AsyncClient(base_url=server.address, headers=self._key, limits=limits, timeout=_PATIENCE)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._origin

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def score(self, kind: str, body: bytes, *, model: str | None = None) -> int:
        """Post a picture; the status, 0 without an answer."""
        return await self._send(kind, "POST", "/score", content=body, params={"model": model} if model else None)

    async def get(self, kind: str, path: str) -> str:
        """The text of an answer, empty without one."""
        started = self.now
        try:
            answer = await self._http.get(path)
        except httpx.HTTPError as error:
            self._note(Answer(kind, started, self.now - started, 0, note=type(error).__name__))
            return ""
        self._note_answer(kind, started, answer)
        return answer.text

    async def chunked_flood(self) -> None:
        """A body of unknown length that exceeds the limit; a server that has refused it may close before it has read all."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(MAX_BYTES // 2**18 + 2):
                yield bytes(2**18)

        await self._send("too many bytes", "POST", "/score", content=chunks())

    async def declared_flood(self) -> None:
        """A header that declares a body over the limit, of which hardly anything is sent."""
        await self._raw("too many bytes", MAX_BYTES + 1, [bytes(100)])

    async def burst(self, body: bytes) -> None:
        """A good picture on a connection of its own."""
        await self._raw("burst", len(body), [body])

    async def trickle(self, body: bytes) -> None:
        """A good picture, sent over seconds."""
        step = max(1, len(body) // 10)
        parts = [body[start : start + step] for start in range(0, len(body), step)]
        await self._raw("slow sender", len(body), parts, pause=_TRICKLE / len(parts))

    async def stall(self, body: bytes) -> None:
        """Half a picture, then silence until the deadline that the request sets."""
        await self._raw("stalled sender", len(body), [body[: len(body) // 2]], header=f"X-Request-Timeout-Ms: {_STALL_MS}\r\n")

    async def vanish(self, body: bytes, rng: random.Random) -> None:
        """Leave at some moment: while sending, in the queue, during inference, or with the answer under way."""
        started = self.now
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
            try:
                message = self._head(len(body)).encode() + body
                writer.write(message[: rng.randrange(1, len(message))] if rng.random() < 0.5 else message)
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(rng.choice([1, 100_000])), rng.uniform(0, 0.2))
            finally:
                writer.transport.abort() if rng.random() < 0.5 else writer.close()
        self._note(Answer("vanishing client", started, self.now - started, 0, note="left"))

    async def swap(self, body: bytes) -> None:
        """Load a second model, use it, unload it, and reload the one that serves."""
        await self._administer("load", SWAPPED)
        await self.score("loaded model", body, model=SWAPPED)
        await self._administer("unload", SWAPPED)
        await self.score("unloaded model", body, model=SWAPPED)
        await self._administer("load", MODEL)

    async def _administer(self, verb: str, model: str) -> None:
        path = f"/v2/repository/models/{model}/{verb}"
        await self._send(f"{SWAP}{verb} {model}", "POST", path, timeout=_LOAD_SECONDS)

    async def _send(self, kind: str, method: str, path: str, **options: object) -> int:
        started = self.now
        try:
            answer = await self._http.request(method, path, **options)  # type: ignore[arg-type]
        except httpx.WriteError:  # a body that the server refused to read
            self._note(Answer(kind, started, self.now - started, 0, note="closed while sending"))
            return 0
        except httpx.HTTPError as error:
            self._note(Answer(kind, started, self.now - started, 0, note=type(error).__name__))
            return 0
        self._note_answer(kind, started, answer)
        return answer.status_code

    async def _raw(self, kind: str, length: int, parts: list[bytes], pause: float = 0.0, header: str = "") -> None:
        """Send a request of `length` bytes, part after part, and read its answer."""
        started = self.now
        status, problem, note = 0, "", ""
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
                try:
                    writer.write(self._head(length, header).encode())
                    for part in parts:
                        writer.write(part)
                        await writer.drain()
                        if pause:
                            await asyncio.sleep(pause)
                    status, problem, retry = _parse(await reader.readuntil(b"}"))
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            note, retry = type(error).__name__, False
        self._note(Answer(kind, started, self.now - started, status, problem, retry, note))

    def _head(self, length: int, header: str = "") -> str:
        key = "".join(f"{name}: {value}\r\n" for name, value in self._key.items())
        return (
            "POST /score?heatmap=none HTTP/1.1\r\nHost: duet\r\nContent-Type: image/png\r\n"
            f"{key}{header}Content-Length: {length}\r\n\r\n"
        )

    def _note_answer(self, kind: str, started: float, answer: httpx.Response) -> None:
        problem = ""
        if answer.headers.get("content-type", "").startswith("application/problem"):
            problem = _slug(answer.json()["type"])
        retry = "retry-after" in answer.headers
        self._note(Answer(kind, started, self.now - started, answer.status_code, problem, retry))

    def _note(self, answer: Answer) -> None:
        self._recording.answers.append(answer)


def _parse(message: bytes) -> tuple[int, str, bool]:
    """Status, problem and whether there is a Retry-After, of an answer up to its body's first brace."""
    head, _, body = message.decode(errors="replace").partition("\r\n\r\n")
    _, found, rest = body.partition('"type":"')
    return int(head.split()[1]), _slug(rest.split('"')[0]) if found else "", "retry-after" in head.lower()


def _slug(type_: str) -> str:
    return type_.rsplit(":", 1)[-1]
