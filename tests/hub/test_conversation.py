from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import pytest

from hub.conversation import Answer, Conversation
from hub.home.entity import Command, Entity, State
from hub.intent import Context, Intent
from hub.policy import Policy
from hub.skills.skill import Home
from hub.timers import Timers
from swarm.engine import ChatMessage
from swarm.errors import EngineError, StorageError
from swarm.trace import TraceRecorder
from tests.hub.memory_home import MemoryHome, flat
from tests.hub.test_timers import MemoryStore, VirtualClock, settle

SOFA = Context(satellite="sofa", area="Living room")
NOWHERE = Context(satellite="kit")
TYPED = Context()


class Script:
    """Understands exactly the sentences it was given."""

    def __init__(self) -> None:
        self.sentences: dict[str, tuple[Intent, ...]] = {
            "yes": (Intent("Confirm"),),
            "no": (Intent("Deny"),),
            "never mind": (Intent("HassNevermind"),),
            "repeat": (Intent("Repeat"),),
            "stop": (Intent("Stop"),),
            "help": (Intent("Help"),),
        }

    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        return self.sentences.get(text, ())


@dataclass
class Speakers:
    volumes: dict[str, int] = field(default_factory=lambda: {"sofa": 50, "kit": 50})
    stopped: list[str] = field(default_factory=list)

    def in_area(self, area: str) -> tuple[str, ...]:
        return ("sofa",) if area == "Living room" else ()

    def volume(self, satellite: str) -> int | None:
        return self.volumes.get(satellite)

    async def set_volume(self, satellite: str, percent: int) -> bool:
        self.volumes[satellite] = percent
        return True

    async def stop_speaking(self, satellite: str) -> None:
        self.stopped.append(satellite)


class Model:
    """Streams `pieces`; an exception among them is raised."""

    name = "model"

    def __init__(self, *pieces: str | Exception, there: bool = True) -> None:
        self.pieces = pieces
        self.there = there
        self.asked: list[Sequence[ChatMessage]] = []
        self.closed = False

    async def available(self) -> str | None:
        return "tiny" if self.there else None

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncIterator[str]:
        self.asked.append(messages)
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed = True

    async def close(self) -> None:
        pass


class HomeOfTests(Home, Protocol):
    performed: list[tuple[Command, ...]]


AnyHome = TypeVar("AnyHome", bound=HomeOfTests)


class Room(Generic[AnyHome]):
    """A conversation with everything around it in memory."""

    def __init__(self, home: AnyHome, model: Model | None = None, policy: Policy | None = None) -> None:
        self.home = home
        self.script = Script()
        self.clock = VirtualClock()
        self.store = MemoryStore()
        self.timers = Timers(self.store, self.clock)
        self.speakers = Speakers()
        self.now = 1000.0
        self.recorder = TraceRecorder("u", node="n", source="text")
        self.conversation = Conversation(
            understanding=self.script,
            home=self.home,
            timers=self.timers,
            satellites=self.speakers,
            generator=model,
            policy=policy,
            local_time=lambda: datetime(2026, 11, 21, 19, 5),
            clock=lambda: self.now,
        )

    async def ask(self, text: str, context: Context = SOFA) -> Answer:
        self.recorder = TraceRecorder("u", node="n", source="text")
        return await self.conversation.answer(text, context=context, recorder=self.recorder)

    async def say(self, *intents: Intent, context: Context = SOFA, text: str = "said") -> str:
        self.script.sentences[text] = intents
        return await self.hear(text, context)

    async def hear(self, text: str, context: Context = SOFA) -> str:
        answer = await self.ask(text, context)
        sentences = [sentence async for sentence in answer.sentences]
        self.follow_up, self.outcome, self.cue = answer.follow_up, answer.outcome, answer.cue
        assert " ".join(sentences) == answer.text
        return answer.text

    def commands(self) -> list[tuple[str, str, float | str | None]]:
        return [(command.entity_id, command.verb, command.value) for batch in self.home.performed for command in batch]


def told(
    *intents: Intent, context: Context = SOFA, home: MemoryHome | None = None
) -> tuple[str, list[Any], Room[MemoryHome]]:
    room = Room(home or flat())
    text = asyncio.run(room.say(*intents, context=context))
    return text, room.commands(), room


def intent(name: str, /, **slots: str | int | float) -> Intent:
    return Intent(name, slots)


