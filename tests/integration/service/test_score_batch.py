"""POST /score/batch: order, refusals of single pictures, lines as they are done, and a queue that others use too."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.pictures import encode, failing, grey, noise, reddish, spotted
from tests.service_process import ONE_ENGINE, ServiceProcess, running_service
from tests.traffic import occupy

GOOD = encode(grey())
BAD = b"not an image"
LINES = {"Accept": "application/x-ndjson"}
SMALL = {"heatmap": "none"}
PLACES = 6  # in the queue of `small`: three for one request


def form(*pictures: bytes) -> list[tuple[str, tuple[str | None, bytes]]]:
    """The files of a form, without names."""
    return [("image", (None, picture)) for picture in pictures]


def entries(answer: httpx.Response) -> list[dict[str, Any]]:
    """An entry for each picture, in order."""
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [entry["index"] for entry in results] == list(range(len(results)))
    return list(results)


def slugs(results: list[dict[str, Any]]) -> list[str]:
    """What became of each picture: its kind of problem, or 'scored'."""
    return [entry["error"]["type"].rsplit(":", 1)[1] if "error" in entry else "scored" for entry in results]


def as_bytes(request: httpx.Request) -> bytes:
    """A request for a connection that the test itself closes, or never reads."""
    head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return head.encode() + b"\r\n" + request.read()


@pytest.fixture
def small(models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A fresh service, whose counters start at 0, with few places in its queue."""
    with running_service(models, tmp_path / "service.log", max_queue=PLACES, **ONE_ENGINE) as service:
        yield service


def test_entries_are_in_order_and_each_is_what_score_answers(client: httpx.Client) -> None:
    pictures = [encode(spotted()), BAD, encode(reddish()), encode(noise(1, 90, 70), "JPEG"), b"", encode(noise(1), "GIF")]
    answer = client.post("/score/batch", files=form(*pictures))
    results = entries(answer)
    assert slugs(results) == ["scored", "unreadable-image", "scored", "scored", "unreadable-image", "unsupported-image"]
    assert answer.json()["id"] == answer.headers["x-request-id"]
    assert answer.json()["model"] == {"name": "tiny", "version": "3"}
    for picture, entry in zip(pictures, results, strict=True):
        alone = client.post("/score", content=picture).json()
        if "error" in entry:
            assert set(entry) == {"index", "filename", "error"}
            assert entry["error"] | {"instance": "/score"} == alone
        else:
            assert set(entry) == {"index", "filename", "result"}
            assert set(entry["result"]) == set(alone)
            assert entry["result"]["raw"] == pytest.approx(alone["raw"], rel=1e-5, abs=1e-6)
            for key in ("model", "threshold", "anomalous", "image", "heatmap"):
                assert entry["result"][key] == alone[key]


def test_filenames_are_echoed(client: httpx.Client) -> None:
    names = ["a.png", None, "Прокладка 3.png", "a.png", ""]
    results = entries(client.post("/score/batch", files=[("image", (name, GOOD)) for name in names], params=SMALL))
    assert [entry["filename"] for entry in results] == [*names[:4], None]  # httpx leaves an empty name out


def test_query_holds_for_every_picture(client: httpx.Client) -> None:
    params = {"threshold": "0.0", "heatmap": "overlay", "heatmap_size": "source"}
    for entry in entries(client.post("/score/batch", files=form(GOOD, encode(noise(1, 30, 40))), params=params)):
        result = entry["result"]
        assert (result["threshold"], result["anomalous"]) == (0.0, True)
        assert (result["heatmap"]["width"], result["heatmap"]["height"]) == (*result["image"].values(),)


