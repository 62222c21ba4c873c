"""Verdicts and the state of the client, published over MQTT with QoS 1."""

from __future__ import annotations

import re

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ..frame import Labels
from .broker import Broker

_SECONDS = 10.0  # for a broker to acknowledge
_KEEPALIVE = 15  # seconds; half as long again without a sign, and the broker publishes the will
_ONLINE, _OFFLINE = "online", "offline"
_RESERVED = re.compile(r"[/+#\x00]")

log = structlog.stdlib.get_logger(__name__)


class MqttError(Exception):
    """A verdict that the broker has not acknowledged."""


class Mqtt:
    """Publishes to PREFIX[/LINE][/STATION]/CAMERA/verdict, and to …/status, retained: "online", or as Last Will "offline"."""

    name = "mqtt"

    def __init__(self, broker: Broker, password: str | None, labels: Labels) -> None:
        levels = [
            broker.prefix,
            *(_RESERVED.sub("-", label) for label in (labels.line, labels.station, labels.camera) if label),
        ]
        self._verdict_topic = "/".join([*levels, "verdict"])
        self._status_topic = "/".join([*levels, "status"])
        self._address = f"{broker.host}:{broker.port}"
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2)
        if broker.user:
            client.username_pw_set(broker.user, password)
        if broker.tls:
            client.tls_set()
        client.will_set(self._status_topic, _OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.connect_async(broker.host, broker.port, _KEEPALIVE)
        client.loop_start()

    def deliver(self, body: str) -> None:
        """Publish the verdict and wait until the broker has it; raises MqttError."""
        if not self._client.is_connected():
            raise MqttError(f"no connection to the broker {self._address}")
        message = self._client.publish(self._verdict_topic, body.encode(), qos=1)
        message.wait_for_publish(_SECONDS)
        if not message.is_published():
            raise MqttError(f"no acknowledgement from the broker within {_SECONDS:g} s")

    def close(self) -> None:
        """Say that the client goes offline, and disconnect."""
        if self._client.is_connected():
            self._client.publish(self._status_topic, _OFFLINE, qos=1, retain=True).wait_for_publish(_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, client: paho.Client, _data: object, _flags: paho.ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            log.warning("the MQTT broker refuses", reason=str(code))
            return
        client.publish(self._status_topic, _ONLINE, qos=1, retain=True)

    def _disconnected(
        self,
        _client: paho.Client,
        _data: object,
        _flags: paho.DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        log.warning("disconnected from the MQTT broker", reason=str(code))
