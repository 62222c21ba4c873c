"""What a real process keeps of its results, with the feedback on them, and what training learns from that."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.archive_format import ArchiveRecord
from tests.pictures import encode, grey, noise, reddish, spotted
from tests.results import kept, post, wait_until
from tests.service_process import ServiceProcess, running_service
from training.archive_export import export_archive
from training.data import Source, load_sources
from training.errors import TrainingError


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
