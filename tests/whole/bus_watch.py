"""An MQTT client of the test's own, which sees what goes over the node's broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.whole.running_node import wait_until


class BusWatch:
    """Keeps every message since it subscribed, retained ones too, in `messages`: (topic, payload)."""

    def __init__(self, client: Client) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._client = client

    def of(self, topic: str) -> list[bytes]:
        return [payload for seen, payload in list(self.messages) if seen == topic]

    def until(self, topic: str, payload: bytes | None = None) -> None:
        wait_until(
            lambda: any(payload in (None, each) for each in self.of(topic)),
            lambda: f"{payload!r} was not seen on {topic}, but {self.messages[-20:]}",
        )

    def commands(self) -> list[str]:
        """Topics of all commands to devices of the virtual flat."""
        return [topic for topic, _ in list(self.messages) if topic.startswith("flat/") and topic.endswith("/set")]

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(20)


@contextmanager
def bus_watch(port: int, topics: str = "flat/#") -> Iterator[BusWatch]:
    client = Client(CallbackAPIVersion.VERSION2)
    watch = BusWatch(client)
    granted: list[int] = []

    def subscribed(_client: Client, _data: Any, mid: int, *_: Any) -> None:
        granted.append(mid)

    def message(_client: Client, _data: Any, each: MQTTMessage) -> None:
        watch.messages.append((each.topic, bytes(each.payload)))

    client.on_subscribe, client.on_message = subscribed, message
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.subscribe(topics, qos=1)
        wait_until(lambda: granted, "the broker granted no subscription")
        yield watch
    finally:
        client.disconnect()
        client.loop_stop()
