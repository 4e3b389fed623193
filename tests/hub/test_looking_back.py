"""Undoing, and telling why."""

from __future__ import annotations

import asyncio

import pytest

from hub.deeds import MAX_DEEDS, MAX_ENTITIES, Cause, Deeds
from hub.home.entity import Command, Entity, State, Verb
from hub.intent import Context, Intent
from hub.policy import Policy
from hub.skills.restoring import restoring
from swarm.voice_policy import PolicySection
from tests.hub.memory_home import MemoryHome, flat
from tests.hub.test_conversation import NOWHERE, Room, intent

UNDO, WHY = Intent("Undo"), Intent("Why")


def entity(component: str, *features: str) -> Entity:
    return Entity(f"{component}.x", component, "X", features=frozenset(features))  # type: ignore[arg-type]


DIMMER = entity("light", "on_off", "brightness", "color", "color_temperature")
BLIND = entity("cover", "open_close", "position", "tilt")
DOOR = entity("cover", "open_close")
CLIMATE = entity("climate", "target_temperature", "mode", "preset")


@pytest.mark.parametrize(
    ("thing", "verbs", "before", "back"),
    [
        (DIMMER, {"turn_on"}, State(value="off", brightness=40), [("turn_off", None)]),
        (DIMMER, {"turn_off"}, State(value="on", brightness=40), [("set_brightness", 40.0)]),
        (DIMMER, {"set_brightness"}, State(value="on", brightness=40), [("set_brightness", 40.0)]),
        (
            DIMMER,
            {"set_color", "set_brightness"},
            State(value="on", brightness=40, color="red"),
            [("set_color", "red"), ("set_brightness", 40.0)],
        ),
        (
            DIMMER,
            {"set_color"},
            State(value="on", brightness=40, color_temperature=2700),
            [("set_color_temperature", 2700.0), ("set_brightness", 40.0)],
        ),
        (DIMMER, {"turn_on"}, State(), "unknown"),
        (entity("light", "on_off"), {"turn_off"}, State(value="on"), [("turn_on", None)]),
        (entity("switch", "on_off"), {"toggle"}, State(value="off"), [("turn_off", None)]),
        (entity("siren", "on_off"), {"turn_on"}, State(value="off"), [("turn_off", None)]),
        (entity("fan", "on_off", "speed"), {"set_speed"}, State(value="on", speed=30), [("set_speed", 30.0)]),
        (entity("fan", "on_off", "speed"), {"turn_on"}, State(value="off", speed=30), [("turn_off", None)]),
        (entity("fan", "on_off", "oscillation"), {"oscillate"}, State(oscillation="off"), [("oscillate", "off")]),
        (BLIND, {"close"}, State(value="open", position=70), [("set_position", 70.0)]),
        (BLIND, {"set_tilt"}, State(value="open", position=70, tilt=20), [("set_tilt", 20)]),
        (BLIND, {"stop"}, State(value="opening"), "cannot"),
        (DOOR, {"open"}, State(value="closed"), [("close", None)]),
        (DOOR, {"close"}, State(value=None), "unknown"),
        (entity("valve", "open_close"), {"close"}, State(value="open"), [("open", None)]),
        (entity("lock", "lock"), {"lock"}, State(value="unlocked"), [("unlock", None)]),
        (entity("lock", "lock"), {"lock"}, State(value="jammed"), "unknown"),
        (CLIMATE, {"set_temperature"}, State(target_temperature=19.5, mode="heat"), [("set_temperature", 19.5)]),
        (CLIMATE, {"turn_off"}, State(value="on", target_temperature=19.5, mode="heat"), [("set_mode", "heat")]),
        (
            entity("humidifier", "target_humidity"),
            {"set_humidity"},
            State(target_humidity=45.0),
            [("set_humidity", 45.0)],
        ),
        (entity("number", "number"), {"set_number"}, State(value="7.5"), [("set_number", 7.5)]),
        (entity("number", "number"), {"set_number"}, State(), "unknown"),
        (entity("select", "option"), {"select_option"}, State(value="eco"), [("select_option", "eco")]),
        (entity("alarm_control_panel", "arm"), {"arm"}, State(value="disarmed"), [("disarm", None)]),
        (entity("alarm_control_panel", "arm"), {"disarm"}, State(value="armed_night"), [("arm", "night")]),
        (entity("scene", "activate"), {"activate"}, State(), "cannot"),
        (entity("button", "press"), {"press"}, State(), "cannot"),
        (entity("vacuum", "start"), {"start"}, State(value="docked"), "cannot"),
    ],
)
def test_each_kind_goes_back_to_how_it_was(thing: Entity, verbs: set[Verb], before: State, back: object) -> None:
    commands = restoring(thing, verbs, before)
    told = commands if isinstance(commands, str) else [(command.verb, command.value) for command in commands]
    assert told == back


def test_undo_puts_all_back_that_the_last_command_changed() -> None:
    async def scene() -> None:
        room = Room(flat())
        before = dict(room.home.states)
        assert await room.say(intent("HassTurnOff", domain="light")) == "Turned off 3 lights in the living room."
        assert await room.say(UNDO) == (
            "The floor lamp is now at 40%, the ceiling light is on and the TV lamp is now at 100%."
        )
        assert room.home.states == before
        assert await room.say(UNDO) == "I haven't changed anything lately that I could undo."
        assert room.outcome == "failed"

    asyncio.run(scene())


