"""A bad night on the line: client, service and broker are killed again and again while frames pass, and no verdict is lost."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Broker, Subscriber, needs_mosquitto
from tests.camera_process import CameraProcess
from tests.pictures import encode, noise
from tests.service_process import ServiceProcess

PATIENCE = 300.0


class Night:
    """The three processes, of which any may be killed and started again at any time."""

    def __init__(self, models: Path, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / "in"
        self.incoming.mkdir()
        self.broker = Broker(folder)
        self.broker.start()
        self._models = models
        self.service = ServiceProcess(models, folder / "service.log")
        self.camera = self._start_camera()

    def kill_client(self) -> None:
        self.camera.kill()
        self.camera = self._start_camera()

    def kill_service(self) -> None:
        self.service.close()
        self.service = ServiceProcess(self._models, self.folder / "service.log", port=self.service.port)

    def kill_broker(self) -> None:
        self.broker.kill()
        self.broker.start()

    def end(self) -> None:
        self.camera.kill()
        self.service.close()
        self.broker.kill()

    def _start_camera(self) -> CameraProcess:
        line = ["folder", self.incoming, "--delete", "--camera", "top", "--mqtt", self.broker.url, "--rotate-mb", 1000]
        return CameraProcess(self.folder, *line, url=f"http://127.0.0.1:{self.service.port}")


def write_frames(folder: Path, count: int, rate: float) -> None:
    """Frames as a camera's own software writes them: under another name first."""
    pictures = [encode(noise(seed)) for seed in range(8)]
    started = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        unfinished = folder / f".{number:05d}.tmp"
        unfinished.write_bytes(pictures[number % len(pictures)])
        unfinished.rename(folder / f"{number:05d}.png")


def check(verdicts: list[dict[str, Any]]) -> list[str]:
    """Duplicates carry the id of the first, and first verdicts are in the order of the frames; the parts, in that order."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for verdict in verdicts:
        ids[verdict["part"]].add(verdict["id"])
    assert {part: found for part, found in ids.items() if len(found) > 1} == {}
    assert len(set.union(*ids.values())) == len(ids)
    assert list(ids) == sorted(ids)
    return list(ids)


@needs_mosquitto
@pytest.mark.parametrize(("frames", "kills"), [(150, 7), pytest.param(2000, 60, marks=pytest.mark.long)])
def test_every_verdict_arrives_whoever_is_killed(models: Path, tmp_path: Path, frames: int, kills: int) -> None:
    night, chance = Night(models, tmp_path), random.Random(frames)
    writer = threading.Thread(target=write_frames, args=(night.incoming, frames, 20.0))
    try:
        with Subscriber(night.broker.port) as subscriber:
            writer.start()
            victims: list[Callable[[], None]] = [night.kill_client, night.kill_service, night.kill_broker]
            for number in range(kills):
                time.sleep(chance.uniform(0.3, 2.5))
                (victims[number] if number < len(victims) else chance.choice(victims))()
            writer.join()
            verdicts = wait_for_all(night, frames)
            parts = check(verdicts)
            assert parts == [f"{number:05d}" for number in range(frames)]
            assert all(verdict["reason"] == "score" for verdict in verdicts)

            # A broker that is killed forgets what it had not yet handed on. What it did hand on is in order, to the last one.
            deadline = time.monotonic() + PATIENCE
            while not (published := published_on(subscriber)) or published[-1]["part"] != parts[-1]:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert len(check(published)) > frames / 2
    finally:
        writer.join()
        night.end()


def published_on(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(text) for topic, text, _ in list(subscriber.messages) if topic == "duet/top/verdict"]


def wait_for_all(night: Night, frames: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        verdicts = night.camera.verdicts()
        if len({verdict["part"] for verdict in verdicts}) >= frames:
            return verdicts
        assert time.monotonic() < deadline, f"{len(verdicts)} verdicts on {frames} frames:\n{night.camera.log.read_text()}"
        time.sleep(0.2)
