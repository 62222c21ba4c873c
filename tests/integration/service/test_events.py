"""What listeners of `GET /events` hear of the results of a real process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image

from service.archive_format import ArchiveRecord
from service.images import model_input
from tests.api_keys import KEY, SETTING, bearer
from tests.pictures import encode, grey, noise, reddish, spotted
from tests.results import image, kept, listening, post, wait_until
from tests.service_process import ServiceProcess, running_service
from tests.sockets import connect, head
from tests.tiny_model import SIZE


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
