from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.home.entity import Command, Entity, State
from hub.intent import Context, Intent
from hub.policy import Policy
from hub.skills.commands import is_able
from swarm.voice_policy import PERMISSIONS, PolicySection
from tests.hub.memory_home import MemoryHome
from tests.hub.test_conversation import NOWHERE, SOFA, Room, intent

DOOR = Entity("lock.front", "lock", "Front door", "Hall", features=frozenset({"lock"}))
GARAGE = Entity(
    "cover.garage", "cover", "Garage", "", ("Big gate",), "garage", "", frozenset({"open_close", "position"})
)
PLAIN = Entity("cover.plain", "cover", "Side gate", features=frozenset({"open_close"}))
BLIND = Entity("cover.blind", "cover", "Blind", "Hall", device_class="blind", features=frozenset({"open_close"}))
VALVE = Entity("valve.water", "valve", "Water", features=frozenset({"open_close"}))
ALARM = Entity("alarm_control_panel.house", "alarm_control_panel", "Alarm", features=frozenset({"arm"}))
SERVER = Entity("switch.server", "switch", "Server plug", "Office", features=frozenset({"on_off"}))
LAMP = Entity("light.desk", "light", "Desk lamp", "Office", features=frozenset({"on_off", "brightness"}))
HOUSE = {
    DOOR: State(value="locked"),
    GARAGE: State(value="closed", position=0),
    PLAIN: State(value="closed"),
    BLIND: State(value="closed"),
    VALVE: State(value="closed"),
    ALARM: State(value="armed_away"),
    SERVER: State(value="on"),
    LAMP: State(value="on", brightness=80),
}


@pytest.mark.parametrize(
    ("entity", "verb", "value", "state", "permission"),
    [
        (DOOR, "unlock", None, "locked", "ask"),
        (DOOR, "lock", None, "unlocked", "do"),
        (GARAGE, "open", None, "closed", "ask"),
        (GARAGE, "set_position", 30.0, "closed", "ask"),
        (GARAGE, "set_position", 0.0, "open", "do"),
        (GARAGE, "close", None, "open", "do"),
        (GARAGE, "stop", None, "opening", "do"),
        (GARAGE, "toggle", None, "open", "do"),
        (GARAGE, "toggle", None, None, "ask"),
        (PLAIN, "open", None, "closed", "ask"),
        (BLIND, "open", None, "closed", "do"),
        (VALVE, "open", None, "closed", "ask"),
        (VALVE, "close", None, "open", "do"),
        (ALARM, "disarm", None, "armed_away", "ask"),
        (ALARM, "arm", "away", "disarmed", "do"),
        (SERVER, "turn_off", None, "on", "do"),
    ],
)
def test_only_what_opens_something_is_asked_about(
    entity: Entity, verb: str, value: float | None, state: str | None, permission: str
) -> None:
    command = Command(entity.id, verb, value)  # type: ignore[arg-type]
    assert Policy().permission(command, entity, State(value=state)) == permission


@pytest.mark.parametrize(
    ("section", "entity", "verb", "permission"),
    [
        (PolicySection(entities={"front DOOR": "do"}), DOOR, "unlock", "do"),
        (PolicySection(entities={"lock.front": "refuse"}), DOOR, "unlock", "refuse"),
        (PolicySection(entities={"lock.front": "refuse"}), DOOR, "lock", "do"),
        (PolicySection(entities={"Big gate": "do"}), GARAGE, "open", "do"),
        (PolicySection(entities={"Server plug": "refuse"}), SERVER, "turn_off", "refuse"),
        (PolicySection(kinds={"lock": "refuse"}), DOOR, "unlock", "refuse"),
        (PolicySection(kinds={"cover": "do"}), GARAGE, "open", "do"),
        (PolicySection(kinds={"cover": "do", "garage": "refuse"}), GARAGE, "open", "refuse"),
        (PolicySection(kinds={"switch": "ask"}), SERVER, "turn_on", "ask"),
        (PolicySection(areas={"office": "refuse"}), SERVER, "turn_on", "refuse"),
        (PolicySection(areas={"Hall": "refuse"}, kinds={"lock": "do"}), DOOR, "unlock", "refuse"),
        (PolicySection(areas={"Hall": "refuse"}, entities={"Front door": "ask"}), DOOR, "unlock", "ask"),
        (PolicySection(areas={"Hall": "ask"}), BLIND, "close", "ask"),
    ],
)
def test_what_a_person_configured_counts(section: PolicySection, entity: Entity, verb: str, permission: str) -> None:
    command = Command(entity.id, verb)  # type: ignore[arg-type]
    assert Policy(section).permission(command, entity, State(value="x")) == permission


@given(st.sampled_from(list(HOUSE)), st.sampled_from(["unlock", "open", "disarm", "turn_off"]), st.data())
def test_a_room_never_makes_anything_laxer(entity: Entity, verb: str, data: st.DataObject) -> None:
    kinds = data.draw(st.dictionaries(st.sampled_from([entity.component]), st.sampled_from(PERMISSIONS)))
    command = Command(entity.id, verb)  # type: ignore[arg-type]
    without = Policy(PolicySection(kinds=dict(kinds))).permission(command, entity, State(value="closed"))
    areas = {entity.area or "x": data.draw(st.sampled_from(("ask", "refuse")))}
    within = Policy(PolicySection(kinds=dict(kinds), areas=areas)).permission(command, entity, State(value="closed"))
    assert PERMISSIONS.index(within) >= PERMISSIONS.index(without)


