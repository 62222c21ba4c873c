"""A real MQTT broker, Debian's mosquitto, and what is published on it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.ports import free_port

PATIENCE = 60.0
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (Debian package mosquitto)")


class Broker:
    """mosquitto on a port of its own; `start` after `kill` is the same broker again, with what it had persisted."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._configuration = folder / "mosquitto.conf"
        self.configure("allow_anonymous true")
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, *access: str) -> None:
        """Who may connect, for the next start."""
        lines = [f"listener {self.port} 127.0.0.1", "max_queued_messages 0", "user root", *access]
        self._configuration.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it listens."""
        if MOSQUITTO is None:
            raise RuntimeError("mosquitto is not installed")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Subscriber:
    """Everything that is published, as (topic, payload, retained)."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=True)
        # What is published before it is there again, nobody keeps for it. paho takes fractions, whatever its types say.
        self._client.reconnect_delay_set(0.05, 0.05)  # type: ignore[arg-type]
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (message.topic, message.payload.decode(), message.retain)
        )
        self._client.connect_async("127.0.0.1", port, keepalive=5)
        self._client.loop_start()

    def __enter__(self) -> Subscriber:
        assert self._subscribed.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for(self, topic: str, payload: str | None = None, count: int = 1) -> list[str]:
        """Payloads of a topic, once there are so many of this payload."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = [sent for name, sent, _ in list(self.messages) if name == topic and payload in (None, sent)]
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} messages of {topic}, not {count}: {self.messages[-5:]}")
            time.sleep(0.02)