ACTIONS: list[tuple[Intent, list[tuple[str, str, float | str | None]], str]] = [
    (intent("HassTurnOn", name="light.kitchen"), [("light.kitchen", "turn_on", None)], "The kitchen lamp is on."),
    (intent("HassTurnOff", name="light.tv"), [("light.tv", "turn_off", None)], "The TV lamp is off."),
    (intent("HassTurnOn", name="switch.coffee"), [("switch.coffee", "turn_on", None)], "The coffee machine is on."),
    (intent("HassToggle", name="light.floor"), [("light.floor", "toggle", None)], "The floor lamp is off."),
    (
        intent("HassLightSet", name="light.kitchen", brightness=50),
        [("light.kitchen", "set_brightness", 50.0)],
        "The kitchen lamp is now at 50%.",
    ),
    (
        intent("HassLightSet", name="light.kitchen", brightness=0),
        [("light.kitchen", "turn_off", None)],
        "The kitchen lamp is off.",
    ),
    (
        intent("HassLightSet", name="light.kitchen", brightness=30, color="red"),
        [("light.kitchen", "set_brightness", 30.0), ("light.kitchen", "set_color", "red")],
        "The kitchen lamp is now at 30% and is now red.",
    ),
    (
        intent("HassLightSet", name="light.kitchen", temperature=2700),
        [("light.kitchen", "set_color_temperature", 2700.0)],
        "The kitchen lamp is now at 2700 K.",
    ),
    (
        intent("ChangeBrightness", name="light.floor"),
        [("light.floor", "change_brightness", 20.0)],
        "The floor lamp is now at 60%.",
    ),
    (
        intent("ChangeBrightness", name="light.floor", direction="down", step=10),
        [("light.floor", "change_brightness", -10.0)],
        "The floor lamp is now at 30%.",
    ),
    (intent("HassTurnOn", name="cover.blind"), [("cover.blind", "open", None)], "The living room blind is open."),
    (intent("HassTurnOff", name="cover.blind"), [("cover.blind", "close", None)], "The living room blind is closed."),
    (
        intent("HassSetPosition", name="cover.blind", position=40),
        [("cover.blind", "set_position", 40.0)],
        "The living room blind is now 40% open.",
    ),
    (
        intent("CoverStop", domain="cover", device_class="blind"),
        [("cover.blind", "stop", None)],
        "The living room blind has stopped at 100%.",
    ),
    (
        intent("HassFanSetSpeed", name="fan.bedroom", percentage=70),
        [("fan.bedroom", "set_speed", 70.0)],
        "The bedroom fan is now at 70%.",
    ),
    (
        intent("HassClimateSetTemperature", temperature=22.5),
        [("climate.living", "set_temperature", 22.5)],
        "The thermostat is set to 22.5 °C.",
    ),
    (intent("HassTurnOff", name="climate.living"), [("climate.living", "set_mode", "off")], "The thermostat is off."),
    (intent("HassTurnOn", name="lock.front"), [("lock.front", "lock", None)], "The front door is locked."),
    (intent("HassTurnOn", name="scene.movie"), [("scene.movie", "activate", None)], "Movie night is activated."),
    (intent("HassTurnOn", name="button.bell"), [("button.bell", "press", None)], "The doorbell was pressed."),
    (
        intent("HassTurnOff", domain="light"),
        [("light.floor", "turn_off", None), ("light.ceiling", "turn_off", None), ("light.tv", "turn_off", None)],
        "Turned off 3 lights in the living room.",
    ),
    (
        intent("HassTurnOn", domain="light", area="kitchen"),
        [("light.kitchen", "turn_on", None), ("light.counter", "turn_on", None)],
        "Turned on 2 lights in the kitchen.",
    ),
    (
        intent("HassTurnOn", domain="light", area="Bedroom"),
        [("light.bedroom", "turn_on", None)],
        "The bedroom lamp is on.",
    ),
    (
        intent("HassLightSet", domain="light", area="Living room", brightness=20),
        [("light.floor", "set_brightness", 20.0), ("light.tv", "set_brightness", 20.0)],
        "Set 2 lights in the living room to 20%.",
    ),
    (
        intent("HassTurnOff", domain="cover", device_class="shutter"),
        [("cover.blind", "close", None)],
        "The living room blind is closed.",
    ),
    (
        intent("HassTurnOff", domain="everything", area="Bedroom"),
        [("light.bedroom", "turn_off", None), ("fan.bedroom", "turn_off", None)],
        "Turned off 2 devices in the bedroom.",
    ),
]


@pytest.mark.parametrize(("said", "commands", "words"), ACTIONS, ids=[words for _, _, words in ACTIONS])
def test_an_intent_becomes_commands_and_words(
    said: Intent, commands: list[tuple[str, str, float | str | None]], words: str
) -> None:
    text, sent, room = told(said)
    assert sent == commands
    assert text == words
    assert room.outcome == "done"
    assert "action_confirmed" in {mark.stage for mark in room.recorder.trace().marks}