@pytest.mark.parametrize(
    ("status", "slug", "request_"),
    [
        (400, "malformed-body", {"content": b"rubbish", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}),
        (400, "malformed-body", {"content": b"rubbish", "headers": {"Content-Type": "multipart/form-data"}}),
        (404, "unknown-model", {"files": form(GOOD), "params": {"model": "other"}}),
        (406, "not-acceptable", {"files": form(GOOD), "headers": {"Accept": "image/png"}}),
        (406, "not-acceptable", {"files": form(GOOD), "headers": {"Accept": "text/html"}}),
        (413, "too-many-bytes", {"files": form(bytes(150_000), bytes(150_000))}),
        (413, "too-many-images", {"files": form(*[b""] * 257)}),
        (415, "unsupported-content-type", {"content": GOOD, "headers": {"Content-Type": "image/png"}}),
        (415, "unsupported-content-type", {"content": GOOD}),
        (422, "bad-parameter", {"files": [*form(GOOD), ("mask", (None, GOOD))]}),
        (422, "bad-parameter", {"files": form(GOOD), "data": {"threshold": "0.5"}}),
        (422, "bad-parameter", {"files": form(GOOD), "params": {"heatmap": "picture"}}),
        (422, "bad-parameter", {"files": form(GOOD), "params": {"treshold": "0.5"}}),
        (422, "bad-parameter", {"files": form(GOOD), "headers": {"X-Request-Timeout-Ms": "0"}}),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson"])
def test_refusal_of_the_whole_request(
    client: httpx.Client, status: int, slug: str, request_: dict[str, Any], accept: str
) -> None:
    headers = {"Accept": accept} | request_.get("headers", {})
    answer = client.post("/score/batch", **request_ | {"headers": headers})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["type"] == f"urn:duet:problem:{slug}"


def test_as_many_images_as_allowed(client: httpx.Client) -> None:
    results = entries(client.post("/score/batch", files=form(*[GOOD] * 256), params=SMALL))
    assert slugs(results) == ["scored"] * 256


def test_a_picture_over_the_limit_is_an_entry(client: httpx.Client) -> None:
    too_large = encode(np.zeros((401, 500), dtype=np.uint8))
    assert slugs(entries(client.post("/score/batch", files=form(too_large, GOOD)))) == ["too-many-pixels", "scored"]


def test_a_failed_inference_is_an_entry_and_shows_in_the_metrics(service: ServiceProcess) -> None:
    failed = service.metric("duet_requests_total", outcome="failed")
    results = entries(service.client.post("/score/batch", files=form(encode(failing()))))
    assert slugs(results) == ["inference-failed"]
    assert "Traceback" not in str(results)
    assert service.metric("duet_requests_total", outcome="failed") == failed + 1
    assert service.client.get("/health/ready").status_code == 200


def test_a_request_counts_once_and_each_picture_for_itself(small: ServiceProcess) -> None:
    small.client.post("/score/batch", files=form(GOOD, BAD, encode(spotted()), encode(noise(1), "GIF"), BAD))
    with small.client.stream("POST", "/score/batch", files=form(GOOD, BAD), headers=LINES) as answer:
        answer.read()
    assert small.metric("duet_requests_total", outcome="scored", model="tiny", version="3") == 2
    assert small.metric("duet_requests_total") == 2
    assert small.metric("duet_rejected_total", reason="unreadable-image") == 3
    assert small.metric("duet_rejected_total", reason="unsupported-image") == 1
    assert small.metric("duet_rejected_total") == 4
    assert small.metric("duet_score_count", branch="joint") == small.metric("duet_images_total") == 3
    assert small.metric("duet_anomalous_total") == 1
    small.wait_for_metric(0, "duet_inflight_requests")


def test_large_heatmaps_are_refused_together_and_sent_line_by_line(client: httpx.Client) -> None:
    pictures = form(*[encode(noise(1, 400, 500), "JPEG", quality=20)] * 3)  # each heatmap: 0.8 MB, of 1.2 MB allowed
    large = {"heatmap": "overlay", "heatmap_size": "source"}
    results = entries(client.post("/score/batch", files=pictures, params=large))
    assert sorted(slugs(results)) == ["answer-too-large", "answer-too-large", "scored"]
    lines = client.post("/score/batch", files=pictures, params=large, headers=LINES).text.splitlines()
    assert slugs([json.loads(line) for line in lines]) == ["scored"] * 3


def test_more_pictures_than_places_all_pass_and_leave_room_for_others(small: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(small, pool)
    batch = pool.submit(small.client.post, "/score/batch", files=form(*[GOOD] * 40), params=SMALL)
    small.wait_for_metric(PLACES // 2, "duet_queue_depth")
    other = pool.submit(small.client.post, "/score", content=GOOD)
    small.wait_for_metric(PLACES // 2 + 1, "duet_queue_depth")
    assert slugs(entries(batch.result())) == ["scored"] * 40
    assert busy.result().status_code == other.result().status_code == 200
    assert small.metric("duet_rejected_total") == 0


def test_one_free_place_is_enough_for_all(small: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(small, pool)
    others = [pool.submit(small.client.post, "/score", content=GOOD) for _ in range(PLACES - 1)]
    small.wait_for_metric(PLACES - 1, "duet_queue_depth")
    batch = pool.submit(small.client.post, "/score/batch", files=form(*[GOOD] * 10), params=SMALL)
    small.wait_for_metric(PLACES, "duet_queue_depth")
    assert slugs(entries(batch.result())) == ["scored"] * 10
    assert {request.result().status_code for request in (busy, *others)} == {200}
    assert small.metric("duet_rejected_total") == 0


def test_a_queue_that_others_have_filled(small: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(small, pool)
    others = [pool.submit(small.client.post, "/score", content=GOOD) for _ in range(PLACES)]
    small.wait_for_metric(PLACES, "duet_queue_depth")
    assert slugs(entries(small.client.post("/score/batch", files=form(*[GOOD] * 5)))) == ["queue-full"] * 5
    assert small.metric("duet_rejected_total", reason="queue-full") == 5
    assert {request.result().status_code for request in (busy, *others)} == {200}


@pytest.mark.parametrize("headers", [{}, LINES])
def test_deadline_is_an_entry_for_each_picture_it_overtakes(
    small: ServiceProcess, pool: ThreadPoolExecutor, headers: dict[str, str]
) -> None:
    busy = occupy(small, pool)
    late = small.client.post("/score/batch", files=form(BAD, *[GOOD] * 9), headers=headers | {"X-Request-Timeout-Ms": "700"})
    results = [json.loads(line) for line in late.text.splitlines()] if headers else entries(late)
    assert {entry["index"]: slug for entry, slug in zip(results, slugs(results), strict=True)} == {
        0: "unreadable-image",
        **dict.fromkeys(range(1, 10), "deadline-passed"),
    }
    assert small.metric("duet_rejected_total", reason="deadline-passed") == 9
    assert small.metric("duet_queue_depth") == 0
    assert busy.result().status_code == 200
    assert small.metric("duet_images_total") == 1


def test_deadline_during_the_upload_is_a_refusal(small: ServiceProcess) -> None:
    head = (
        "POST /score/batch HTTP/1.1\r\nHost: duet\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        "Content-Length: 100\r\nX-Request-Timeout-Ms: 100\r\n\r\n--x\r\n"
    )
    with socket.create_connection(("127.0.0.1", small.port)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 504 ")


def test_lines_come_as_pictures_are_done(small: ServiceProcess, pool: ThreadPoolExecutor) -> None:
    busy = occupy(small, pool)
    with small.client.stream("POST", "/score/batch", files=form(GOOD, BAD, GOOD), headers=LINES) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.iter_lines()
        first = json.loads(next(lines))
        assert not busy.done()
        rest = [json.loads(line) for line in lines]
    assert (first["index"], slugs([first])) == (1, ["unreadable-image"])
    assert sorted(entry["index"] for entry in rest) == [0, 2]
    assert slugs(rest) == ["scored", "scored"]
    assert {entry["result"]["id"] for entry in rest} == {f"{answer.headers['x-request-id']}.{index}" for index in (0, 2)}


@pytest.mark.parametrize("headers", [{}, LINES])
def test_client_that_leaves_takes_all_its_pictures_out_of_the_queue(
    small: ServiceProcess, pool: ThreadPoolExecutor, headers: dict[str, str]
) -> None:
    busy = occupy(small, pool)
    request = small.client.build_request("POST", "/score/batch", files=form(*[GOOD] * 10), headers=headers)
    with socket.create_connection(("127.0.0.1", small.port)) as connection:
        connection.sendall(as_bytes(request))
        small.wait_for_metric(PLACES // 2, "duet_queue_depth")
    small.wait_for_metric(1, "duet_cancelled_total", stage="batch")
    assert small.metric("duet_queue_depth") == 0
    assert busy.result().status_code == 200
    assert small.metric("duet_images_total") == 1
    assert small.metric("duet_requests_total", outcome="cancelled") == 1
    small.wait_for_metric(0, "duet_inflight_requests")


def test_client_that_does_not_read_its_lines_is_cut_off(small: ServiceProcess) -> None:
    picture = encode(noise(1, 400, 500), "JPEG", quality=20)
    request = small.client.build_request(
        "POST",
        "/score/batch",
        files=form(*[picture] * 40),  # each line: 0.8 MB, and the kernel takes a few
        headers=LINES | {"X-Request-Timeout-Ms": "5000"},
        params={"heatmap": "overlay", "heatmap_size": "source"},
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", small.port))
        connection.sendall(as_bytes(request))
        small.wait_for_metric(1, "duet_cancelled_total", stage="batch")
        small.wait_for_metric(0, "duet_inflight_requests")
        assert small.metric("duet_queue_depth") == 0


@pytest.mark.parametrize("headers", [{}, LINES])
def test_sigterm_lets_a_batch_finish(small: ServiceProcess, pool: ThreadPoolExecutor, headers: dict[str, str]) -> None:
    busy = occupy(small, pool)
    batch = pool.submit(small.client.post, "/score/batch", files=form(*[GOOD] * 10), params=SMALL, headers=headers)
    small.wait_for_metric(PLACES // 2, "duet_queue_depth")
    small.terminate()
    answer = batch.result()
    results = [json.loads(line) for line in answer.text.splitlines()] if headers else entries(answer)
    assert slugs(results) == ["scored"] * 10
    assert busy.result().status_code == 200
    assert small.exit_code() == 0
