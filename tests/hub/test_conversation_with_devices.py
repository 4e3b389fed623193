"""The same commands to the real registry with real devices on a real broker, and to the home in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.home.entity import Command, Entity, Outcome, State
from hub.home.registry import Home
from hub.home.virtual_flat import VirtualFlat
from hub.intent import Intent
from hub.timers import Timers
from swarm.broker import Broker, find_mosquitto
from swarm.bus import Bus
from swarm.config import BusSection
from swarm.store import Store
from tests.buses import free_port
from tests.hub.memory_home import MemoryHome
from tests.hub.test_conversation import NOWHERE, Room, intent
from tests.hub.test_timers import VirtualClock, settle

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")


class RealHome:
    """The registry, and what it was told to do."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.performed: list[tuple[Command, ...]] = []

    @property
    def entities(self) -> Mapping[str, Entity]:
        return self._home.entities

    @property
    def why_down(self) -> str:
        return self._home.why_down

    def state(self, entity_id: str) -> State:
        return self._home.state(entity_id)

    def areas(self) -> tuple[str, ...]:
        return self._home.areas()

    async def perform(self, commands: Sequence[Command], timeout_s: float | None = None) -> tuple[Outcome, ...]:
        self.performed.append(tuple(commands))
        return await self._home.perform(commands, timeout_s)


@asynccontextmanager
async def real_home(tmp_path: Path, silent: frozenset[str] = frozenset()) -> AsyncIterator[RealHome]:
    section = BusSection(port=free_port(), confirm_timeout_s=10.0 if not silent else 0.3)
    broker = Broker(section, tmp_path)
    await broker.start()
    bus = Bus(broker.address, "test")
    home = Home(bus, section)
    devices = VirtualFlat(broker.address, silent=silent)
    running = {asyncio.create_task(bus.run()), asyncio.create_task(devices.run())}
    try:
        async with asyncio.timeout(15):
            await devices.ready.wait()
            await home.settled()
        yield RealHome(home)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await broker.close()


def sentences(home: Mapping[str, Entity]) -> list[tuple[tuple[Intent, ...], str]]:
    ids = {entity.name: entity.id for entity in home.values()}
    return [
        ((intent("HassTurnOn", name=ids["Kitchen lamp"]),), "The kitchen lamp is on."),
        ((intent("HassLightSet", name=ids["Kitchen lamp"], brightness=40),), "The kitchen lamp is now at 40%."),
        ((intent("ChangeBrightness", name=ids["Kitchen lamp"]),), "The kitchen lamp is now at 60%."),
        ((intent("HassLightSet", name=ids["Living room lamp"], color="red"),), "The living room lamp is now red."),
        ((intent("HassLightSet", name=ids["Hallway light"], color="red"),), "The hallway light can't change color."),
        ((intent("HassTurnOn", domain="light", area="Bedroom"),), "The bedroom lamp is on."),
        (
            (intent("HassTurnOn", name=ids["Coffee machine"]), intent("HassTurnOff", name=ids["Kitchen lamp"])),
            "The coffee machine is on and the kitchen lamp is off.",
        ),
        ((intent("HassFanSetSpeed", name=ids["Bedroom fan"], percentage=50),), "The bedroom fan is now at 50%."),
        ((intent("HassClimateSetTemperature", temperature=22),), "The living room thermostat is set to 22°."),
        ((intent("HassTurnOff", domain="everything", area="Bedroom"),), "Turned off 2 devices in the bedroom."),
        ((intent("HassGetState", name=ids["Front door"], state="locked"),), "Yes, the front door is locked."),
        ((intent("HassTurnOff", name=ids["Front door"]),), "Unlock the front door?"),
        ((intent("Confirm"),), "The front door is unlocked."),
        ((intent("HassGetState", name=ids["Kitchen window"]),), "The kitchen window is closed."),
        (
            (intent("HassGetState", domain="sensor", device_class="humidity", area="Living room"),),
            "The humidity in the living room is 45%.",
        ),
        ((intent("ListOn", domain="light", area="Kitchen"),), "No lights in the kitchen are on."),
        ((intent("HassTurnOn", name=ids["Movie night"]),), "Movie night is activated."),
    ]


def test_real_devices_and_the_home_in_memory_answer_alike(tmp_path: Path) -> None:
    async def scene() -> None:
        async with real_home(tmp_path) as home:
            memory = MemoryHome({entity: home.state(key) for key, entity in home.entities.items()})
            real, fake = Room(home), Room(memory)
            for said, words in sentences(home.entities):
                assert await real.say(*said, context=NOWHERE) == words
                assert await fake.say(*said, context=NOWHERE) == words
                assert (real.outcome, real.follow_up) == (fake.outcome, fake.follow_up)
            assert home.performed == memory.performed
            blinds = intent("HassTurnOff", domain="cover", device_class="blind")
            assert await real.say(blinds) in (
                "The living room blinds are closing.",
                "The living room blinds are closed.",
            )
            (blind,) = (key for key, entity in home.entities.items() if entity.component == "cover")
            for _ in range(750):  # at most 15 s
                if home.state(blind).value == "closed":
                    break
                await asyncio.sleep(0.02)
            assert await real.say(intent("HassGetState", name=blind)) == "The living room blinds are closed."

    asyncio.run(scene())


def test_a_real_device_that_does_not_confirm_is_not_claimed(tmp_path: Path) -> None:
    async def scene() -> None:
        async with real_home(tmp_path, frozenset({"kitchen_lamp"})) as home:
            room = Room(home)
            lamp = next(key for key, entity in home.entities.items() if entity.name == "Kitchen lamp")
            assert await room.say(intent("HassTurnOn", name=lamp)) == "The kitchen lamp did not answer."
            assert room.outcome == "unconfirmed"

    asyncio.run(scene())


def test_timers_survive_a_restart_in_the_real_database(tmp_path: Path) -> None:
    async def scene() -> None:
        path = tmp_path / "node.db"
        store = Store(path)
        await store.open()
        kept = await Timers(store, VirtualClock()).start(600, name="egg", satellite="kit")
        assert kept is not None
        assert kept.saved
        await store.close()

        store = Store(path)
        await store.open()
        clock, heard = VirtualClock(wall=1_000_000.0 + 900, steady=0.0), asyncio.Queue[tuple[str, str]]()

        async def announce(satellite: str, text: str) -> bool:
            heard.put_nowait((satellite, text))
            return True

        running = asyncio.create_task(Timers(store, clock).run(announce))
        async with asyncio.timeout(10):
            assert await heard.get() == ("kit", "Your egg timer ended 5 minutes ago.")
        await settle()  # what it asked of the database's thread is done in order, before what follows
        assert await store.timers() == []
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()

    asyncio.run(scene())