def test_everything_off_leaves_locks_covers_and_heating_alone() -> None:
    _, sent, _ = told(intent("HassTurnOff", domain="everything", all="yes"))
    assert {entity_id.split(".")[0] for entity_id, _, _ in sent} == {"light", "switch", "fan"}
    assert len(sent) == 8


def test_several_intents_are_sent_at_once_and_told_in_one_sentence() -> None:
    text, _, room = told(
        intent("HassTurnOn", name="light.kitchen"),
        intent("HassTurnOn", name="light.bedroom"),
        intent("HassTurnOff", name="cover.blind"),
    )
    assert len(room.home.performed) == 1
    assert text == "The kitchen lamp and the bedroom lamp are on and the living room blind is closed."


def test_different_skills_work_at_the_same_time_and_answer_in_order() -> None:
    async def scene() -> None:
        room = Room(flat())
        room.home.gate = asyncio.Event()
        answering = asyncio.create_task(
            room.say(intent("HassTurnOn", name="light.kitchen"), intent("HassStartTimer", minutes=5))
        )
        await settle()
        assert room.timers.all()  # set while the lamp still hesitates
        assert not answering.done()
        room.home.gate.set()
        async with asyncio.timeout(5):
            assert await answering == "The kitchen lamp is on. Timer set for 5 minutes."

    asyncio.run(scene())


def test_what_was_said_last_about_a_device_wins() -> None:
    _, sent, room = told(intent("HassTurnOff", domain="light", all="yes"), intent("HassTurnOn", name="light.tv"))
    assert ("light.tv", "turn_on", None) in sent
    assert ("light.tv", "turn_off", None) not in sent
    assert room.home.state("light.tv").value == "on"
    _, sent, _ = told(intent("HassTurnOn", name="light.tv"), intent("HassLightSet", name="light.tv", brightness=10))
    assert sent == [("light.tv", "set_brightness", 10.0)]


@pytest.mark.parametrize(
    ("result", "words", "outcome"),
    [
        ("unconfirmed", "The bedroom lamp did not answer.", "unconfirmed"),
        ("bus_down", "I can't reach the devices right now: the MQTT broker is down.", "unavailable"),
    ],
)
def test_a_command_that_is_not_confirmed_is_not_claimed(result: Any, words: str, outcome: str) -> None:
    home = flat()
    home.broken["light.bedroom"] = result
    text, _, room = told(intent("HassTurnOn", name="light.bedroom"), home=home)
    assert (text, room.outcome) == (words, outcome)
    assert "action_confirmed" not in {mark.stage for mark in room.recorder.trace().marks}


def test_an_offline_device_is_named() -> None:
    home = flat()
    home.states["lock.front"] = State(available=False, value="locked")
    text, _, room = told(intent("HassTurnOff", name="lock.front"), home=home)
    assert (text, room.outcome, room.follow_up) == ("The front door is offline.", "unavailable", False)


def test_a_thing_that_cannot_do_it_is_named() -> None:
    text, _, room = told(intent("HassLightSet", name="light.ceiling", brightness=50))
    assert (text, room.outcome) == ("The ceiling light can't be dimmed.", "failed")


def test_of_a_room_where_nothing_can_do_it_that_is_said() -> None:
    text, sent, _ = told(intent("HassLightSet", domain="light", area="Bedroom", color="red"))
    assert text == "None of the lights in the bedroom can change color."
    assert sent == []


def test_partial_success_names_what_failed() -> None:
    home = flat()
    home.broken["light.tv"] = "unconfirmed"
    text, _, room = told(intent("HassTurnOff", domain="light"), home=home)
    assert text == "Turned off 2 lights in the living room, but the TV lamp did not answer."
    assert room.outcome == "unconfirmed"
    text, _, _ = told(intent("HassLightSet", name="light.floor", brightness=9, temperature=2700))
    assert text == "The floor lamp is now at 9%, but it can't change color temperature."


def test_equal_names_are_told_apart_by_their_rooms() -> None:
    home = MemoryHome(
        {
            Entity("light.a", "light", "Lamp", "Kitchen", features=frozenset({"on_off"})): State(),
            Entity("light.b", "light", "Lamp", "Hall", features=frozenset({"on_off"})): State(),
        }
    )
    assert told(intent("HassTurnOn", name="light.b"), home=home)[0] == "The lamp in the hall is on."


