"""MQTT against a real broker."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.camera.frame import Labels
from client.camera.sinks import broker as addresses
from client.camera.sinks.mqtt import Mqtt, MqttError
from tests.broker import Broker, Subscriber, needs_mosquitto
from tests.camera_process import CameraProcess

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


def test_verdicts_status_and_last_will(broker: Broker, url: str, tmp_path: Path) -> None:
    with Subscriber(broker.port) as subscriber:
        line = ["simulate", "--count", 3, "--rate", 20, "--line", "hall 3/left", "--camera", "top", "--mqtt", broker.url]
        with CameraProcess(tmp_path, *line, url=url) as camera:
            sent = subscriber.wait_for("duet/hall 3-left/top/verdict", count=3)
            assert camera.process.wait(60) == 0
        verdicts = [json.loads(payload) for payload in sent]
        assert [verdict["sequence"] for verdict in verdicts] == [1, 2, 3]
        assert verdicts == camera.verdicts()
        status = "duet/hall 3-left/top/status"
        assert subscriber.wait_for(status, count=2) == ["online", "offline"]
        with Subscriber(broker.port) as later:
            later.wait_for(status, "offline")
            assert later.messages[0][2], "the status is retained"

        endless = ["simulate", "--camera", "side", "--mqtt", broker.url + "/plant"]
        with CameraProcess(tmp_path, *endless, url=url) as camera:
            subscriber.wait_for("plant/side/status", "online")
            camera.kill()
            subscriber.wait_for("plant/side/status", "offline")  # the will


def test_a_broker_that_dies_gets_every_verdict_in_order(broker: Broker, url: str, tmp_path: Path) -> None:
    line = ["simulate", "--count", 30, "--rate", 15, "--mqtt", broker.url]
    with Subscriber(broker.port) as subscriber, CameraProcess(tmp_path, *line, url=url) as camera:
        subscriber.wait_for("duet/camera/verdict", count=4)
        broker.kill()
        camera.wait_for(lambda verdicts: len(verdicts) >= 20)  # the other sink goes on
        broker.start()
        assert camera.process.wait(90) == 0
        sequences = [json.loads(payload)["sequence"] for payload in subscriber.wait_for("duet/camera/verdict", count=15)]
    # What the broker took while the subscriber was away is gone for this subscriber; what came afterwards is in order.
    assert sequences[-1] == 30
    assert sorted(sequences) == sequences


def test_password(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "line", "secret"], check=True)
    passwords.chmod(0o644)
    broker = Broker(tmp_path)
    broker.configure("allow_anonymous false", f"password_file {passwords}")
    with broker:
        address = addresses.Broker.parse(f"mqtt://line@127.0.0.1:{broker.port}")
        right, wrong = (Mqtt(address, password, Labels("top")) for password in ("secret", "wrong"))
        try:
            deliver_when_connected(right)
            with pytest.raises(MqttError, match="no connection"):
                wrong.deliver("{}")
        finally:
            right.close()
            wrong.close()


def deliver_when_connected(sink: Mqtt) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            sink.deliver("{}")
            return
        except MqttError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
