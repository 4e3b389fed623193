"""A home that is known by Zigbee2MQTT's own topics, by Home Assistant's WebSocket and by a person's word."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import aiomqtt

from tests.buses import free_port
from tests.hub.home.fake_home_assistant import FakeHomeAssistant
from tests.hub.home.zigbee_bridge import WHITE_BULB, Bridge, device
from tests.whole.background import LoopThread, OwnMosquitto, loop_thread
from tests.whole.running_node import RunningNode, Sections, running_node, wait_until

ADDRESS = "0x00158d0001825500"


@contextlib.contextmanager
def parts(folder: Path) -> Iterator[tuple[OwnMosquitto, FakeHomeAssistant, LoopThread]]:
    """A broker with a Zigbee2MQTT that has one bulb, and a Home Assistant."""
    broker = OwnMosquitto(folder)
    broker.start()
    try:
        with loop_thread() as thread:
            peer = FakeHomeAssistant(free_port())
            thread.run(peer.start())
            zigbee = asyncio.run_coroutine_threadsafe(has_a_bulb(broker.port), thread.loop)
            try:
                yield broker, peer, thread
            finally:
                zigbee.cancel()
                thread.run(peer.end())
    finally:
        broker.kill()


async def has_a_bulb(port: int) -> None:
    while True:  # the broker has just been started
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.05)
    async with aiomqtt.Client("127.0.0.1", port) as client:
        bridge = Bridge(client, "zigbee2mqtt")
        await client.subscribe("zigbee2mqtt/#")
        await bridge.has([device(ADDRESS, "attic/desk_lamp", WHITE_BULB)])
        await bridge.tell("attic/desk_lamp", state="OFF", brightness=10)
        await bridge.obey()


def answers(node: RunningNode, question: str, wanted: str) -> None:
    wait_until(lambda: wanted in node.ask(question).answer.lower(), lambda: f"{question}: {node.ask(question)}")


def test_home_is_known_from_all_its_sources_and_by_a_persons_word(tmp_path: Path) -> None:
    with parts(tmp_path) as (broker, peer, _):
        (tmp_path / "token").write_text(peer.token)
        sections: Sections = {
            "bus": {"broker": broker.url, "confirm_timeout_s": 20},
            "home_assistant": {"url": peer.url, "token_file": str(tmp_path / "token")},
        }
        with running_node(tmp_path / "node", sections=sections) as node:
            wait_until(lambda: node.state_of("attic desk lamp").get("available"))
            wait_until(lambda: node.state_of("Bed Light").get("available"))
            answers(node, "turn on the attic desk lamp", "the attic desk lamp is on")
            answers(node, "turn on the bed light", "the bed light is on")
            assert node.run("home", "area", "attic desk lamp", "Winter garden").returncode == 0
            told = node.run("home", "alias", "bed light", "moon", "big light")
            assert (told.returncode, told.stdout) == (0, "Bed Light is also called moon, big light\n")
            answers(node, "turn off the moon", "is off")
            answers(node, "turn off the lights in the winter garden", "off")
            wrong = node.run("home", "area", "dusk lamp", "Attic")
            assert wrong.returncode == 1 and "did you mean attic desk lamp?" in wrong.stderr
            table = node.run("home").stdout
            assert all(each in table for each in ("Winter garden", "moon, big light", "attic desk lamp", "off"))
            listed = {each["entity"]["id"]: each["entity"] for each in json.loads(node.run("home", "--json").stdout)}
            assert listed[f"light.{ADDRESS}_light_zigbee2mqtt"]["area"] == "Winter garden"
            assert node.run("home", "area", "attic desk lamp", "--remove").stdout == "attic desk lamp is in no room\n"