def test_a_room_that_does_not_exist_or_has_no_such_thing_is_said() -> None:
    assert told(intent("HassTurnOn", domain="light", area="Cellar"))[0] == "I don't know a room called Cellar."
    assert told(intent("HassTurnOn", domain="fan", area="Kitchen"))[0] == "There are no fans in the kitchen."
    assert told(intent("HassTurnOn", domain="siren"))[0] == "There are no sirens that I know of."
    assert told(intent("HassTurnOn", name="light.gone"))[0] == "I don't know that device any more."


def test_without_a_room_it_asks_and_the_room_alone_completes_the_command() -> None:
    async def scene() -> None:
        room = Room(flat())
        said = intent("HassTurnOff", domain="light")
        assert await room.say(said, context=NOWHERE) == "Which room: Kitchen, Living room or Bedroom?"
        assert room.follow_up
        assert room.commands() == []
        assert await room.hear("in the living room please", NOWHERE) == "Turned off 3 lights in the living room."
        assert room.recorder.trace().intent == "HassTurnOff"
        await room.say(said, context=NOWHERE)
        assert await room.hear("everywhere", NOWHERE) == "Turned off 6 lights."
        await room.say(said, context=NOWHERE)
        assert await room.hear("i meant the kitchen of course", NOWHERE) == "Turned off 2 lights in the kitchen."

    asyncio.run(scene())


def test_yes_to_which_room_asks_again_and_another_command_drops_the_question() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassTurnOff", domain="light"), context=NOWHERE)
        assert (await room.hear("yes", NOWHERE)).startswith("Which room")
        assert room.follow_up
        assert (
            await room.say(intent("HassTurnOn", name="switch.coffee"), context=NOWHERE) == "The coffee machine is on."
        )
        assert (await room.hear("kitchen", NOWHERE)).startswith("I didn't understand")

    asyncio.run(scene())


UNLOCK = intent("HassTurnOff", name="lock.front")


def test_unlocking_asks_first_and_waits_for_yes() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.say(UNLOCK) == "Unlock the front door?"
        assert room.follow_up
        assert room.commands() == []
        assert await room.hear("yes") == "The front door is unlocked."
        assert room.commands() == [("lock.front", "unlock", None)]
        assert await room.say(UNLOCK) == "The front door is already unlocked."

    asyncio.run(scene())


@pytest.mark.parametrize("answer", ["no", "never mind"])
def test_no_leaves_the_door_locked_for_good(answer: str) -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(UNLOCK)
        assert await room.hear(answer) == "OK, I left it locked."
        assert room.outcome == "cancelled"
        assert await room.hear("yes") == "I didn't ask you anything."
        assert room.commands() == []

    asyncio.run(scene())


def test_a_late_yes_or_a_yes_elsewhere_unlocks_nothing() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(UNLOCK)
        assert await room.hear("yes", NOWHERE) == "I didn't ask you anything."
        room.now += 31
        assert await room.hear("yes") == 'I asked "Unlock the front door?" too long ago. Please say it again.'
        assert await room.hear("yes") == "I didn't ask you anything."
        assert room.commands() == []

    asyncio.run(scene())


def test_unlocking_beside_other_things_does_those_and_asks_for_the_door() -> None:
    async def scene() -> None:
        room = Room(flat())
        text = await room.say(intent("HassTurnOn", name="light.kitchen"), UNLOCK)
        assert text == "The kitchen lamp is on. Unlock the front door?"
        assert room.commands() == [("light.kitchen", "turn_on", None)]
        answer = await room.ask("repeat")
        assert answer.follow_up
        assert [sentence async for sentence in answer.sentences] == [
            "The kitchen lamp is on.",
            "Unlock the front door?",
        ]
        assert await room.hear("yes") == "The front door is unlocked."
        assert len(room.commands()) == 2

    asyncio.run(scene())


def test_a_question_survives_an_answer_that_was_not_heard_once() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(UNLOCK)
        assert await room.hear("") == "Sorry, I didn't catch that."
        assert room.follow_up
        assert await room.hear("yes") == "The front door is unlocked."

    asyncio.run(scene())


