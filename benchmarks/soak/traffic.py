"""The mix of requests: who sends what, how often, and when the bursts come."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .clients import Client
from .pictures import Refusals
from .records import Burst, Recording, Sample
from .server import Server

BURST_FIRST, BURST_EVERY, BURST_SECONDS = 5.0, 45.0, 5.0
OVERLOAD = 10  # times the sustainable rate
MOST_WAITING = 1_000  # connections of a burst at once
_MEASURING_SECONDS, _MEASURING_CLIENTS = 3.0, 32


@dataclass(frozen=True)
class Bodies:
    """What is posted."""

    good: list[bytes]
    camera: bytes
    bad: Refusals


async def measure_capacity(client: Client, good: list[bytes]) -> float:
    """Pictures a second that the server scores for clients that always ask."""
    end = client.now + _MEASURING_SECONDS
    pictures = itertools.cycle(good)

    async def ask() -> int:
        scored = 0
        while client.now < end:
            scored += await client.score("measuring", next(pictures)) == 200
        return scored

    return sum(await asyncio.gather(*(ask() for _ in range(_MEASURING_CLIENTS)))) / _MEASURING_SECONDS


async def run_traffic(client: Client, server: Server, bodies: Bodies, recording: Recording, swaps: bool) -> None:
    """Send everything until the recording's length is over, and wait for the last answers."""
    rng = random.Random(0)
    good, bad = itertools.cycle(bodies.good), itertools.cycle(bodies.bad)

    async def refused() -> None:
        body, status, problem = next(bad)
        await client.score(f"bad: {status} {problem}", body)

    senders: list[tuple[float, Callable[[], Awaitable[object]]]] = [
        (0.1, lambda: client.score("good", next(good))),
        (0.2, lambda: client.score("good", next(good))),
        (2.0, lambda: client.score("12 megapixels", bodies.camera)),
        (0.5, refused),
        (3.0, client.chunked_flood),
        (2.0, client.declared_flood),
        (1.0, lambda: client.trickle(next(good))),
        (1.0, lambda: client.trickle(next(good))),
        (4.0, lambda: client.stall(next(good))),
        (0.5, lambda: client.vanish(next(good), rng)),
        (1.0, lambda: client.get("probe: live", "/health/live")),
    ]
    if swaps:
        senders.append((10.0, lambda: client.swap(next(good))))
    async with asyncio.TaskGroup() as group:
        for pause, send in senders:
            group.create_task(_repeat(client, recording.length, pause, send))
        group.create_task(_bursts(client, bodies.good, recording))
        group.create_task(_repeat(client, recording.length, 1.0, lambda: _sample(client, server, recording)))


async def _repeat(client: Client, length: float, pause: float, send: Callable[[], Awaitable[object]]) -> None:
    while client.now < length:
        await send()
        await asyncio.sleep(pause)


async def _bursts(client: Client, good: list[bytes], recording: Recording) -> None:
    begin = BURST_FIRST
    while begin + BURST_EVERY / 2 < recording.length:  # the last one leaves time to see what follows
        await asyncio.sleep(begin - client.now)
        recording.bursts.append(await _burst(client, good, recording.capacity))
        begin = max(begin + BURST_EVERY, client.now)


async def _burst(client: Client, good: list[bytes], capacity: float) -> Burst:
    """Send at OVERLOAD times `capacity`, whatever comes back, then wait for every answer."""
    start, sent = client.now, 0
    places = asyncio.Semaphore(MOST_WAITING)
    pictures = itertools.cycle(good)

    async def ask(picture: bytes) -> None:
        await client.burst(picture)
        places.release()

    async with asyncio.TaskGroup() as group:
        while (elapsed := client.now - start) < BURST_SECONDS:
            while sent < OVERLOAD * capacity * elapsed and client.now - start < BURST_SECONDS:
                await places.acquire()
                group.create_task(ask(next(pictures)))
                sent += 1
            await asyncio.sleep(0.005)
        offered = sent / (client.now - start)
    return Burst(start, client.now, offered / capacity)


async def _sample(client: Client, server: Server, recording: Recording) -> None:
    started = time.monotonic()
    metrics = await client.get("probe: metrics", "/metrics")
    scrape = time.monotonic() - started
    queue = sum(float(value) for value in re.findall(r"^duet_queue_depth\{.*\} (\S+)$", metrics, re.MULTILINE))
    ready = '"ready"' in await client.get("probe: ready", "/health/ready")
    recording.samples.append(Sample(client.now, *server.resources(), queue, ready, scrape))
