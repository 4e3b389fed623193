"""The home with a Home Assistant beside it: a small one, on a real socket. The same cases run with a real one in
`tests/peers`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.home import home_assistant
from hub.home.discovery import described
from hub.home.hass_entities import _KINDS, messages_of, options_of
from hub.home.hass_words import HassState
from hub.home.home_assistant import HomeAssistant
from hub.home.options import Options
from hub.home.registry import Home
from hub.home.zigbee2mqtt import Zigbee2Mqtt
from swarm.broker import Broker
from swarm.checks.home import home_assistant as check
from swarm.config import BusSection, Config, HomeAssistantSection
from swarm.errors import MalformedMessage
from tests.buses import announce, background, free_port, maker, running_broker, running_bus, until
from tests.hub.home import home_assistant_cases as cases
from tests.hub.home.fake_home_assistant import FakeHomeAssistant
from tests.hub.home.home_assistant_cases import do, named
from tests.hub.home.zigbee_bridge import PLUG, device, pretended_bridge
from tests.swarm.test_doctor import examined


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_assistant, "RETRY_S", (0.05, 0.1))
    monkeypatch.setattr(home_assistant, "GATHER_S", 0.02)
    monkeypatch.setattr(home_assistant, "LOOK_FOR_TOKEN_S", 0.1)


@contextlib.asynccontextmanager
async def beside(
    folder: Path, **section: str
) -> AsyncIterator[tuple[Home, HomeAssistant, FakeHomeAssistant, Broker, asyncio.Task[None]]]:
    peer = FakeHomeAssistant(free_port())
    await peer.start()
    try:
        async with running_broker("mosquitto", folder) as broker, running_bus(broker) as bus:
            home = Home(bus, BusSection(confirm_timeout_s=20.0))
            await bus.wait_subscribed()
            settings = {"url": peer.url, "token": peer.token, **section}
            source = HomeAssistant(home, HomeAssistantSection(**settings))
            async with background(source.run()) as [task]:
                yield home, source, peer, broker, task
    finally:
        await peer.end()


Case = Callable[[Home, HomeAssistant, cases.Peer], Awaitable[None]]


@pytest.mark.parametrize(
    "case",
    [
        cases.its_entities_are_read_and_obey,
        cases.areas_and_aliases_follow_its_registries,
        cases.its_loss_makes_its_entities_unavailable_until_it_is_back,
    ],
)
def test_beside_a_home_assistant(case: Case, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, source, peer, _, _):
            await case(home, source, peer)

    asyncio.run(scenario())


def test_what_happened_while_it_could_not_be_reached_is_known_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, source, peer, _, _):
            await until(lambda: source.connected and home.state(named(home, "Guests")).value == "off")
            await peer.end()
            await until(lambda: not source.connected)
            await peer.become("input_boolean.guests", "on")
            peer.states["light.bed_light"]["attributes"]["friendly_name"] = "Night Light"
            await peer.start()
            await until(lambda: source.connected and home.state(named(home, "Guests")).value == "on")
            assert named(home, "Night Light")

    asyncio.run(scenario())


def test_what_is_known_by_mqtt_is_there_once_with_its_area(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, source, peer, broker, _), maker(broker) as devices:
            await peer.gets("switch.plug", "off", friendly_name="Plug", platform="mqtt", unique_id="plug")
            await cases.what_is_known_by_mqtt_is_there_once_with_its_area(home, source, peer, devices)
            # It stays with Home Assistant when it is by MQTT no more, and the other way round.
            await devices.publish("homeassistant/switch/plug/config", b"", qos=1, retain=True)
            await until(lambda: "switch.plug" in home.entities and home._devices["switch.plug"].line is source)
            assert (await do(home, "Plug", "turn_on")).result == "confirmed"
            await announce(devices, "switch", "plug", name="Plug", command_topic="~/set")
            await until(lambda: home._devices["switch.plug"].line is None)

    asyncio.run(scenario())


def test_zigbee_device_that_home_assistant_knows_too_is_reached_over_the_bus(tmp_path: Path) -> None:
    address = "0x00158d0001825500"
    unique_id = f"{address}_switch_zigbee2mqtt"

    async def scenario() -> None:
        async with beside(tmp_path) as (home, _, peer, broker, _), pretended_bridge(broker) as bridge:
            await peer.gets("switch.plug", "off", friendly_name="plug", platform="mqtt", unique_id=unique_id)
            await until(lambda: f"switch.{unique_id}" in home.entities)
            async with background(Zigbee2Mqtt(home, home._bus, "zigbee2mqtt").run()):
                await bridge.has([device(address, "plug", PLUG)])
                await until(lambda: home._devices[f"switch.{unique_id}"].line is None)
                await until(lambda: named(home, "plug power"))
                assert named(home, "plug") == f"switch.{unique_id}"

    asyncio.run(scenario())


def test_our_own_nodes_are_not_read_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, _, peer, _, _):
            peer.devices.append({"id": "d1", "manufacturer": "mycoswarm", "area_id": None})
            about = {"platform": "mqtt", "unique_id": "mycoswarm_a_mute", "device": "d1"}
            await peer.gets("switch.attic_mute", "off", friendly_name="Attic mute", **about)
            await peer.gets("sensor.rssi", "-60", friendly_name="Signal", platform="zha", unique_id="r")
            await peer.command("config/entity_registry/update", entity_id="sensor.rssi", entity_category="diagnostic")
            await peer.gets("switch.later", "off", friendly_name="Later", platform="zha", unique_id="later")
            await until(lambda: named(home, "Later") and not named(home, "Signal"))
            assert not named(home, "Attic mute")
            await peer.become("switch.later", None)
            await until(lambda: not named(home, "Later"))

    asyncio.run(scenario())


def test_event_is_what_happens_now_and_not_what_happened_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, source, peer, _, _):
            about = {"event_types": ["press", "hold"], "event_type": "hold", "platform": "zha", "unique_id": "bell"}
            await peer.gets("event.bell", "2026-01-01T00:00:00", friendly_name="Bell", **about)
            await until(lambda: source.connected and named(home, "Bell") and home.state(named(home, "Bell")).available)
            assert home.state(named(home, "Bell")).events is None
            await peer.become("event.bell", "2026-01-01T00:00:09", event_type="press")
            await until(lambda: home.state(named(home, "Bell")).events == 1)
            assert home.state(named(home, "Bell")).value == "press"
            await peer.become("event.bell", "unavailable")
            await peer.become("event.bell", "2026-01-01T00:00:09")
            await until(lambda: home.state(named(home, "Bell")).available)
            assert home.state(named(home, "Bell")).events == 1

    asyncio.run(scenario())


def test_service_that_is_refused_or_has_no_effect_is_not_claimed_done(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, source, peer, _, _):
            await peer.gets("lock.door", "locked", friendly_name="Door", platform="zha", unique_id="door")
            await until(lambda: source.connected and named(home, "Door"))
            assert (await do(home, "Door", "unlock")).result == "unconfirmed"
            peer.obeys = False
            home._timeout_s = 0.3
            assert (await do(home, "Guests", "turn_on")).result == "unconfirmed"
            await peer.become("input_boolean.guests", "unavailable")
            await until(lambda: not home.state(named(home, "Guests")).available)

    asyncio.run(scenario())


def test_wrong_token_is_said_once_and_tried_once_until_there_is_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("wrong\n")

    async def scenario() -> None:
        async with beside(tmp_path, token="", token_file=str(file)) as (home, source, peer, _, _):
            await until(lambda: source.why)
            await asyncio.sleep(0.5)  # long enough for some attempts, if there were any
            assert peer.attempts == 1 and not home.entities
            file.write_text(peer.token)
            await until(lambda: source.connected)
            assert source.why == ""

    with caplog.at_level(logging.ERROR, logger="hub.home.home_assistant"):
        asyncio.run(scenario())
    [said] = [each.getMessage() for each in caplog.records]
    assert "does not take the token" in said and "long-lived access token" in said and str(file) in said


def test_revoked_token_makes_its_entities_unavailable_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with beside(tmp_path) as (home, source, peer, _, task):
            await until(lambda: source.connected and named(home, "Guests"))
            await peer.revoke()
            await until(lambda: "does not take the token" in source.why)
            assert not home.state(named(home, "Guests")).available
            assert peer.attempts == 2 and not task.done()

    asyncio.run(scenario())
    assert caplog.text.count("does not take the token") == 1


@pytest.mark.parametrize(
    ("section", "status", "says"),
    [
        ({}, "ok", "takes the token"),
        ({"token": "wrong"}, "warn", "does not take the token"),
        ({"url": "http://127.0.0.1:9"}, "warn", "nothing answers"),
    ],
)
def test_doctor_tries_the_token(section: dict[str, str], status: str, says: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        peer = FakeHomeAssistant(free_port())
        await peer.start()
        try:
            config = Config(home_assistant=HomeAssistantSection(**{"url": peer.url, "token": peer.token, **section}))
            [found] = await asyncio.to_thread(check, examined(tmp_path, config=config))
            assert found.status == status and says in found.found
        finally:
            await peer.end()

    asyncio.run(scenario())


def test_nothing_outside_the_lan_is_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(tmp_path, url="http://8.8.8.8:8123") as (_, source, _, _, _):
            await until(lambda: source.why)
            assert "outside the LAN" in source.why

    asyncio.run(scenario())


ATTRIBUTES = (
    "friendly_name",
    "supported_features",
    "supported_color_modes",
    "min",
    "max",
    "step",
    "options",
    "hvac_modes",
    "min_temp",
    "max_temp",
    "target_temp_step",
    "brightness",
    "color_mode",
    "rgb_color",
    "code_format",
    "device_class",
    "unit_of_measurement",
    "min_color_temp_kelvin",
    "max_color_temp_kelvin",
    "preset_modes",
    "current_position",
)
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
attributes = st.dictionaries(
    st.sampled_from(ATTRIBUTES),
    values,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(_KINDS)), st.text(max_size=10), attributes, st.integers(0, 2**15))
def test_whatever_it_says_makes_an_entity_or_a_complaint(
    domain: str, value: str, about: dict[str, object], features: int
) -> None:
    for told in (about, {**about, "supported_features": features}):
        state = HassState(f"{domain}.x", value, told)
        found = options_of(state)
        assert found is not None and messages_of(state)
        with contextlib.suppress(MalformedMessage):
            described(state.entity_id, found[0], Options(found[1]), "id", "name")