QUESTIONS = [
    (intent("HassGetState", name="lock.front", state="locked"), "Yes, the front door is locked."),
    (intent("HassGetState", name="lock.front", state="unlocked"), "No, the front door is locked."),
    (intent("HassGetState", name="light.floor"), "The floor lamp is on at 40%."),
    (intent("HassGetState", name="cover.blind", state="closed"), "No, the living room blind is open."),
    (intent("HassGetState", name="binary_sensor.window", state="on"), "No, the bedroom window is closed."),
    (intent("HassGetState", name="binary_sensor.window", state="closed"), "Yes, the bedroom window is closed."),
    (intent("HassGetState", name="sensor.bath_humidity"), "The bathroom humidity is 55.2%."),
    (intent("HassGetState", name="climate.living"), "The thermostat is set to 21 °C and measures 20.5 °C."),
    (intent("HassGetState", name="scene.movie"), "Movie night has no state."),
    (
        intent("HassGetState", domain="sensor", device_class="humidity", area="Bathroom"),
        "The humidity in the bathroom is 55.2%.",
    ),
    (intent("HassGetState", domain="sensor", device_class="humidity"), "The humidity in the bathroom is 55.2%."),
    (
        intent("HassGetState", domain="sensor", device_class="humidity", area="Kitchen"),
        "Nothing measures the humidity in the kitchen.",
    ),
    (intent("HassGetState", domain="sensor", device_class="pm25"), "Nothing measures the fine dust."),
    (intent("ListOn", domain="light", area="Living room"), "The floor lamp, the ceiling light and the TV lamp are on."),
    (intent("ListOn", domain="light", area="Bedroom"), "No lights in the bedroom are on."),
    (
        intent("ListOn", domain="light"),
        "The counter light, the floor lamp, the ceiling light and the TV lamp are on.",
    ),
    (intent("HassGetState", domain="light", state="on", response="how_many"), "4 lights are on."),
    (
        intent("HassGetState", domain="light", area="Kitchen", state="on", response="any"),
        "Yes, the counter light is on.",
    ),
    (
        intent("HassGetState", domain="light", area="Kitchen", state="on", response="all"),
        "No, the kitchen lamp is not on.",
    ),
    (
        intent("HassGetState", domain="light", area="Living room", state="on", response="all"),
        "Yes, all 3 lights in the living room are on.",
    ),
    (
        intent("HassGetState", domain="binary_sensor", device_class="window", state="on", response="any"),
        "No windows are open.",
    ),
    (intent("HassClimateGetTemperature"), "The temperature in the living room is 20.5 °C."),
    (intent("HassClimateGetTemperature", area="Bathroom"), "The temperature in the bathroom is 23 °C."),
    (intent("HassClimateGetTemperature", area="Hall"), "Nothing measures the temperature in the hall."),
    (intent("HassGetCurrentTime"), "It's 7:05 PM."),
    (intent("HassGetCurrentDate"), "It's Saturday, November 21, 2026."),
    (intent("Greeting"), "Hello."),
    (intent("Thanks"), "You're welcome."),
]


@pytest.mark.parametrize(("said", "words"), QUESTIONS, ids=[f"{i}-{words}" for i, (_, words) in enumerate(QUESTIONS)])
def test_a_question_is_answered_from_what_devices_reported(said: Intent, words: str) -> None:
    text, sent, _ = told(said)
    assert text == words
    assert sent == []


def test_a_device_that_never_reported_or_is_offline_is_not_guessed_at() -> None:
    home = flat()
    home.states["light.tv"] = State()
    home.states["light.floor"] = State(available=False, value="on")
    home.states["sensor.bath_humidity"] = State(available=False, value="55")
    room = Room(home)

    async def scene() -> None:
        assert await room.say(intent("HassGetState", name="light.tv", state="on")) == (
            "I don't know: the TV lamp has not reported yet."
        )
        assert await room.say(intent("HassGetState", name="light.floor", state="on")) == "The floor lamp is offline."
        assert await room.say(intent("ListOn", domain="light", area="Living room")) == (
            "The ceiling light is on. I can't tell for the floor lamp and the TV lamp."
        )
        assert await room.say(intent("HassGetState", domain="sensor", device_class="humidity", area="Bathroom")) == (
            "The sensor for the humidity in the bathroom does not answer."
        )

    asyncio.run(scene())


def test_when_no_device_can_be_reached_a_question_is_answered_with_that() -> None:
    home = flat()
    home.states = {key: State(available=False, value=state.value) for key, state in home.states.items()}
    room = Room(home)
    for question in (
        intent("HassGetState", name="lock.front", state="locked"),
        intent("ListOn", domain="light"),
        intent("HassClimateGetTemperature"),
    ):
        assert asyncio.run(room.say(question)) == "I can't reach any device right now."
        assert room.outcome == "unavailable"


def test_the_temperature_without_a_room_is_told_for_all_rooms() -> None:
    text, _, _ = told(intent("HassClimateGetTemperature"), context=NOWHERE)
    assert text == "The temperature is 23 °C in the bathroom and 20.5 °C in the living room."


