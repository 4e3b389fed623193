"""What our source must do with a Home Assistant, be it the small fake or the real one (tests/peers)."""

from __future__ import annotations

from typing import Any, Protocol

import aiomqtt

from hub.home.entity import Command, Outcome, Verb
from hub.home.home_assistant import HomeAssistant
from hub.home.registry import Home
from tests.buses import announce, until


class Peer(Protocol):
    """A Home Assistant that has a `light.bed_light` called "Bed Light" and an `input_boolean.guests`."""

    url: str
    token: str

    async def command(self, kind: str, **fields: Any) -> Any:
        """Of its WebSocket API, by its owner."""

    async def start(self) -> None: ...

    async def end(self) -> None: ...


def named(home: Home, name: str) -> str:
    """Id of the one entity of that name; empty when there is none."""
    found = [entity.id for entity in home.entities.values() if entity.name == name]
    assert len(found) <= 1, found
    return found[0] if found else ""


async def do(home: Home, name: str, verb: Verb, value: float | str | None = None) -> Outcome:
    (outcome,) = await home.perform([Command(named(home, name), verb, value)])
    return outcome


async def its_entities_are_read_and_obey(home: Home, source: HomeAssistant, peer: Peer) -> None:
    await until(lambda: source.connected and named(home, "Bed Light") and named(home, "Guests"))
    assert home.entities[named(home, "Bed Light")].features >= {"on_off", "brightness", "color"}
    deeds: list[tuple[str, Verb, float | str | None, dict[str, object]]] = [
        ("Guests", "turn_on", None, {"value": "on"}),
        ("Guests", "turn_off", None, {"value": "off"}),
        ("Bed Light", "set_brightness", 40, {"value": "on", "brightness": 40}),
        ("Bed Light", "set_color", "red", {"color": "red"}),
        ("Bed Light", "turn_off", None, {"value": "off"}),
    ]
    for name, verb, value, expected in deeds:
        outcome = await do(home, name, verb, value)
        assert outcome.result == "confirmed", outcome
        assert {key: getattr(outcome.state, key) for key in expected} == expected


async def areas_and_aliases_follow_its_registries(home: Home, source: HomeAssistant, peer: Peer) -> None:
    await until(lambda: source.connected and named(home, "Bed Light"))
    area = await peer.command("config/area_registry/create", name="Loft")
    await peer.command(
        "config/entity_registry/update", entity_id="light.bed_light", area_id=area["area_id"], aliases=["Moon"]
    )
    await until(lambda: home.entities[named(home, "Bed Light")].area == "Loft")
    assert home.entities[named(home, "Bed Light")].aliases == ("Moon",)
    assert home.areas() == ("Loft",)
    await peer.command("config/entity_registry/update", entity_id="light.bed_light", hidden_by="user")
    await until(lambda: not named(home, "Bed Light"))
    await peer.command("config/entity_registry/update", entity_id="light.bed_light", hidden_by=None)
    await until(lambda: named(home, "Bed Light"))


async def what_is_known_by_mqtt_is_there_once_with_its_area(
    home: Home, source: HomeAssistant, peer: Peer, devices: aiomqtt.Client
) -> None:
    """The peer knows of the switch by the same announcement."""
    options = {"name": "Plug", "command_topic": "~/set", "state_topic": "~/state"}
    await announce(devices, "switch", "plug", **options, device={"identifiers": ["plug"], "suggested_area": "Hall"})
    await until(lambda: source.connected and named(home, "Plug") and source._entries)
    found: list[str] = []
    while not found:
        entries = await peer.command("config/entity_registry/list")
        found = [each["entity_id"] for each in entries if each["unique_id"] == "plug"]
    await devices.publish("dev/plug/state", "OFF", qos=1, retain=True)
    area = await peer.command("config/area_registry/create", name="Cellar")
    await peer.command(
        "config/entity_registry/update", entity_id=found[0], area_id=area["area_id"], aliases=["Freezer"]
    )
    await until(lambda: home.entities["switch.plug"].area == "Cellar")
    assert "Freezer" in home.entities["switch.plug"].aliases
    assert named(home, "Plug") == "switch.plug"
    assert home._devices["switch.plug"].line is None


async def its_loss_makes_its_entities_unavailable_until_it_is_back(
    home: Home, source: HomeAssistant, peer: Peer
) -> None:
    await until(lambda: source.connected and named(home, "Guests") and home.state(named(home, "Guests")).available)
    await peer.end()
    await until(lambda: not source.connected)
    assert not home.state(named(home, "Guests")).available
    assert (await do(home, "Guests", "turn_on")).result == "unavailable"
    await peer.start()
    await until(lambda: source.connected and home.state(named(home, "Guests")).available, seconds=90)
    assert (await do(home, "Guests", "turn_on")).result == "confirmed"
