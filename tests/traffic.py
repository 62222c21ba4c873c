"""What other clients of a service do meanwhile."""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx

from tests.pictures import encode, slow
from tests.service_process import PATIENCE, ServiceProcess


def occupy(service: ServiceProcess, pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """Post a picture that keeps the engine busy for seconds, and return once it is there."""
    computed = service.metric("duet_images_total")
    busy = pool.submit(service.client.post, "/score", content=encode(slow()))
    service.wait_for_metric(computed + 1, "duet_images_total")
    return busy


def connection_with_request(service: ServiceProcess, body: bytes, path: str = "/score", **headers: object) -> socket.socket:
    """A connection that has posted a body, and whose closing is a client going away; `headers` with _ in place of -."""
    connection = socket.create_connection(("127.0.0.1", service.port))
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {**headers, "Content_Length": len(body)}.items()]
    connection.sendall("\r\n".join([f"POST {path} HTTP/1.1", "Host: duet", *lines, "", ""]).encode() + body)
    return connection


def wait_until_queued(service: ServiceProcess) -> None:
    """Return once a picture waits for the engine; the queue's depth counts those being decoded, too."""
    deadline = time.monotonic() + PATIENCE
    while not service.metric("duet_oldest_request_age_seconds"):
        if time.monotonic() > deadline:
            raise RuntimeError("no picture has come into the queue")
        time.sleep(0.01)