def test_it_means_what_was_spoken_of_last() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert "don't know which" in await room.say(intent("HassTurnOff", name="it"))
        await room.say(intent("HassTurnOn", name="light.kitchen"))
        assert await room.say(intent("HassLightSet", name="it", color="blue")) == "The kitchen lamp is now blue."
        room.now += 121
        assert "don't know which" in await room.say(intent("HassTurnOff", name="it"))

    asyncio.run(scene())


def test_repeat_says_the_last_answer_again_and_not_that_of_another_satellite() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.hear("repeat") == "I haven't said anything lately."
        await room.say(intent("HassTurnOn", name="light.kitchen"))
        assert await room.hear("repeat") == "The kitchen lamp is on."
        assert await room.hear("repeat") == "The kitchen lamp is on."
        assert await room.hear("repeat", NOWHERE) == "I haven't said anything lately."
        room.now += 601
        assert await room.hear("repeat") == "I haven't said anything lately."

    asyncio.run(scene())


def test_stop_is_silent_and_stops_speech() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.hear("stop") == ""
        assert room.cue == "done"
        assert room.speakers.stopped == ["sofa"]
        assert await room.hear("stop", TYPED) == "Stopped."
        assert await room.hear("never mind") == ""
        assert room.outcome == "cancelled"
        assert await room.hear("never mind", TYPED) == "OK."

    asyncio.run(scene())


def test_what_was_not_heard_is_apologised_for_once_then_only_sounded() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.hear("  ") == "Sorry, I didn't catch that."
        assert await room.hear("") == ""
        assert (room.cue, room.outcome) == ("error", "not_understood")
        await room.say(intent("Greeting"))
        assert await room.hear("") == "Sorry, I didn't catch that."
        room.now += 61
        assert await room.hear("") == "Sorry, I didn't catch that."

    asyncio.run(scene())


def test_what_was_not_understood_is_answered_with_what_this_home_can_do() -> None:
    async def scene() -> None:
        text = await Room(flat()).hear("sing me a song")
        assert (
            text == "I didn't understand that. I can switch lights on and off, dim them, change their color and more."
        )
        bare = Room(MemoryHome({}), Model(there=False))
        assert await bare.hear("sing me a song") == (
            "I didn't understand that. I can set timers, tell the time and the date and change the volume."
        )
        assert bare.outcome == "not_understood"
        assert bare.recorder.trace().intent == ""

    asyncio.run(scene())


def test_help_names_all_that_this_home_has_and_an_example_of_this_room() -> None:
    text = asyncio.run(Room(flat()).hear("help"))
    assert "lock and unlock doors" in text
    assert text.endswith('Try: "turn on the floor lamp".')


def test_heating_and_sensors_elsewhere_are_meant_where_this_room_has_none() -> None:
    kitchen = Context(satellite="kit", area="Kitchen")
    text, _, _ = told(intent("HassClimateSetTemperature", temperature=22, area="Kitchen"), context=kitchen)
    assert text == "The thermostat is set to 22 °C."
    assert told(intent("HassClimateSetTemperature", temperature=22, area="Hall"), context=kitchen)[0] == (
        "There are no thermostats in the hall."
    )
    asked = intent("HassGetState", domain="sensor", device_class="humidity", area="Kitchen")
    assert told(asked, context=kitchen)[0] == "The humidity in the bathroom is 55.2%."
    fans = intent("HassTurnOn", domain="fan", area="Kitchen")
    assert told(fans, context=kitchen)[0] == "There are no fans in the kitchen."


def test_volume_is_set_on_the_satellite_that_was_spoken_to() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.say(intent("HassSetVolume", volume_level=30)) == "Volume is at 30%."
        assert room.speakers.volumes == {"sofa": 30, "kit": 50}
        assert await room.say(intent("HassSetVolumeRelative", volume_step="up")) == "Volume is at 40%."
        assert await room.say(intent("HassSetVolumeRelative", volume_step=-25)) == "Volume is at 15%."
        assert await room.say(intent("HassSetVolumeRelative", volume_step="down")) == "Volume is at 5%."
        assert await room.say(intent("HassSetVolumeRelative", volume_step="down")) == "Volume is at 5%."
        assert await room.say(intent("HassSetVolume", area="Living room", volume_level=80), context=TYPED) == (
            "Volume is at 80%."
        )
        assert await room.say(intent("HassSetVolume", volume_level=80), context=TYPED) == (
            "No voice satellite is connected here."
        )

    asyncio.run(scene())


def test_an_intent_that_no_skill_does_is_not_understood() -> None:
    text, _, room = told(intent("HassShoppingListAddItem"))
    assert text.startswith("I didn't understand that.")
    assert room.outcome == "not_understood"


