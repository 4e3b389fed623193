"""The broker goes and returns, devices do not answer, nonsense is announced: commands and honest words meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole.background import OwnMosquitto, virtual_flat
from tests.whole.bus_watch import bus_watch
from tests.whole.running_node import RunningNode, running_node, wait_until

ON, OFF = "The kitchen lamp is on.", "The kitchen lamp is off."


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnMosquitto]:
    broker = OwnMosquitto(tmp_path_factory.mktemp("broker"))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, broker: OwnMosquitto) -> Iterator[RunningNode]:
    """A node at a broker that was there before; the coffee machine takes commands and does nothing."""
    sections = {"bus": {"broker": broker.url, "confirm_timeout_s": 0.5}}
    listening = "listening for the commands of 14 devices"
    with (
        virtual_flat(broker.port, silent=frozenset({"coffee_machine"})),
        running_node(tmp_path_factory.mktemp("node"), sections=sections, when=listening) as node,
    ):
        yield node


def test_device_that_never_confirms_is_told_honestly(node: RunningNode) -> None:
    answer = node.ask("turn on the coffee machine and the kitchen lamp")
    assert (answer.answer, answer.outcome) == (
        "The kitchen lamp is on, but the coffee machine did not answer.",
        "unconfirmed",
    )
    assert "action_confirmed" not in [mark.stage for mark in node.ask("turn on the coffee machine").trace.marks]


def test_commands_work_again_once_the_broker_is_back_and_meanwhile_it_is_told(
    node: RunningNode, broker: OwnMosquitto
) -> None:
    broker.kill()
    wait_until(lambda: not node.client().status().broker.connected)
    answer = node.ask("turn on the kitchen lamp")
    assert "MQTT broker is down" in answer.answer
    assert answer.outcome == "unavailable"
    assert node.ask("what time is it").outcome == "done"
    broker.start()
    wait_until(lambda: node.ask("turn off the kitchen lamp").answer == OFF)
    assert node.ask("turn on the kitchen lamp").answer == ON


def test_nonsense_among_the_announcements_costs_no_command(node: RunningNode, broker: OwnMosquitto) -> None:
    def announcement(name: str, **more: object) -> str:
        return json.dumps({"unique_id": name, "name": name, "command_topic": "odd/set", "state_topic": "odd", **more})

    nonsense: dict[str, str | bytes] = {
        "switch/no_json": "{not json",
        "switch/binary": bytes(range(256)) * 10,
        "switch/long": "x" * (1024 * 1024 - 100),
        "switch/no_command": json.dumps({"unique_id": "a", "name": "Deaf lamp"}),
        "light/deep": "[" * 50_000,
        "switch/slash": announcement("Lamp/left #1 +"),
        "switch/emoji": announcement("\N{ELECTRIC LIGHT BULB} Lamp \N{RAINBOW}"),
        "switch/template": announcement("Bad template", value_template="{{ 1/0 }}{% for x in range(10**9) %}"),
        "switch/empty_name": announcement(""),
        "odd/other": "1",
    }
    with bus_watch(broker.port, "nothing") as watch:
        for topic, payload in nonsense.items():
            watch.publish(f"homeassistant/{topic}/config", payload, retain=True)
        wait_until(lambda: "switch/no_json" in node.log_text() and node.state_of("Lamp/left #1 +"))
        watch.publish("flat/kitchen_lamp/state", b"\xff\xfe")
        assert node.ask("turn off the kitchen lamp").answer == OFF
        assert node.state_of("\N{ELECTRIC LIGHT BULB} Lamp \N{RAINBOW}")
        for topic in nonsense:
            watch.publish(f"homeassistant/{topic}/config", b"", retain=True)
        wait_until(lambda: node.client().status().entities == 14)
    assert "no command_topic" in node.log_text() or "command_topic" in node.log_text()


def test_two_thousand_more_devices_keep_no_command_waiting(node: RunningNode, broker: OwnMosquitto) -> None:
    with bus_watch(broker.port, "nothing") as watch:
        for number in range(2000):
            name = f"Lamp {number}"
            payload = json.dumps({"unique_id": f"many{number}", "name": name, "command_topic": f"many/{number}/set"})
            watch._client.publish(f"homeassistant/switch/many{number}/config", payload, qos=1)
        wait_until(lambda: node.client().status().entities == 2014, seconds=40)
        assert node.ask("turn on the kitchen lamp").answer == ON
        node.wait_for_log("listening for the commands of 2014 devices")
        assert node.ask("turn off the kitchen lamp").answer == OFF
        for number in range(2000):
            watch._client.publish(f"homeassistant/switch/many{number}/config", b"", qos=1)
        wait_until(lambda: node.client().status().entities == 14, seconds=40)


def test_own_broker_that_dies_is_started_again(tmp_path: Path) -> None:
    with running_node(tmp_path, demo_home=True) as node:
        node.child("mosquitto").kill()
        wait_until(lambda: not node.client().status().broker.connected)
        wait_until(lambda: node.ask("turn on the kitchen lamp").answer == ON)
        assert "the broker mosquitto ended with code -9; starting it again" in node.log_text()


def test_without_mosquitto_the_embedded_broker_serves(tmp_path: Path) -> None:
    hidden = "import swarm.broker; swarm.broker.find_mosquitto = lambda: None"
    with running_node(tmp_path, demo_home=True, prelude=hidden) as node:
        assert node.client().status().broker.kind == "amqtt"
        with bus_watch(node.bus_port) as watch:
            assert node.ask("turn on the kitchen lamp").answer == ON
            watch.until("flat/kitchen_lamp/set", b"ON")
        node.child("swarm.amqtt_broker").kill()
        wait_until(lambda: not node.client().status().broker.connected)
        wait_until(lambda: node.ask("turn off the kitchen lamp").answer == OFF)