def room(**section: dict[str, str]) -> Room[MemoryHome]:
    return Room(MemoryHome(dict(HOUSE)), policy=Policy(PolicySection(**section)))


@pytest.mark.parametrize(
    ("said", "question", "left", "done", "command"),
    [
        (
            intent("HassTurnOff", name="lock.front"),
            "Unlock the front door?",
            "OK, I left it locked.",
            "The front door is unlocked.",
            ("lock.front", "unlock", None),
        ),
        (
            intent("HassTurnOn", name="cover.garage"),
            "Open the garage?",
            "OK, I left it as it is.",
            "The garage is open.",
            ("cover.garage", "open", None),
        ),
        (
            intent("HassSetPosition", name="cover.garage", position=30),
            "Set the garage to 30%?",
            "OK, I left it as it is.",
            "The garage is now 30% open.",
            ("cover.garage", "set_position", 30.0),
        ),
        (
            intent("HassTurnOn", name="valve.water"),
            "Open the water?",
            "OK, I left it as it is.",
            "The water is open.",
            ("valve.water", "open", None),
        ),
        (
            intent("DisarmAlarm"),
            "Disarm the alarm?",
            "OK, I left it as it is.",
            "The alarm is disarmed.",
            ("alarm_control_panel.house", "disarm", None),
        ),
    ],
)
def test_what_lets_somebody_in_waits_for_a_yes(
    said: Intent, question: str, left: str, done: str, command: tuple[str, str, float | None]
) -> None:
    async def scene() -> None:
        here = room()
        assert await here.say(said) == question
        assert here.follow_up
        assert await here.hear("no") == left
        assert here.commands() == []
        await here.say(said)
        assert await here.hear("yes") == done
        assert here.commands() == [command]

    asyncio.run(scene())


def test_refused_things_stay_as_they_are_and_the_rest_is_done() -> None:
    async def scene() -> None:
        here = room(entities={"Server plug": "refuse"}, kinds={"lock": "refuse"})
        assert await here.say(intent("HassTurnOff", domain="everything", area="Office")) == (
            "The desk lamp is off. I may not turn off the server plug by voice."
        )
        assert await here.say(intent("HassTurnOff", name="lock.front")) == "I may not unlock the front door by voice."
        assert (here.outcome, here.follow_up) == ("failed", False)
        assert here.commands() == [("light.desk", "turn_off", None)]

    asyncio.run(scene())


def test_a_person_can_have_a_door_opened_without_a_question() -> None:
    async def scene() -> None:
        here = room(entities={"Front door": "do"})
        assert await here.say(intent("HassTurnOff", name="lock.front")) == "The front door is unlocked."

    asyncio.run(scene())


def test_a_yes_counts_only_from_the_place_that_was_asked() -> None:
    async def scene() -> None:
        here, unlock = room(), intent("HassTurnOff", name="lock.front")
        places = (NOWHERE, Context(), Context(desk="attic"), Context("sofa", "Living room", origin="program"))
        for elsewhere in places:
            await here.say(unlock, context=SOFA)
            assert await here.hear("yes", elsewhere) == "I didn't ask you anything."
        await here.say(unlock, context=Context(desk="attic"))
        assert await here.hear("yes", Context(desk="cellar")) == "I didn't ask you anything."
        assert here.commands() == []

    asyncio.run(scene())


@pytest.mark.parametrize("origin", ["program", "rule"])
def test_what_no_person_said_opens_nothing_even_with_a_yes(origin: str) -> None:
    async def scene() -> None:
        here, context = room(), Context("sofa", "Hall", origin=origin)  # type: ignore[arg-type]
        assert await here.say(intent("HassTurnOff", name="lock.front"), context=context) == (
            "I only unlock the front door when a person says so and confirms it."
        )
        assert not here.follow_up
        assert await here.hear("yes", context) == "I didn't ask you anything."
        assert await here.say(intent("HassTurnOff", name="light.desk"), context=context) == "The desk lamp is off."
        assert here.commands() == [("light.desk", "turn_off", None)]

    asyncio.run(scene())


def test_a_door_that_is_offline_is_not_tried_without_a_yes() -> None:
    async def scene() -> None:
        here = room()
        here.home.states["lock.front"] = State(available=False, value="locked")
        assert await here.say(intent("HassTurnOff", name="lock.front")) == "The front door is offline."
        assert here.commands() == []

    asyncio.run(scene())


def test_a_new_conversation_knows_of_no_question() -> None:
    async def scene() -> None:
        await room().say(intent("HassTurnOff", name="lock.front"))
        assert await room().hear("yes") == "I didn't ask you anything."

    asyncio.run(scene())


def test_every_verb_needs_some_ability() -> None:
    from typing import get_args

    from hub.home.entity import Verb

    assert not any(is_able(Entity("x", "x", "x"), Command("x", verb)) for verb in get_args(Verb))