def test_an_error_of_a_skill_becomes_an_answer() -> None:
    class Broken(MemoryHome):
        async def perform(self, commands: Sequence[Command], timeout_s: float | None = None) -> Any:
            raise StorageError("the disk is full")

    room = Room(Broken({Entity("light.a", "light", "Lamp", "Hall", features=frozenset({"on_off"})): State()}))
    assert asyncio.run(room.say(intent("HassTurnOn", name="light.a"))) == "That did not work: the disk is full."
    assert room.outcome == "failed"


# ---- timers by voice


def test_timers_are_set_told_and_cancelled_by_name() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.say(intent("HassTimerStatus")) == "There is no timer."
        assert await room.say(intent("HassStartTimer", minutes=5)) == "Timer set for 5 minutes."
        assert await room.say(intent("HassStartTimer", hours=1, minutes=30, name="pizza")) == (
            "Pizza timer set for 1 hour 30 minutes."
        )
        await room.clock.advance(60)
        assert await room.say(intent("HassTimerStatus")) == (
            "There are 2 timers: 4 minutes left on the timer for 5 minutes and "
            "1 hour 29 minutes left on the pizza timer."
        )
        assert await room.say(intent("HassCancelTimer", name="Pizza")) == "The pizza timer is cancelled."
        assert await room.say(intent("HassIncreaseTimer", minutes=2)) == "The timer has 6 minutes left now."
        assert await room.say(intent("HassDecreaseTimer", minutes=10)) == "The timer has only 6 minutes left."
        assert await room.say(intent("HassDecreaseTimer", minutes=1)) == "The timer has 5 minutes left now."
        assert await room.say(intent("HassPauseTimer")) == "The timer is paused with 5 minutes left."
        await room.clock.advance(60)
        assert await room.say(intent("HassTimerStatus")) == "The timer has 5 minutes left, paused."
        assert await room.say(intent("HassUnpauseTimer")) == "The timer goes on with 5 minutes left."
        assert await room.say(intent("HassCancelTimer", name="tea")) == "There is no tea timer."
        assert await room.say(intent("HassCancelAllTimers")) == "The timer is cancelled."
        assert room.store.rows == {}

    asyncio.run(scene())


@pytest.mark.parametrize("answer", ["the ten minute one", "10 minutes", "the second one", "the last one please"])
def test_which_timer_is_asked_when_several_fit(answer: str) -> None:
    async def scene() -> None:
        room = Room(flat())
        assert await room.say(intent("HassStartTimer", minutes=5), intent("HassStartTimer", minutes=10)) == (
            "2 timers set: 5 minutes and 10 minutes."
        )
        assert await room.say(intent("HassCancelTimer")) == "Which timer: 5 minutes or 10 minutes?"
        assert room.follow_up
        assert await room.hear(answer) == "The timer for 10 minutes is cancelled."
        assert [timer.duration_s for timer, _ in room.timers.all()] == [300]

    asyncio.run(scene())


def test_of_several_timers_the_one_set_here_is_meant() -> None:
    async def scene() -> None:
        room = Room(flat())
        await room.say(intent("HassStartTimer", minutes=5), context=NOWHERE)
        await room.say(intent("HassStartTimer", minutes=10))
        assert await room.say(intent("HassCancelTimer")) == "The timer for 10 minutes is cancelled."
        assert await room.say(intent("HassCancelTimer", start_minutes=5)) == "The timer is cancelled."

    asyncio.run(scene())


def test_timers_that_cannot_be_are_refused() -> None:
    async def scene() -> None:
        room = Room(flat())
        assert (await room.say(intent("HassStartTimer"))).startswith("For how long?")
        assert await room.say(intent("HassStartTimer", hours=101)) == "A timer can be at most 4 days 4 hours long."
        assert (await room.say(intent("HassStartTimer", minutes=1, conversation_command="lights off"))).startswith(
            "I can't do things later"
        )
        assert room.timers.all() == ()
        room.store.full = True
        assert await room.say(intent("HassStartTimer", minutes=5)) == (
            "Timer set for 5 minutes. I could not save that, so it is lost if I restart."
        )

    asyncio.run(scene())


# ---- the language model