def test_undo_goes_back_step_by_step_and_only_here() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOn", name="switch.coffee"))
        await room.say(intent("HassLightSet", name="light.floor", color="red", brightness=10))
        assert await room.say(UNDO, context=NOWHERE) == "I haven't changed anything lately that I could undo."
        assert (await room.say(UNDO)).startswith("The floor lamp is now at 40%")
        assert await room.say(UNDO) == "The coffee machine is off."

    asyncio.run(scene())


def test_undo_is_honest_about_what_does_not_go_back() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOn", name="scene.movie"), intent("HassTurnOn", name="light.kitchen"))
        assert await room.say(UNDO) == "The kitchen lamp is off. I can't undo what Movie night did."
        await room.say(intent("HassTurnOn", name="light.kitchen"))
        await room.say(intent("HassStartTimer", minutes=5))
        assert await room.say(UNDO) == "That is nothing I can undo: start timer."
        room.home.states["fan.bedroom"] = State()
        await room.say(intent("HassTurnOn", name="fan.bedroom"))
        assert await room.say(UNDO) == "I don't know how the bedroom fan was before."

    asyncio.run(scene())


def test_undo_asks_before_it_unlocks_what_was_locked() -> None:
    async def scene() -> None:
        room = Room(flat())
        room.home.states["lock.front"] = State(value="unlocked")
        await room.say(intent("HassTurnOn", name="lock.front"))
        assert await room.say(UNDO) == "Unlock the front door?"
        assert await room.hear("yes") == "The front door is unlocked."

    asyncio.run(scene())


def test_undo_obeys_the_policy_too() -> None:
    async def scene() -> None:
        room = Room(flat(), policy=Policy(PolicySection(entities={"Front door": "refuse"})))
        room.home.states["lock.front"] = State(value="unlocked")
        await room.say(intent("HassTurnOn", name="lock.front"))
        assert await room.say(UNDO) == "I may not unlock the front door by voice."

    asyncio.run(scene())


def test_a_device_that_did_not_answer_can_be_undone_once_it_does() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOn", name="switch.coffee"))
        room.home.broken["switch.coffee"] = "unconfirmed"
        assert await room.say(UNDO) == "The coffee machine did not answer."
        room.home.broken.clear()
        assert await room.say(UNDO) == "The coffee machine is off."

    asyncio.run(scene())


def test_undo_forgets_after_some_minutes() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOn", name="switch.coffee"))
        room.now += 601
        assert await room.say(UNDO) == "I haven't changed anything lately that I could undo."

    asyncio.run(scene())


def test_what_is_remembered_is_bounded() -> None:
    async def scene() -> None:
        things = [Entity(f"light.{n}", "light", f"L {n}", features=frozenset({"on_off"})) for n in range(900)]
        home = MemoryHome({thing: State() for thing in things})
        deeds = Deeds(home, clock=lambda: 0.0)
        for _ in range(MAX_DEEDS + 10):
            await deeds.perform([Command("light.1", "turn_on")], Cause())
        assert len(deeds._log) == MAX_DEEDS
        for _ in range(10):
            await deeds.perform([Command(f"light.{n}", "turn_on") for n in range(900)], Cause())
        assert deeds._entities <= MAX_ENTITIES

    asyncio.run(scene())


def test_why_tells_what_was_heard_and_what_it_was_taken_for() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.say(WHY) == "I haven't done anything lately."
        await room.say(intent("HassTurnOff", domain="light"), text="lights off")
        room.now += 20
        expected = (
            '20 seconds ago I heard "lights off" in the living room. '
            "I took it as: turn off the floor lamp, the ceiling light and the TV lamp. That was on n."
        )
        assert await room.say(WHY) == expected
        assert await room.say(WHY) == expected, "asking why is nothing that was done"
        await room.say(intent("HassGetCurrentTime"), text="what time is it")
        assert await room.say(WHY) == (
            'Just now I heard "what time is it" in the living room. I took it as: get current time. That was on n.'
        )

    asyncio.run(scene())


def test_the_trace_has_the_same_reason() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOn", name="light.kitchen"), text="kitchen lamp on")
        assert room.recorder.trace().why == "I took it as: turn on the kitchen lamp."
        await room.hear("gibberish")
        assert room.recorder.trace().why == "I found no command in it that I know."

    asyncio.run(scene())


def test_why_after_a_yes_tells_of_the_question() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOff", name="lock.front"), text="unlock the door")
        await room.hear("yes")
        told = (
            'Just now I heard "unlock the door" in the living room. '
            "I asked, and you said yes. So I took it as: unlock the front door. That was on n."
        )
        assert await room.say(WHY) == told
        assert await room.say(Intent("Why", {"name": "lock.front"})) == told

    asyncio.run(scene())


def test_why_of_a_thing_tells_who_did_it() -> None:
    async def scene() -> None:
        room = Room(flat())
        rule = Context(area="Kitchen", origin="rule", cause="rule 1")
        await room.say(intent("HassTurnOn", name="light.kitchen"), context=rule)
        room.now += 110
        why_lamp = Intent("Why", {"name": "light.kitchen"})
        assert await room.say(why_lamp) == "2 minutes ago rule 1 had me turn on the kitchen lamp."
        assert await room.say(Intent("Why", {"name": "light.tv"})) == (
            "I have done nothing to the TV lamp in the last hour. Something else did, or somebody by hand."
        )
        in_the_kitchen = Context("kit", "Kitchen")
        assert await room.say(WHY, context=in_the_kitchen) == ("2 minutes ago rule 1 had me turn on the kitchen lamp.")
        assert await room.say(intent("HassTurnOff", name="it"), context=in_the_kitchen) == "The kitchen lamp is off."

    asyncio.run(scene())
