"""`duet-camera` as a process against a real service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api_keys import digest
from tests.camera_process import PATIENCE, CameraProcess, read_verdicts
from tests.pictures import encode, failing, grey, noise, spotted
from tests.service_process import ServiceProcess, running_service

NOBODY = "http://127.0.0.1:1"


def metrics_of(camera: CameraProcess) -> dict[str, float]:
    port = camera.wait_for_log("serving metrics")["port"]
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_folder_to_verdicts(url: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "A1_good.png").write_bytes(encode(grey()))
    line = ["folder", tmp_path / "in", "--part-pattern", "^([^_]+)_", "--line", "4", "--station", "press", "--camera", "top"]
    with CameraProcess(tmp_path, *line, "--csv", tmp_path / "verdicts.csv", "--metrics-port", 0, url=url) as camera:
        camera.wait_for(lambda verdicts: len(verdicts) == 1)
        (tmp_path / "in" / "A2_spot.png").write_bytes(encode(spotted()))
        (tmp_path / "in" / "A3_broken.png").write_bytes(b"\x89PNG IEND this is none")
        verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 3)
        metrics = metrics_of(camera)
        assert camera.stop() == 0
    told = [(v["part"], v["verdict"], v["reason"], v["line"], v["station"], v["camera"], v["late"]) for v in verdicts]
    assert told == [
        ("A1", "good", "score", "4", "press", "top", False),
        ("A2", "bad", "score", "4", "press", "top", False),
        ("A3", "bad", "refused", "4", "press", "top", False),
    ]
    assert "not a readable picture" in verdicts[2]["detail"]
    assert (tmp_path / "verdicts.csv").read_text().count("\n") == 4
    assert metrics["duet_camera_frames_total"] == 3
    assert metrics['duet_camera_verdicts_total{late="false",reason="score",verdict="bad"}'] == 1
    assert metrics["duet_camera_service_up"] == 1


def test_nothing_is_lost_while_nobody_answers(models: Path, tmp_path: Path) -> None:
    """The client is killed, too; every frame keeps its id, and all come in order."""
    service = ServiceProcess(models, tmp_path / "service.log")  # the port, and nobody there yet
    service.close()
    url = f"http://127.0.0.1:{service.port}"
    (tmp_path / "in").mkdir()
    with CameraProcess(tmp_path, "folder", tmp_path / "in", "--metrics-port", 0, url=url) as camera:
        for number in range(12):
            (tmp_path / "in" / f"{number:02d}.png").write_bytes(encode(noise(number)))
            time.sleep(0.02)
        deadline = time.monotonic() + PATIENCE
        while (metrics := metrics_of(camera))["duet_camera_spool_frames"] < 12 or not metrics["duet_camera_retries_total"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert metrics["duet_camera_service_up"] == 0
        assert not camera.verdicts()
        camera.kill()
    with (
        running_service(models, tmp_path / "service.log", port=service.port),
        CameraProcess(tmp_path, "folder", tmp_path / "in", url=url) as camera,
    ):
        verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 12)
        assert camera.stop() == 0
    assert [verdict["part"] for verdict in verdicts] == [f"{number:02d}" for number in range(12)]
    assert len({verdict["id"] for verdict in verdicts}) == 12


def test_fail_safe_verdict_in_time_and_the_score_when_it_is_there(models: Path, tmp_path: Path) -> None:
    told = tmp_path / "relay"
    relay = f"sh -c 'echo $DUET_PART >> {told}'"  # no slower: a command that has to wait for long is not run any more
    service = ServiceProcess(models, tmp_path / "service.log")
    service.close()
    url = f"http://127.0.0.1:{service.port}"
    (tmp_path / "in").mkdir()
    line = ["folder", tmp_path / "in", "--deadline-ms", 400, "--fail-safe", "bad", "--on-verdict", relay]
    with CameraProcess(tmp_path, *line, url=url) as camera:
        camera.wait_for_log("started")
        for number in range(10):
            (tmp_path / "in" / f"{number}.png").write_bytes(encode(grey()))
            time.sleep(0.05)
        verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 10)
        assert [(v["part"], v["verdict"], v["reason"], v["late"]) for v in verdicts] == [
            (str(number), "bad", "deadline", False) for number in range(10)
        ]
        with running_service(models, tmp_path / "service.log", port=service.port):
            verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 20)
            assert [(v["part"], v["verdict"], v["reason"], v["late"]) for v in verdicts[10:]] == [
                (str(number), "good", "score", True) for number in range(10)
            ]
            assert camera.stop() == 0
        assert [v["id"] for v in verdicts[:10]] == [v["id"] for v in verdicts[10:]]
        assert told.read_text().split() == [str(number) for number in range(10)]  # the late ones move nothing


def test_a_picture_that_the_service_fails_on_does_not_hold_up_the_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, pixels in (("1", grey()), ("2", failing()), ("3", grey())):
        (tmp_path / "in" / f"{name}.png").write_bytes(encode(pixels))
        time.sleep(0.02)
    with CameraProcess(tmp_path, "folder", tmp_path / "in", "--in-flight", 1, "--fail-safe", "bad", url=url) as camera:
        verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 3)
    assert [(v["part"], v["reason"], v["verdict"]) for v in verdicts] == [
        ("1", "score", "good"), ("2", "refused", "bad"), ("3", "score", "good"),
    ]  # fmt: skip


def test_a_full_spool_stops_the_source_or_drops_the_oldest(models: Path, tmp_path: Path) -> None:
    service = ServiceProcess(models, tmp_path / "service.log")
    service.close()
    url = f"http://127.0.0.1:{service.port}"
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"{number:02d}.png").write_bytes(encode(noise(number, 256, 256)))  # 197 kB
        time.sleep(0.02)
    for policy in ("stop", "drop-oldest"):
        folder = tmp_path / policy
        folder.mkdir()
        line = ["folder", tmp_path / "in", "--spool-mb", 1, "--spool-full", policy, "--metrics-port", 0]
        with CameraProcess(folder, *line, url=url) as camera:
            deadline = time.monotonic() + PATIENCE
            expected = 30 if policy == "drop-oldest" else 5
            while (metrics := metrics_of(camera))["duet_camera_frames_total"] < expected:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert metrics["duet_camera_spool_bytes"] <= metrics["duet_camera_spool_capacity_bytes"] == 2**20
            assert metrics["duet_camera_dropped_total"] == (25 if policy == "drop-oldest" else 0)
            with running_service(models, tmp_path / "service.log", port=service.port):
                verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 30)
        assert [v["part"] for v in verdicts] == [f"{number:02d}" for number in range(30)]
        assert {v["reason"] for v in verdicts[-5:]} == {"score"}
        # those that were in flight then are scored after all
        assert {v["reason"] for v in verdicts} == ({"score"} if policy == "stop" else {"score", "dropped"})
        assert all(v["verdict"] == "bad" and v["scores"] is None for v in verdicts if v["reason"] == "dropped")


def test_webhook_gets_every_verdict_however_often_it_fails(url: str, tmp_path: Path) -> None:
    posted: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        attempts = 0

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            Receiver.attempts += 1
            fails = Receiver.attempts % 3 == 0
            if not fails:
                posted.append(body)
            self.send_response(500 if fails else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            line = ["simulate", "--count", 7, "--rate", 50, "--webhook", f"http://127.0.0.1:{server.server_port}/verdicts"]
            with CameraProcess(tmp_path, *line, url=url) as camera:
                assert camera.process.wait(PATIENCE) == 0
        finally:
            server.shutdown()
            thread.join()
    assert [body["sequence"] for body in posted] == list(range(1, 8))
    assert posted == read_verdicts(tmp_path / "verdicts.jsonl")


def test_api_key_file(models: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    with running_service(models, tmp_path / "service.log", api_keys=f"line:{digest('secret')}") as locked:
        line = ["simulate", "--count", 1, "--api-key-file", tmp_path / "key"]
        with CameraProcess(tmp_path, *line, url=f"http://127.0.0.1:{locked.port}") as camera:
            assert camera.process.wait(PATIENCE) == 0
    assert len(camera.verdicts()) == 1


def test_stops_at_once_while_nobody_answers(tmp_path: Path) -> None:
    with CameraProcess(tmp_path, "simulate", "--rate", 20, url=NOBODY) as camera:
        camera.wait_for_log("the service fails")
        started = time.monotonic()
        assert camera.stop() == 0
        assert time.monotonic() - started < 45  # no request, and no retry, is waited for
        assert camera.wait_for_log("stopped")["frames_in_spool"] > 0


def test_two_clients_cannot_share_a_spool(tmp_path: Path) -> None:
    with CameraProcess(tmp_path, "simulate", url=NOBODY) as camera:
        camera.wait_for_log("started")
        (tmp_path / "second").mkdir()
        second = CameraProcess(tmp_path, "simulate", url=NOBODY)
        assert second.process.wait(PATIENCE) == 1
        assert "is the spool of a duet-camera that runs" in camera.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "SOURCE"),
        (["folder"], "path"),
        (["simulate", "--url", "localhost:8000"], "--url"),
        (["simulate", "--spool-mb", "0"], "--spool-mb"),
        (["simulate", "--mqtt", "mqtt://user:secret@host"], "--mqtt"),
        (["simulate", "--api-key-file", "/nonexistent"], "/nonexistent cannot be read"),
        (["folder", ".", "--part-pattern", "abc"], "no group"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], reason: str) -> None:
    done = subprocess.run([sys.executable, "-m", "client.camera", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with CameraProcess(tmp_path, "folder", tmp_path / "missing", url=NOBODY) as camera:
        assert camera.process.wait(PATIENCE) == 1
        assert "missing is no folder: create it first" in camera.log.read_text()
        assert "Traceback" not in camera.log.read_text()


def test_ctrl_c_is_a_stop(url: str, tmp_path: Path) -> None:
    with CameraProcess(tmp_path, "simulate", "--rate", 20, url=url) as camera:
        camera.wait_for(lambda verdicts: len(verdicts) > 2)
        camera.process.send_signal(signal.SIGINT)
        assert camera.process.wait(PATIENCE) == 0


def test_a_clock_that_is_ahead_postpones_no_fail_safe_verdict(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with CameraProcess(tmp_path, "folder", tmp_path / "in", "--deadline-ms", 300, url=NOBODY) as camera:
        camera.wait_for_log("started")
        for name, ahead in (("future", 3600), ("now", 0)):
            file = tmp_path / "in" / f"{name}.png"
            file.write_bytes(encode(grey()))
            os.utime(file, (time.time() + ahead,) * 2)
        verdicts = camera.wait_for(lambda verdicts: len(verdicts) == 2)
    assert {(v["part"], v["reason"]) for v in verdicts} == {("future", "deadline"), ("now", "deadline")}


def test_what_comes_too_late_for_a_fail_safe_verdict_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    file = tmp_path / "in/old.png"
    file.write_bytes(encode(grey()))
    os.utime(file, (time.time() - 3600,) * 2)
    with CameraProcess(tmp_path, "folder", tmp_path / "in", "--deadline-ms", 300, url=NOBODY) as camera:
        camera.wait_for_log("frames come after their deadline")


def test_a_frame_of_the_spool_keeps_its_deadline_over_a_restart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    line = ["folder", tmp_path / "in", "--deadline-ms", 20_000]
    with CameraProcess(tmp_path, *line, url=NOBODY) as camera:
        camera.wait_for_log("started")
        (tmp_path / "in/1.png").write_bytes(encode(grey()))
        camera.wait_for_log("the service fails")
        assert camera.stop() == 0
    with CameraProcess(tmp_path, *line, url=NOBODY) as camera:
        (verdict,) = camera.wait_for(lambda verdicts: len(verdicts) == 1)
    assert (verdict["part"], verdict["reason"], verdict["late"]) == ("1", "deadline", False)
