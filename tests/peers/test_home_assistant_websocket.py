"""A real Home Assistant as a source of our home: the cases of the small one, and what only the real one has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from hub.home.entity import Verb
from hub.home.home_assistant import HomeAssistant as Source
from hub.home.registry import Home
from swarm.bench.home_assistant import HomeAssistant
from swarm.broker import Broker
from swarm.config import BusSection, HomeAssistantSection
from tests.buses import background, maker, running_broker, running_bus, until
from tests.hub.home import home_assistant_cases as cases
from tests.hub.home.home_assistant_cases import do, named

MORE = """\
demo:
input_boolean:
  guests:
    name: Guests
input_number:
  level:
    min: 0
    max: 10
script:
  party:
    sequence: []
"""

Case = Callable[[Home, Source, cases.Peer], Awaitable[None]]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def peer(
    home_assistant_venv: Path, tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner
) -> Iterator[HomeAssistant]:
    peer = HomeAssistant(home_assistant_venv, tmp_path_factory.mktemp("beside") / "home-assistant", more=MORE)
    runner.run(peer.start())
    yield peer
    runner.run(peer.end())


@contextlib.asynccontextmanager
async def beside(peer: HomeAssistant, folder: Path) -> AsyncIterator[tuple[Home, Source, Broker]]:
    async with running_broker("mosquitto", folder) as broker, running_bus(broker) as bus:
        home = Home(bus, BusSection(confirm_timeout_s=20.0))
        source = Source(home, HomeAssistantSection(url=peer.url, token=peer.token))
        async with background(source.run()):
            yield home, source, broker


@pytest.mark.parametrize(
    "case",
    [
        cases.its_entities_are_read_and_obey,
        cases.areas_and_aliases_follow_its_registries,
        cases.its_loss_makes_its_entities_unavailable_until_it_is_back,
    ],
)
def test_beside_a_home_assistant(case: Case, peer: HomeAssistant, runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with beside(peer, tmp_path) as (home, source, _):
            await case(home, source, peer)

    runner.run(scenario())


def test_each_kind_of_entity_obeys(peer: HomeAssistant, runner: asyncio.Runner, tmp_path: Path) -> None:
    deeds: list[tuple[str, Verb, float | str | None]] = [
        ("level", "set_number", 4),
        ("party", "activate", None),
        ("Bed Light", "set_color_temperature", 3000),
        ("Kitchen Window", "open", None),
        ("Hall Window", "set_position", 30),
        ("Front Door", "unlock", None),
        ("Living Room Fan", "set_speed", 67),
        ("Living Room Fan", "oscillate", "on"),
        ("HeatPump", "set_temperature", 22),
        ("HeatPump", "turn_off", None),
        ("Ecobee", "set_mode", "cool"),
        ("Ecobee", "set_preset", "eco"),
        ("Dehumidifier", "set_humidity", 50),
        ("Push", "press", None),
        ("Siren", "turn_off", None),
        ("0_Ground_floor", "start", None),
    ]

    async def scenario() -> None:
        async with beside(peer, tmp_path) as (home, source, _):
            await until(lambda: source.connected)
            for name, verb, value in deeds:
                outcome = await do(home, name, verb, value)
                assert outcome.result == "confirmed", outcome

    runner.run(scenario())


def test_what_is_known_by_mqtt_is_there_once_with_its_area(
    peer: HomeAssistant, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with beside(peer, tmp_path) as (home, source, broker), maker(broker) as devices:
            await peer.add_mqtt(broker.address.port)
            await cases.what_is_known_by_mqtt_is_there_once_with_its_area(home, source, peer, devices)

    runner.run(scenario())


def test_token_that_its_owner_revokes_makes_its_entities_unavailable_and_is_said(
    peer: HomeAssistant, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        token = await peer.command("auth/long_lived_access_token", client_name="other", lifespan=10)
        [told] = [each for each in await peer.command("auth/refresh_tokens") if each["client_name"] == "other"]
        async with running_broker("mosquitto", tmp_path) as broker, running_bus(broker) as bus:
            home = Home(bus, BusSection())
            source = Source(home, HomeAssistantSection(url=peer.url, token=token))
            async with background(source.run()):
                await until(lambda: source.connected and named(home, "Guests"))
                await peer.command("auth/delete_refresh_token", refresh_token_id=told["id"])
                await until(lambda: "does not take the token" in source.why)
                assert not home.state(named(home, "Guests")).available

    runner.run(scenario())
