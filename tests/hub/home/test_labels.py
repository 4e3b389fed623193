"""Areas and aliases by a person's word: real devices, ledgers and databases."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.home.entity import Entity
from hub.home.labels import Label, Labels, OwnLabels, SharedLabels, UnfitWords, UnknownEntity, find_entity
from hub.home.registry import Home
from hub.intent import Context
from hub.live_understanding import LiveUnderstanding
from swarm.config import BusSection
from swarm.engine import CommandGrammar
from swarm.store import Store
from tests.buses import announce, background, maker, running_broker, running_bus, until
from tests.swarm.ledger.nodes import Swarm, meet, with_swarm

LAMP = "light.lamp"
ENTITIES = {
    each.id: each
    for each in (
        Entity("light.a", "light", "Kitchen lamp", "Kitchen"),
        Entity("light.b", "light", "Desk lamp", "Study"),
        Entity("sensor.b", "sensor", "Desk lamp", "Study"),
        Entity("switch.c", "switch", "Coffee machine", "Kitchen", ("Espresso",)),
    )
}


class Ear:
    """Takes grammars."""

    words: frozenset[str] = frozenset()

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        self.words = frozenset(arc.word for arc in grammar.arcs)


@contextlib.asynccontextmanager
async def home_with_lamp(folder: Path) -> AsyncIterator[Home]:
    async with running_broker("mosquitto", folder) as broker, running_bus(broker) as bus, maker(broker) as client:
        home = Home(bus, BusSection())
        await announce(client, "light", "lamp", name="Lamp", command_topic="~/set", device={"suggested_area": "Hall"})
        await until(lambda: LAMP in home.entities)
        yield home


def test_what_a_person_says_is_understood_and_heard_at_once_and_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, ear = Store(tmp_path / "a.db"), Ear()
        async with home_with_lamp(tmp_path) as home, contextlib.aclosing(Closing(store)):
            labels = Labels(home, OwnLabels(store))
            await labels.open()
            understanding = LiveUnderstanding(home, language="en", wake_phrases=())
            async with background(understanding.run(ear)):
                await understanding.ready.wait()
                assert (await labels.place("lamp", "Winter garden")).area == "Winter garden"
                assert (await labels.rename("lamp", add=["sun", "Sun", "big light"])).aliases == ("sun", "big light")
                assert home.areas() == ("Winter garden",)
                await until(lambda: {"winter", "sun"} <= ear.words)
                [intent] = understanding.understand("turn on the sun", Context())
                assert intent.slots["name"] == LAMP
                assert (await labels.place("sun", "hall")).area == "Hall"
                assert (await labels.place("Sun", None)).area == "Hall"
                assert (await labels.rename(LAMP, remove=["sun"])).aliases == ("big light",)
                assert (await labels.rename(LAMP, remove=None)).aliases == ()
                await until(lambda: "sun" not in ear.words)

    asyncio.run(scenario())


def test_words_of_a_node_that_is_alone_survive_its_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_lamp(tmp_path) as home:
            for expected in ("Hall", "Attic"):
                store = Store(tmp_path / "a.db")
                async with contextlib.aclosing(Closing(store)):
                    labels = Labels(home, OwnLabels(store))
                    await labels.open()
                    assert home.entities[LAMP].area == expected
                    await labels.place(LAMP, "Attic")
                home._dressers.clear()

    asyncio.run(scenario())


def test_words_said_at_one_hub_count_at_all_and_those_of_before_joining_come_along(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        second = await swarm.hub(first)
        one, two = Store(tmp_path / "1.db"), Store(tmp_path / "2.db")
        async with home_with_lamp(tmp_path) as home, contextlib.aclosing(Closing(one, two)):
            before = OwnLabels(two)
            await before.open()
            await before.put(Label(LAMP, "Attic"))
            here = Labels(home, SharedLabels(second, OwnLabels(two)))
            await here.open()
            assert home.entities[LAMP].area == "Attic"
            home._dressers.clear()
            home.redress()

            there = Labels(home, SharedLabels(first, OwnLabels(one)))
            await there.open()
            assert home.entities[LAMP].area == "Hall"
            await meet(second, first)
            await until(lambda: home.entities[LAMP].area == "Attic")
            await there.place(LAMP, None)
            await meet(first, second)
            assert not SharedLabels(second, OwnLabels(two)).labels()

    with_swarm(tmp_path, test)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("kitchen lump", "Kitchen lamp"), ("zzz", "mycoswarm home lists"), ("desk lamp", "light.b, sensor.b")],
)
def test_unknown_things_are_told_with_what_could_be_meant(name: str, hint: str) -> None:
    with pytest.raises(UnknownEntity) as caught:
        find_entity(name, ENTITIES)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "found"), [("light.b", "light.b"), ("kitchen LAMP", "light.a"), ("espresso", "switch.c")]
)
def test_thing_is_found_by_id_name_or_alias(name: str, found: str) -> None:
    assert find_entity(name, ENTITIES).id == found


@pytest.mark.parametrize("words", ["", "  ", "💡", "x" * 201, "a\x1b[2J"])
def test_words_that_nobody_could_say_are_refused(words: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_lamp(tmp_path) as home:
            labels = Labels(home, OwnLabels(Store(tmp_path / "a.db")))
            with pytest.raises(UnfitWords):
                await labels.place(LAMP, words)

    asyncio.run(scenario())


class Closing:
    """Stores that are closed at the end."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores

    async def aclose(self) -> None:
        for store in self._stores:
            await store.close()