def test_what_is_no_command_goes_to_the_model_with_the_home_and_the_last_turns() -> None:
    async def scene() -> None:
        model = Model("Paris is ", "the capital. It", " has 2.1 million people. Want more?")
        room = Room(flat(), model=model)
        await room.say(intent("HassTurnOn", name="light.kitchen"), text="kitchen on")
        answer = await room.ask("what is the capital of france")
        assert answer.intent == "language_model"
        assert [sentence async for sentence in answer.sentences] == [
            "Paris is the capital.",
            "It has 2.1 million people.",
            "Want more?",
        ]
        assert answer.follow_up
        trace = room.recorder.trace()
        assert (trace.intent, trace.outcome) == ("language_model", "done")
        assert trace.answer == "Paris is the capital. It has 2.1 million people. Want more?"
        assert [mark.stage for mark in trace.marks] == ["intent", "first_token"]
        (messages,) = model.asked
        assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
        assert messages[2].content == "The kitchen lamp is on."
        assert "Saturday, November 21, 2026" in messages[0].content
        assert "The kitchen lamp is on." in messages[0].content
        await room.hear("and of spain")
        assert model.asked[-1][-2].content.endswith("Want more?")
        room.now += 301
        await room.hear("and of italy")
        assert [message.role for message in model.asked[-1]] == ["system", "user"]

    asyncio.run(scene())


def test_the_first_sentence_comes_while_the_model_still_generates() -> None:
    class Slow(Model):
        async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncIterator[str]:
            yield "First sentence. Sec"
            await gate.wait()
            yield "ond one."

    async def scene() -> None:
        room = Room(flat(), model=Slow())
        answer = await room.ask("tell me two things")
        async with asyncio.timeout(5):
            sentences = aiter(answer.sentences)
            assert await anext(sentences) == "First sentence."
            gate.set()
            assert await anext(sentences) == "Second one."
            assert await anext(sentences, None) is None

    gate = asyncio.Event()
    asyncio.run(scene())


def test_a_model_that_breaks_off_is_said_so() -> None:
    async def scene() -> None:
        room = Room(flat(), model=Model("Well, this I know. But th", EngineError("connection lost")))
        assert await room.hear("tell me") == "Well, this I know. The language model stopped answering."
        assert (room.outcome, room.recorder.trace().outcome) == ("failed", "failed")
        assert room.recorder.trace().answer.endswith("stopped answering.")
        silent = Room(flat(), model=Model(EngineError("HTML")))
        assert await silent.hear("tell me") == "The language model did not answer."
        empty = Room(flat(), model=Model("", "<think>hm"))
        assert await empty.hear("tell me") == "The language model did not answer."
        assert empty.outcome == "failed"

    asyncio.run(scene())


def test_an_answer_that_is_closed_stops_the_model_and_what_was_heard_is_remembered() -> None:
    async def scene() -> None:
        model = Model("One. ", "Two. ", "Three. ")
        room = Room(flat(), model=model)
        answer = await room.ask("count")
        assert await anext(aiter(answer.sentences)) == "One."
        await answer.close()
        await answer.close()
        assert model.closed
        assert room.recorder.trace().outcome == "cancelled"
        assert room.recorder.trace().answer == "One."
        assert await room.hear("repeat") == "One."

    asyncio.run(scene())


# ---- after a hub was lost

TOLD_BEFORE = Context(satellite="sofa", area="Living room", told_before=True)


@pytest.mark.parametrize(
    "repeated",
    [
        intent("HassTurnOn", name="light.kitchen"),
        intent("HassLightSet", name="light.kitchen", brightness=50),
        intent("HassSetPosition", name="cover.blind", position=40),
        intent("HassSetVolume", volume_level=30),
        intent("HassGetCurrentTime"),
        intent("HassCancelAllTimers"),
    ],
)
def test_what_names_the_state_to_reach_is_done_again(repeated: Intent) -> None:
    assert told(repeated, context=TOLD_BEFORE)[:2] == told(repeated)[:2]


@pytest.mark.parametrize(
    "once",
    [
        intent("HassToggle", name="light.floor"),
        intent("ChangeBrightness", name="light.floor"),
        intent("HassSetVolumeRelative", volume_step="up"),
        intent("HassStartTimer", minutes=5),
        intent("HassCancelTimer"),
        intent("HassIncreaseTimer", minutes=5),
        intent("HassTurnOn", name="button.bell"),
    ],
)
def test_what_changes_with_each_time_is_left_to_the_person(once: Intent) -> None:
    home = flat()
    home.entities["button.bell"] = Entity("button.bell", "button", "Bell")
    text, commands, room = told(intent("HassTurnOn", name="light.kitchen"), once, context=TOLD_BEFORE, home=home)
    assert text == "That may be done already, so I did not do it again. If it is not, please say it once more."
    assert (commands, room.timers.all(), room.speakers.volumes["sofa"], room.outcome) == ([], (), 50, "unconfirmed")
