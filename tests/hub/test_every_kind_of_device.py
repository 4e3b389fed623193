"""Sentences of people through the real understanding, the real registry and a real broker to a device of every kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.conversation import Conversation
from hub.grammar import build_grammar
from hub.home.registry import Home
from hub.home.virtual_flat import VirtualFlat
from hub.intent import Context
from hub.sentences import load_templates
from hub.timers import Timers
from hub.understanding import Understanding
from swarm.broker import Broker, find_mosquitto
from swarm.bus import Bus
from swarm.config import BusSection
from swarm.trace import TraceRecorder
from tests.buses import background, free_port, until
from tests.hub.appliances import Appliance, house
from tests.hub.test_conversation import Speakers
from tests.hub.test_grammar import accepts
from tests.hub.test_timers import MemoryStore, VirtualClock

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")

HERE = Context("office", "Office")
Told = tuple[tuple[str, str], ...]
"""Last levels of the topics on which the device named was told something, and what."""

SENTENCES: list[tuple[str, str, Told, str]] = [
    # lights, switches, fans
    ("turn on the kitchen lamp", "Kitchen lamp", (("set", "ON"),), "The kitchen lamp is on."),
    ("set the kitchen lamp to 40 percent", "Kitchen lamp", (("dim/set", "102"),), "The kitchen lamp is now at 40%."),
    ("make the kitchen lamp red", "Kitchen lamp", (("rgb/set", "255,0,0"),), "The kitchen lamp is now red."),
    ("dim the kitchen lamp", "Kitchen lamp", (("dim/set", "51"),), "The kitchen lamp is now at 20%."),
    ("toggle the coffee machine", "Coffee machine", (("set", "ON"),), "The coffee machine is on."),
    ("toggle the coffee machine", "Coffee machine", (("set", "OFF"),), "The coffee machine is off."),
    ("set the bedroom fan to 70 percent", "Bedroom fan", (("speed/set", "70"),), "The bedroom fan is now at 70%."),
    ("make the bedroom fan swing", "Bedroom fan", (("oscillation/set", "oscillate_on"),),
     "The bedroom fan is swinging."),
    ("set the bedroom fan to sleep", "Bedroom fan", (("preset_mode/set", "sleep"),),
     "The bedroom fan is set to sleep."),
    # covers and valves
    ("close the office blinds", "Office blinds", (("set", "CLOSE"),), "The office blinds are closed."),
    ("set the office blinds to 30 percent", "Office blinds", (("position/set", "30"),),
     "The office blinds are now 30% open."),
    ("tilt the office blinds to 60 percent", "Office blinds", (("tilt/set", "60"),),
     "The office blinds are tilted to 60%."),
    ("open the blinds", "Office blinds", (("set", "OPEN"),), "The office blinds are open."),
    ("stop the blinds", "Office blinds", (("set", "STOP"),), "The office blinds have stopped at 100%."),
    ("open the water valve", "Water valve", (), "Open the water valve?"),
    ("yes", "Water valve", (("set", "OPEN"),), "The water valve is open."),
    ("is the water valve open", "Water valve", (), "Yes, the water valve is open."),
    ("close the water valve", "Water valve", (("set", "CLOSE"),), "The water valve is closed."),
    ("open the garage", "Garage", (), "Open the garage?"),
    ("no", "Garage", (), "OK, I left it as it is."),
    # locks and alarms
    ("lock the front door", "Front door", (("set", "LOCK"),), "The front door is locked."),
    ("unlock the front door", "Front door", (), "Unlock the front door?"),
    ("yes please", "Front door", (("set", "UNLOCK"),), "The front door is unlocked."),
    ("lock all doors", "Front door", (("set", "LOCK"),), "The front door is locked."),
    ("unlock all doors", "Front door", (), "Unlock the front door?"),
    ("never mind", "Front door", (), "OK, I left it locked."),
    ("arm the alarm", "Alarm", (("set", "ARM_AWAY"),), "The alarm is armed (away)."),
    ("is the alarm armed", "Alarm", (), "Yes, the alarm is armed (away)."),
    ("arm the alarm in night mode", "Alarm", (("set", "ARM_NIGHT"),), "The alarm is armed (night)."),
    ("disarm the alarm", "Alarm", (), "Disarm the alarm?"),
    ("yes", "Alarm", (("set", "DISARM"),), "The alarm is disarmed."),
    # air and water
    ("set the temperature to 22 degrees", "Thermostat", (("temperature/set", "22"),), "The thermostat is set to 22°."),
    ("set the thermostat to 50 degrees", "Thermostat", (), "The thermostat can only be set from 5° to 30°."),
    ("set the thermostat to eco", "Thermostat", (("preset_mode/set", "eco"),), "The thermostat is set to eco."),
    ("set the thermostat to cool mode", "Thermostat", (("mode/set", "cool"),), "The thermostat is set to cool."),
    ("set the thermostat to wool", "Thermostat", (), "The thermostat can't be set to wool, only to off, heat or cool."),
    ("set the thermostat fan mode to high", "Thermostat", (("fan_mode/set", "high"),),
     "The thermostat has its fan set to high."),
    ("turn off the thermostat", "Thermostat", (("mode/set", "off"),), "The thermostat is off."),
    ("turn on the humidifier", "Humidifier", (("set", "ON"),), "The humidifier is on."),
    ("set the humidifier to 55 percent", "Humidifier", (("target_humidity/set", "55"),),
     "The humidifier is set to 55%."),
    ("set the humidifier to 10 percent", "Humidifier", (), "The humidifier can only be set from 30% to 100%."),
    ("set the humidifier to strong mode", "Humidifier", (("mode/set", "strong"),), "The humidifier is set to strong."),
    ("how is the humidifier", "Humidifier", (), "The humidifier is on and is set to 55%."),
    # the others
    ("turn on the siren", "Siren", (("set", '{"state": "ON"}'),), "The siren is on."),
    ("silence the siren", "Siren", (("set", '{"state": "OFF"}'),), "The siren is off."),
    ("start robbie", "Robbie", (("set", "start"),), "The robbie is cleaning."),
    ("is robbie cleaning", "Robbie", (), "Yes, the robbie is cleaning."),
    ("pause robbie", "Robbie", (("set", "pause"),), "The robbie is paused."),
    ("send robbie home", "Robbie", (("set", "return_to_base"),), "The robbie is docked."),
    ("start the vacuum", "Robbie", (("set", "start"),), "The robbie is cleaning."),
    ("set the pump speed to 35", "Pump speed", (("set", "35"),), "The pump speed is set to 35%."),
    ("set the pump speed to 95", "Pump speed", (), "The pump speed can only be set from 0% to 80%."),
    ("what is the pump speed", "Pump speed", (), "The pump speed is set to 35%."),
    ("set the washing programme to quick wash", "Washing programme", (("set", "quick_wash"),),
     "The washing programme is set to quick wash."),
    ("start the movie night scene", "Movie night", (("set", "ON"),), "Movie night is activated."),
    ("press the doorbell", "Doorbell", (("set", "PRESS"),), "The doorbell was pressed."),
    ("what is the office temperature", "Office temperature", (), "The office temperature is 21.4."),
    ("is the kitchen window open", "Kitchen window", (), "Yes, the kitchen window is open."),
    ("what is the wall button", "Wall button", (),
     "I don't know: the wall button has not reported yet."),
    # groups
    ("turn off everything in the kitchen", "Counter light", (("set", "OFF"),), "Turned off 3 devices in the kitchen."),
    ("turn on all the lights", "Counter light", (("set", "ON"),), "Turned on 3 lights."),
    ("turn off all the lights except the desk lamp", "Desk lamp", (), "Turned off 2 lights."),
    ("turn off all the lights except in the kitchen", "Desk lamp", (("set", "OFF"),), "The desk lamp is off."),
    ("turn on all lights except the desk lamp and the counter light", "Desk lamp", (), "The kitchen lamp is on."),
    ("close all the blinds", "Office blinds", (("set", "CLOSE"),), "The office blinds are closed."),
    # looking back
    ("put it back", "Office blinds", (("set", "OPEN"),), "The office blinds are open."),
    ("turn on the desk lamp", "Desk lamp", (("set", "ON"),), "The desk lamp is on."),
    ("turn that back off", "Desk lamp", (("set", "OFF"),), "The desk lamp is off."),
    ("turn on the desk lamp", "Desk lamp", (("set", "ON"),), "The desk lamp is on."),
    ("undo that", "Desk lamp", (("set", "OFF"),), "The desk lamp is off."),
    ("lock the front door", "Front door", (("set", "LOCK"),), "The front door is locked."),
    ("turn it back off", "Front door", (("set", "LOCK"),), "The front door is locked."),
    ("is the desk lamp on", "Desk lamp", (), "No, the desk lamp is off."),
    ("turn it back on", "Desk lamp", (("set", "ON"),), "The desk lamp is on."),
    ("undo that", "Desk lamp", (("set", "OFF"),), "The desk lamp is off."),
    ("why did you do that", "Desk lamp", (),
     'Just now I heard "undo that" in the office. I took it as: turn off the desk lamp. That was on test.'),
    ("why is the kitchen window open", "Kitchen window", (),
     "I have done nothing to the kitchen window in the last hour. Something else did, or somebody by hand."),
    # what makes no sense
    ("turn on the kitchen window", "Kitchen window", (), "The kitchen window can't be switched on."),
    ("open the kitchen lamp", "Kitchen lamp", (), "The kitchen lamp can't be opened."),
    ("open the kitchen window", "Kitchen window", (), "The kitchen window can't be opened."),
    ("lock the office temperature", "Office temperature", (), "The office temperature can't be locked."),
    ("dim the coffee machine", "Coffee machine", (), "The coffee machine can't be dimmed."),
    ("set the desk lamp to 30 percent", "Desk lamp", (), "The desk lamp can't be dimmed."),
    ("start the doorbell", "Doorbell", (), "The doorbell can't be started."),
    ("tilt the garage to 20 percent", "Garage", (), "The garage can't be tilted."),
    ("turn off the wall button", "Wall button", (), "The wall button can't be switched off."),
]  # fmt: skip


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[tuple[Home, dict[str, Appliance]]]:
    devices = house()
    section = BusSection(port=free_port(), confirm_timeout_s=10.0)
    broker = Broker(section, folder)
    await broker.start()
    bus = Bus(broker.address, "test")
    home, flat = Home(bus, section), VirtualFlat(broker.address, devices=devices)
    try:
        async with background(bus.run(), flat.run()):
            async with asyncio.timeout(20):
                await flat.ready.wait()
                await home.settled()
            yield home, {device.name: device for device in devices}
    finally:
        await broker.close()


def received(device: Appliance, told: Told) -> Told:
    """What it was told, without the mere "on" that goes with some settings of lights and fans."""
    return tuple(each for each in device.received if each != ("set", "ON") or each in told)


def test_every_intent_reaches_every_kind_of_device_and_tells_what_came_of_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with everything(tmp_path) as (home, devices):
            understanding = Understanding(home.entities, home.areas())
            conversation = Conversation(
                understanding=understanding,
                home=home,
                timers=Timers(MemoryStore(), VirtualClock()),
                satellites=Speakers(),
            )
            wrong = []
            for sentence, name, told, answer in SENTENCES:
                device, recorder = devices[name], TraceRecorder("u", node="test", source="text")
                device.received.clear()
                said = await conversation.answer(sentence, context=HERE, recorder=recorder)
                with contextlib.suppress(AssertionError):  # what needs no answer of the device may still be under way
                    await until(lambda device=device, told=told: received(device, told) == told, seconds=5)  # type: ignore[misc]
                if (said.text, received(device, told)) != (answer, told):
                    wrong.append(f"{sentence}: {said.text!r} {device.received} {said.intent}")
            assert wrong == []

    asyncio.run(scene())


SPOKEN = (
    "arm the alarm", "disarm the alarm", "set the humidifier to fifty percent", "set the thermostat to eco",
    "set the washing programme to quick wash", "start robbie", "send robbie home", "open the water valve",
    "turn on the siren", "undo that", "put it back", "why did you do that", "close all the blinds",
    "set the pump speed to twenty percent", "tilt the office blinds to fifty percent", "lock the doors",
)  # fmt: skip


def test_what_every_kind_can_be_told_is_listened_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with everything(tmp_path) as (home, _):
            understanding = Understanding(home.entities, home.areas())
            grammar = build_grammar(load_templates("en"), understanding.vocabulary(["okay nabu"]))
            assert [sentence for sentence in SPOKEN if not accepts(grammar, sentence)] == []
            assert not accepts(grammar, "turn on the kitchen window"), "what makes no sense is not listened for"
            assert not accepts(grammar, "set the washing programme to red")

    asyncio.run(scene())
