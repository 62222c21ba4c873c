"""What becomes of results of a real process: events for listeners, feedback, and the archive that training learns from."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image

from service.archive_format import ArchiveRecord
from service.images import model_input
from tests.api_keys import KEY, SETTING, bearer
from tests.pictures import encode, grey, noise, reddish, spotted
from tests.service_process import PATIENCE, ServiceProcess, running_service
from tests.sockets import connect, head
from tests.tiny_model import SIZE
from training.archive_export import export_archive
from training.data import Source, load_sources
from training.errors import TrainingError

Event = tuple[str, dict[str, Any]]


@contextmanager
def listening(service: ServiceProcess, headers: dict[str, str] | None = None, **query: object) -> Iterator[Iterator[Event]]:
    """The events of a service, each its name and data. The first has been received, so that no result is missed."""
    with service.client.stream("GET", "/events", params=query, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = _events(answer)
        name, data = next(events)
        assert (name, list(data)) == ("service", ["archive"])
        yield events


def _events(answer: httpx.Response) -> Iterator[Event]:
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def post(service: ServiceProcess, picture: bytes, result_id: str, **labels: str | bytes) -> None:
    headers = {"X-Request-ID": result_id} | {f"X-Duet-{name.title()}": value for name, value in labels.items()}
    assert service.client.post("/score", content=picture, headers=headers, params={"heatmap": "none"}).status_code == 200


def kept(archive: Path, name: str) -> Path:
    """The file of this name, whatever day it is of: midnight may have passed."""
    (path,) = archive.glob(f"*/{name}")
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def keeping(models: Path, tmp_path: Path, archive: Path) -> Iterator[ServiceProcess]:
    """A service that keeps pictures."""
    with running_service(models, tmp_path / "service.log", archive=archive) as service:
        yield service


def test_events_tell_of_each_picture_with_its_labels(service: ServiceProcess) -> None:
    with listening(service, pictures="true") as events:
        post(service, encode(np.repeat(spotted(), 2, axis=0)), "part-1", line="Linie süd".encode(), station="3", part="A 17")
        name, data = next(event for event in events if event[1]["id"] == "part-1")
    assert name == "result"
    assert (data["line"], data["station"], data["part"]) == ("Linie süd", "3", "A 17")
    assert (data["model"], data["anomalous"]) == ({"name": "tiny", "version": "3"}, True)
    assert data["image"] == {"width": 56, "height": 112}
    picture = image(data["picture"])
    assert (picture.format, picture.size) == ("JPEG", (56, 112))
    heat = np.asarray(image(data["heatmap"]))
    assert heat[-10, -10] > 200 > 50 > heat[10, 10]


def test_batches_are_told_of_picture_by_picture(service: ServiceProcess) -> None:
    with listening(service) as events:
        files = [("image", encode(grey())), ("image", b"no picture"), ("image", encode(reddish()))]
        service.client.post("/score/batch", files=files, headers={"X-Request-ID": "batch-1", "X-Duet-Line": "7"})
        found = [next(event for event in events if event[1]["id"].startswith("batch-1"))[1] for _ in range(2)]
    assert {(data["id"], data["anomalous"], data["line"]) for data in found} == {
        ("batch-1.0", False, "7"),
        ("batch-1.2", True, "7"),
    }


def test_messages_of_the_open_protocol_are_told_of_and_kept_as_well(keeping: ServiceProcess, archive: Path) -> None:
    file, (height, width) = encode(np.repeat(spotted(), 2, axis=0), "JPEG"), spotted().shape[:2]
    files = triton.InferInput("encoded_image", [2], "BYTES").set_data_from_numpy(np.array([encode(grey()), file], dtype=object))
    tensor = np.stack([model_input(spotted(), (SIZE, SIZE))])
    pixels = triton.InferInput("image", list(tensor.shape), "UINT8").set_data_from_numpy(tensor)
    with (
        listening(keeping, pictures="true") as events,
        triton.InferenceServerClient(f"127.0.0.1:{keeping.port}") as client,
    ):
        for result_id, message in (("files", files), ("pixels", pixels)):
            client.infer("tiny", [message], headers={"X-Request-ID": result_id, "X-Duet-Line": "7", "X-Duet-Part": "17"})
        found = {data["id"]: data for _, data in (next(events) for _ in range(3))}
    assert {name: (data["anomalous"], data["line"], data["part"]) for name, data in found.items()} == {
        "files.0": (False, "7", "17"),
        "files.1": (True, "7", "17"),
        "pixels.0": (True, "7", "17"),
    }
    assert found["files.1"]["image"] == {"width": width, "height": 2 * height}
    assert found["pixels.0"]["image"] == {"width": SIZE, "height": SIZE}
    for data in found.values():
        assert image(data["picture"]).format == "JPEG"
        assert image(data["heatmap"]).format == "PNG"

    wait_until(lambda: len(list(archive.glob("*/*.json"))) == 2)
    assert kept(archive, "files.1.jpg").read_bytes() == file
    np.testing.assert_array_equal(Image.open(kept(archive, "pixels.0.png")), tensor[0])
    answer = keeping.client.post("/feedback", json={"id": "files.0", "label": "bad"})  # good, and so remembered alone
    assert answer.status_code == 200, answer.text
    assert kept(archive, "files.0.png").read_bytes() == encode(grey())


def test_listeners_choose_and_get_the_last_results_first(service: ServiceProcess) -> None:
    for result_id, line, picture in (("h-1", "8", grey()), ("h-2", "8", spotted()), ("h-3", "9", spotted())):
        post(service, encode(picture), result_id, line=line)
    with listening(service, line="8", verdict="anomalous", pictures="true") as events:
        name, data = next(events)
        assert (name, data["id"]) == ("earlier", "h-2")
        post(service, encode(spotted()), "h-4", line="9")
        post(service, encode(spotted()), "h-5", line="8")
        name, data = next(events)
        assert (name, data["id"]) == ("result", "h-5")


@pytest.mark.parametrize("line", [b"\xff\xfe", b"x" * 5000, b"\xc2\x85", "点检线".encode()])
def test_no_label_is_a_reason_to_refuse_a_part(service: ServiceProcess, line: bytes) -> None:
    with listening(service) as events:
        post(service, encode(grey()), f"label-{len(line)}", line=line)
        data = next(data for _, data in events if data["id"] == f"label-{len(line)}")
    assert data["line"] is None or (len(data["line"]) <= 64 and data["line"].isprintable())


def test_pictures_are_made_only_while_somebody_listens(service: ServiceProcess) -> None:
    wait_until(lambda: service.metric("duet_event_listeners") == 0)
    post(service, encode(grey()), "unseen")
    with listening(service, pictures="true") as events:
        assert next(data for _, data in events if data["id"] == "unseen")["picture"] is None


def test_listener_that_reads_nothing_is_let_go_and_holds_nobody_up(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log") as service:
        with connect(service, head("GET /events?pictures=true")):
            wait_until(lambda: service.metric("duet_event_listeners") == 1)
            picture = encode(noise(1, 300, 300), "JPEG")  # its preview is too large for the sockets' buffers to hold many

            def let_go() -> bool:
                post(service, picture, "many")
                return service.metric("duet_event_listeners_dropped_total") == 1

            wait_until(let_go)
            assert service.metric("duet_event_listeners") == 0
        assert service.client.get("/health/ready").status_code == 200


def test_sigterm_ends_the_events(models: Path, tmp_path: Path) -> None:
    with running_service(models, tmp_path / "service.log") as service, listening(service) as events:
        service.terminate()
        assert list(events) == []
        assert service.exit_code() == 0


def test_nothing_is_kept_by_default(service: ServiceProcess, tmp_path: Path) -> None:
    post(service, encode(spotted()), "not-kept")
    answer = service.client.post("/feedback", json={"id": "not-kept", "label": "good"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:duet:problem:no-archive")
    assert list(tmp_path.iterdir()) == []


def test_anomalous_pictures_and_those_with_feedback_become_a_data_set(
    keeping: ServiceProcess, archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, missed, wrong = encode(spotted()), encode(grey(level=100), "JPEG"), encode(reddish(), "WEBP", lossless=True)
    post(keeping, found, "found", line="4", station="end", part="17")
    post(keeping, missed, "missed", line="4")
    post(keeping, wrong, "wrong/one", line="5")
    post(keeping, encode(grey()), "plain")
    wait_until(lambda: len(list(archive.glob("*/*.json"))) == 2)
    assert {path.read_bytes() for path in archive.glob("*/*.[pjw]*") if path.suffix != ".json"} == {found, wrong}

    for result_id, label in (("found", "bad"), ("missed", "good"), ("wrong/one", "good"), ("missed", "bad")):
        answer = keeping.client.post("/feedback", json={"id": result_id, "label": label})
        assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": "missed", "label": "bad", "anomalous": False}
    post(keeping, found, "found", line="4", station="end", part="17")  # sent again, as a client does that got no answer
    wait_until(lambda: keeping.metric("duet_archived_total", reason="anomalous") == 3)

    record = ArchiveRecord.model_validate_json(kept(archive, "found.json").read_text())
    assert (record.line, record.station, record.part, record.anomalous) == ("4", "end", "17", True)
    assert record.feedback
    assert record.feedback.label == "bad"
    assert keeping.metric("duet_feedback_total", label="bad", verdict="good") == 1

    exported = export_archive(archive, tmp_path / "set")
    assert (exported.good, exported.bad, exported.unlabelled) == (1, 2, 0)
    assert "1 of the 1 good pictures were called anomalous" in caplog.text
    assert {path.read_bytes() for path in (tmp_path / "set/bad").iterdir()} == {found, missed}
    assert {path.read_bytes() for path in (tmp_path / "set/good").iterdir()} == {wrong}
    assert len(load_sources([Source("folder", tmp_path / "set")], "test", [])) == 3
    assert export_archive(archive, tmp_path / "set-4", line="4").good == 0
    with pytest.raises(TrainingError, match="no labelled picture"):
        export_archive(archive, tmp_path / "set-6", model="another")


def test_feedback_survives_a_restart(models: Path, tmp_path: Path, archive: Path) -> None:
    with running_service(models, tmp_path / "first.log", archive=archive) as service:
        post(service, encode(spotted()), "kept")
        post(service, encode(grey()), "gone")
        service.terminate()
        assert service.exit_code() == 0
    with running_service(models, tmp_path / "second.log", archive=archive) as service:
        answer = service.client.post("/feedback", json={"id": "kept", "label": "good"})
        assert answer.status_code == 200
        answer = service.client.post("/feedback", json={"id": "gone", "label": "bad"})
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:duet:problem:unknown-result")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b'{"id": "a"}', 400),
        (b'{"id": "a", "label": "ugly"}', 400),
        (b'{"id": "a", "label": "good", "x": 1}', 400),
        (b'{"id": "../../../etc/passwd", "label": "good"}', 404),
    ],
)
def test_feedback_that_is_refused(keeping: ServiceProcess, body: bytes, status: int) -> None:
    answer = keeping.client.post("/feedback", content=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_archive_keeps_to_its_size(models: Path, tmp_path: Path, archive: Path) -> None:
    with running_service(models, tmp_path / "service.log", archive=archive, archive_max_mb=1) as service:
        for number in range(12):
            post(service, encode(noise(number, 256, 256) // 2 + 127), f"n{number}")
        wait_until(lambda: service.metric("duet_archived_total") == 12)
        assert sum(path.stat().st_size for path in archive.rglob("*.*")) <= 10**6
        assert kept(archive, "n11.png").exists()


def test_a_disk_that_takes_nothing_fails_no_request(models: Path, tmp_path: Path, archive: Path) -> None:
    with running_service(models, tmp_path / "service.log", archive=archive) as service:
        archive.rmdir()
        archive.write_bytes(b"in the way")
        post(service, encode(spotted()), "lost")
        post(service, encode(grey()), "good")
        service.wait_for_metric(1, "duet_archive_failures_total", reason="write")
        service.wait_for_log("the archive cannot be written")
        answer = service.client.post("/feedback", json={"id": "good", "label": "bad"})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:duet:problem:archive-failed")
        archive.unlink()
        post(service, encode(spotted()), "kept")
        service.wait_for_log("the archive can be written again")
        assert len(list(archive.glob("*/kept.png"))) == 1


def test_folder_that_cannot_be_written_stops_the_start(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    service = ServiceProcess(models, tmp_path / "service.log", archive=tmp_path / "file" / "archive")
    try:
        assert service.exit_code() == 2
    finally:
        service.close()
    assert service.log.read_text().startswith("duet-serve: DUET_ARCHIVE=")


def test_results_want_a_key_where_there_are_any_and_the_page_does_not(models: Path, tmp_path: Path, archive: Path) -> None:
    with running_service(models, tmp_path / "service.log", archive=archive, api_keys=SETTING) as service:
        assert service.client.get("/events").status_code == 401
        assert service.client.post("/feedback", json={"id": "a", "label": "good"}).status_code == 401
        page = service.client.get("/")
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        with listening(service, headers=bearer(KEY)) as events:
            headers = bearer(KEY) | {"X-Request-ID": "with-key"}
            service.client.post("/score", content=encode(grey()), headers=headers)
            assert next(events)[1]["id"] == "with-key"
        body = {"id": "with-key", "label": "bad"}
        assert service.client.post("/feedback", json=body, headers=bearer(KEY)).status_code == 200
    (record,) = archive.glob("*/*.json")
    feedback = ArchiveRecord.model_validate_json(record.read_text()).feedback
    assert feedback
    assert feedback.client == "line-4"


def image(encoded: str) -> Image.Image:
    """A picture of an event."""
    return Image.open(BytesIO(base64.b64decode(encoded)))


def test_another_picture_of_the_same_id_inherits_no_label(keeping: ServiceProcess, archive: Path, tmp_path: Path) -> None:
    """As of a counter of parts that begins anew each shift."""
    early, late = encode(spotted()), encode(reddish())
    post(keeping, early, "part-17")
    assert keeping.client.post("/feedback", json={"id": "part-17", "label": "good"}).status_code == 200
    post(keeping, late, "part-17")
    wait_until(lambda: keeping.metric("duet_archived_total", reason="anomalous") == 2)
    assert keeping.client.post("/feedback", json={"id": "part-17", "label": "bad"}).status_code == 200
    exported = export_archive(archive, tmp_path / "set")
    assert (exported.good, exported.bad, exported.unlabelled) == (1, 1, 0)
    assert {path.read_bytes() for path in (tmp_path / "set/good").iterdir()} == {early}
    assert {path.read_bytes() for path in (tmp_path / "set/bad").iterdir()} == {late}


def test_a_label_is_for_the_last_picture_of_its_id(keeping: ServiceProcess, archive: Path, tmp_path: Path) -> None:
    """Whether that is a good one, which is only remembered, or an anomalous one that came after a good one."""
    first, missed, last = encode(spotted()), encode(grey()), encode(reddish())
    post(keeping, first, "part-17")
    wait_until(lambda: keeping.metric("duet_archived_total", reason="anomalous") == 1)
    yesterday = next(archive.iterdir())
    yesterday.rename(archive / "2026-01-01")
    post(keeping, missed, "part-17")
    assert keeping.client.post("/feedback", json={"id": "part-17", "label": "bad"}).status_code == 200
    exported = export_archive(archive, tmp_path / "missed")
    assert (exported.good, exported.bad, exported.unlabelled) == (0, 1, 1)
    assert {path.read_bytes() for path in (tmp_path / "missed/bad").iterdir()} == {missed}
    post(keeping, missed, "part-17")
    post(keeping, last, "part-17")
    assert keeping.client.post("/feedback", json={"id": "part-17", "label": "good"}).status_code == 200
    export_archive(archive, tmp_path / "last")
    assert {path.read_bytes() for path in (tmp_path / "last/good").iterdir()} == {last}


def test_a_record_that_was_cut_short_costs_itself_alone(
    keeping: ServiceProcess, archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for result_id in ("cut", "whole"):
        post(keeping, encode(spotted()), result_id)
    wait_until(lambda: keeping.metric("duet_archived_total", reason="anomalous") == 2)
    assert keeping.client.post("/feedback", json={"id": "whole", "label": "bad"}).status_code == 200
    (record,) = archive.glob("*/cut.json")
    record.write_bytes(b"")
    assert export_archive(archive, tmp_path / "set").bad == 1
    assert "cut.json is damaged or from another version, and left out" in caplog.text
    post(keeping, encode(spotted()), "cut")
    wait_until(lambda: keeping.metric("duet_archived_total", reason="anomalous") == 3)
    assert ArchiveRecord.model_validate_json(record.read_bytes()).id == "cut"
