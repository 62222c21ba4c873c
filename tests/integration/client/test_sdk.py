"""Both clients against a real service."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import (
    AsyncDuetClient,
    BadParameterError,
    BadPictureError,
    DeadlineError,
    DuetClient,
    DuetError,
    NotAllowedError,
    ScoreResult,
    ServiceFailedError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    UnknownModelError,
)
from client.pictures import Picture
from tests.api_keys import digest
from tests.pictures import encode, failing, grey, noise, slow, spotted
from tests.service_process import PATIENCE, ServiceProcess, running_service
from tests.tiny_model import expected_scores

Score = Callable[..., ScoreResult]


@pytest.fixture(params=["threads", "asyncio"])
def score(request: pytest.FixtureRequest, url: str) -> Score:
    """`score` of either client, with a new client for each call."""

    def by_threads(picture: Picture, *, to: str = url, api_key: str | None = None, **options: object) -> ScoreResult:
        with DuetClient(to, api_key=api_key, timeout=PATIENCE) as client:
            return client.score(picture, **options)  # type: ignore[arg-type]

    def by_asyncio(picture: Picture, *, to: str = url, api_key: str | None = None, **options: object) -> ScoreResult:
        async def call() -> ScoreResult:
            async with AsyncDuetClient(to, api_key=api_key, timeout=PATIENCE) as client:
                return await client.score(picture, **options)  # type: ignore[arg-type]

        return asyncio.run(call())

    return by_threads if request.param == "threads" else by_asyncio


def test_every_form_of_a_picture_scores_the_same(score: Score, tmp_path: Path) -> None:
    pixels = noise(1)
    path = tmp_path / "part.png"
    path.write_bytes(encode(pixels))
    for picture in (path, str(path), path.read_bytes(), pixels, Image.fromarray(pixels)):
        result = score(picture, request_id="part-7")
        assert (result.raw.local, result.raw.semantic, result.raw.joint) == pytest.approx(expected_scores(pixels), abs=1e-4)
        assert (result.id, result.model, result.version) == ("part-7", "tiny", "3")
        assert (result.width, result.height) == (56, 56)
    assert score(pixels[..., 0]).raw.semantic == 0  # grey
    assert score(pixels[..., 0].astype(np.uint16) * 257).raw == score(pixels[..., 0]).raw


def test_threshold_and_heatmap(score: Score) -> None:
    result = score(spotted(), threshold=0.25)
    assert result.anomalous
    assert result.threshold == 0.25
    assert result.heatmap is not None
    probability = result.heatmap.array()
    assert (probability.shape, probability.dtype) == ((256, 256), np.float32)
    assert probability[-1, -1] > 0.9 > 0.1 > probability[0, 0]
    assert result.heatmap.image().getpixel((0, 0)) == round(255 * float(probability[0, 0]))

    overlay = score(spotted(), heatmap="overlay", heatmap_size="source").heatmap
    assert overlay is not None
    assert (overlay.array().shape, overlay.array().dtype) == ((56, 56, 3), np.uint8)
    assert score(spotted(), heatmap="none").heatmap is None


def test_a_result_draws_itself(score: Score) -> None:
    result = score(spotted())
    html = result._repr_html_()
    assert "anomalous" in html
    assert "data:image/png;base64," in html
    assert result.heatmap is not None
    assert Image.open(BytesIO(result.heatmap._repr_png_())).size == (256, 256)
    assert "good" in score(grey(), heatmap="none")._repr_html_()


@pytest.mark.parametrize(
    ("picture", "options", "expected", "slug"),
    [
        (b"no picture", {}, BadPictureError, "unreadable-image"),
        (noise(1, 500, 500), {}, BadPictureError, "too-many-pixels"),
        (grey(), {"model": "other"}, UnknownModelError, "unknown-model"),
        (grey(), {"threshold": 1.5}, BadParameterError, "bad-parameter"),
        (failing(), {}, ServiceFailedError, "inference-failed"),
    ],
)
def test_refusals(score: Score, picture: Picture, options: dict[str, object], expected: type, slug: str) -> None:
    with pytest.raises(expected) as caught:
        score(picture, request_id="refused", **options)
    error = caught.value
    assert error.type == f"urn:duet:problem:{slug}"
    assert error.request_id == "refused"
    assert error.detail in str(error)


def test_api_key(score: Score, models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", api_keys=f"line:{digest('secret')}") as locked:
        to = f"http://127.0.0.1:{locked.port}"
        assert not score(grey(), to=to, api_key="secret").anomalous
        with pytest.raises(NotAllowedError, match="401"):
            score(grey(), to=to)


def test_deadline(score: Score) -> None:
    with pytest.raises(DeadlineError) as caught:
        score(slow(255), timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, DuetError)


def test_nobody_listens(score: Score) -> None:
    with pytest.raises(ServiceUnreachableError, match=r"127\.0\.0\.1:1"):
        score(grey(), to="http://127.0.0.1:1", timeout=0.5)


def test_nobody_accepts(score: Score) -> None:
    """A host that drops what asks for a connection, as a firewall does: time ends before there is one."""
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than wait in its queue
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        with pytest.raises(ServiceUnreachableError, match=r"/score: \w"):
            score(grey(), to=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.5)


@contextmanager
def stranger(headers: dict[str, str], pieces: list[bytes]) -> Iterator[str]:
    """The address of a server that is no Duet, and takes a moment for each piece of its answer."""

    class Stranger(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client has gone
                for piece in pieces:
                    self.wfile.write(piece)
                    time.sleep(0.1)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("headers", "message"), [({}, "<html>welcome"), ({"Content-Encoding": "gzip"}, "answer cannot be decoded")]
)
def test_somebody_else_listens(score: Score, headers: dict[str, str], message: str) -> None:
    with stranger(headers, [b"<html>welcome"]) as address, pytest.raises(UnexpectedAnswerError, match=message):
        score(grey(), to=address)


def test_an_answer_that_trickles_has_no_more_time_than_any_other(score: Score) -> None:
    with stranger({}, [b" "] * 30) as address, pytest.raises(DeadlineError):
        score(grey(), to=address, timeout=0.5)


@pytest.mark.parametrize("request_id", ["", "Teil 17", "Stück", "x" * 129])
def test_an_id_that_the_service_would_not_take_is_refused(score: Score, request_id: str) -> None:
    with pytest.raises(ValueError, match="1 to 128 ASCII characters without spaces"):
        score(grey(), request_id=request_id)


def test_a_full_queue_is_waited_for_as_long_as_it_asks(score: Score, models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log", max_queue=1, max_batch_size=1) as busy:
        to = f"http://127.0.0.1:{busy.port}"
        started = time.monotonic()
        with DuetClient(to, timeout=PATIENCE) as client:
            outcomes = list(client.score_many([slow(60)] * 5 + [grey()], in_flight=6))
        assert all(isinstance(outcome, ScoreResult) for outcome in outcomes)
        refused = busy.metric("duet_rejected_total", reason="queue-full")
        assert refused > 0
        assert time.monotonic() - started >= 1  # what Retry-After asked for
        assert isinstance(score(grey(), to=to), ScoreResult)


def test_a_restart_is_survived(score: Score, models: Path, tmp_path: Path) -> None:
    first = ServiceProcess(models, tmp_path / "first.log")
    first.wait_until_ready()
    first.close()  # SIGKILL
    results: list[ScoreResult] = []
    thread = threading.Thread(target=lambda: results.append(score(grey(), to=f"http://127.0.0.1:{first.port}")))
    thread.start()
    with running_service(models, tmp_path / "second.log", port=first.port):
        thread.join(PATIENCE)
    assert len(results) == 1


def test_many_in_order_with_bad_ones_among_them(url: str, tmp_path: Path) -> None:
    pictures: list[Picture] = [noise(seed) for seed in range(40)]
    pictures[3], pictures[20] = b"broken", tmp_path / "missing.png"
    taken = 0

    def source() -> Iterator[Picture]:
        nonlocal taken
        for picture in pictures:
            taken += 1
            yield picture

    def check(number: int, outcome: object) -> None:
        if number == 3:
            assert isinstance(outcome, BadPictureError)
        elif number == 20:
            assert isinstance(outcome, FileNotFoundError)
        else:
            assert isinstance(outcome, ScoreResult)
            assert outcome.raw.local == pytest.approx(expected_scores(noise(number))[0], abs=1e-4)

    with DuetClient(url, timeout=PATIENCE) as client:
        number = -1
        for number, outcome in enumerate(client.score_many(source(), in_flight=5, heatmap="none")):
            assert taken <= number + 5
            check(number, outcome)
        assert number == 39

    async def many() -> list[object]:
        async with AsyncDuetClient(url, timeout=PATIENCE) as client:
            return [outcome async for outcome in client.score_many(pictures, in_flight=5, heatmap="none")]

    for number, outcome in enumerate(asyncio.run(many())):
        check(number, outcome)


def test_connections_are_reused(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log") as fresh, DuetClient(f"http://127.0.0.1:{fresh.port}") as client:
        streams = set()
        client._http.event_hooks["response"] = [
            lambda response: streams.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        ]
        for _ in range(5):
            client.score(grey(), heatmap="none")
        assert len(streams) == 1


async def test_leaving_score_many_early_cancels_the_rest(url: str) -> None:
    async with AsyncDuetClient(url, timeout=PATIENCE) as client:
        many = client.score_many([grey()] * 20, in_flight=4, heatmap="none")
        assert isinstance(await anext(many), ScoreResult)
        closing: Awaitable[None] = many.aclose()  # type: ignore[attr-defined]
        await closing
    with DuetClient(url, timeout=PATIENCE) as threads:
        first = next(threads.score_many([grey()] * 20, in_flight=4, heatmap="none"))
        assert isinstance(first, ScoreResult)
