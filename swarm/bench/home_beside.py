"""The same spoken commands to Home Assistant's Assist and to a hub of ours: how soon each answers and acts.

Both use one broker, the same devices and the same Wyoming services, which answer at once. Each has a satellite that
plays the same recordings in real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from hub.home.virtual_devices import Light, VirtualDevice
from swarm.bench.corpus import WAKE_PHRASES
from swarm.bench.home_assistant import HomeAssistant
from swarm.bench.home_devices import HomeOnBroker, home_on_broker, large_home
from swarm.bench.latency import time_answer
from swarm.bench.node import BenchNode
from swarm.bench.report import Measurement, Section, percentile
from swarm.bench.speech import Recording, Speech
from swarm.bench.swarm_nodes import folder, until
from swarm.bench.understood import WAKE_WORD
from swarm.bench.wyoming_services import InstantEngines, ScriptedSatellite, serving
from swarm.broker import Broker
from swarm.config import BusSection
from swarm.errors import MycoswarmError, NodeUnreachable

HOME = (60, 6)
READY_S = 120.0
REACHED_S = 5.0
BETWEEN_S = 1.0
"""From one answer's end to the next command."""


@dataclass(frozen=True)
class Took:
    """One command, from the true end of speech; ms."""

    first_audio: float
    command: float


@dataclass(frozen=True)
class Spoken:
    """A command that is said."""

    text: str
    device: VirtualDevice
    recording: Recording


async def measure_beside(venv: Path, count: int, tell: Callable[[str], None]) -> Section:
    """Say `count` commands to each. Raises `MycoswarmError`."""
    tell("Home Assistant and a node of ours")
    devices = large_home(*HOME)
    engines, satellite = InstantEngines(), ScriptedSatellite()
    async with folder() as place, serving(engines, satellite):
        broker = Broker(BusSection(), place)
        await broker.start()
        peer = HomeAssistant(venv, place / "home-assistant")
        try:
            async with home_on_broker(broker.address, devices) as house:
                commands = await _commands(devices, count)
                await _prepare(peer, broker.address.port, engines.port, satellite.port, commands[0].device)
                theirs = await _say_to_theirs(satellite, engines, house, commands, tell)
                await peer.end()
                ours = await _say_to_ours(place, broker.address.port, engines, house, commands, tell)
        finally:
            await peer.end()
            await broker.close()
    return _section(ours, theirs)


async def _commands(devices: Sequence[VirtualDevice], count: int) -> list[Spoken]:
    """Of lamps, each switched on and off in turn."""
    speech = Speech()
    try:
        await speech.start()
        lamps = [device for device in devices if isinstance(device, Light)][:3]
        commands = []
        for number in range(count):
            lamp = lamps[number // 2 % len(lamps)]
            text = f"turn {'off' if number % 2 else 'on'} the {lamp.name.lower()}"
            recording = await speech.recording((text,), speech.speakers[0], wake=WAKE_PHRASES[WAKE_WORD])
            commands.append(Spoken(text, lamp, recording))
        return commands
    finally:
        await speech.close()


async def _prepare(peer: HomeAssistant, broker: int, engines: int, satellite: int, lamp: VirtualDevice) -> None:
    """Home Assistant as a person sets it up: devices, engines, a pipeline with them, a satellite."""
    await peer.start()
    await peer.add_mqtt(broker)
    await peer.add_wyoming(engines)
    options = {"language": "en", "conversation_engine": "homeassistant", "conversation_language": "en"}
    speech = {"stt_engine": "stt.instant", "stt_language": "en", "tts_engine": "tts.instant", "tts_language": "en"}
    none = {"tts_voice": None, "wake_word_entity": None, "wake_word_id": None}
    pipeline = await peer.command("assist_pipeline/pipeline/create", name="bench", **options, **speech, **none)
    await peer.command("assist_pipeline/pipeline/set_preferred", pipeline_id=pipeline["id"])
    await peer.add_wyoming(satellite)
    await peer.wait_for_state(f"light.{lamp.object_id}", lambda state: state["state"] in ("on", "off"))


async def _say_to_theirs(
    satellite: ScriptedSatellite,
    engines: InstantEngines,
    house: HomeOnBroker,
    commands: Sequence[Spoken],
    tell: Callable[[str], None],
) -> list[Took]:
    took = []
    for number, command in enumerate([commands[0], *commands]):
        engines.hears = command.text
        speech_end, first_audio = await satellite.say(command.recording)
        reached = house.commanded.get(command.device.base, 0.0)
        if reached < speech_end:
            raise MycoswarmError(f"Home Assistant answered to {command.text!r} and sent no command")
        if number:  # what is loaded by the first command is loaded
            took.append(Took(1000 * (first_audio - speech_end), 1000 * (reached - speech_end)))
            tell(f"Home Assistant, {command.text}: {took[-1].first_audio:.0f} ms")
        await asyncio.sleep(BETWEEN_S)
    return took


async def _say_to_ours(
    place: Path,
    broker: int,
    engines: InstantEngines,
    house: HomeOnBroker,
    commands: Sequence[Spoken],
    tell: Callable[[str], None],
) -> list[Took]:
    node = BenchNode(place)
    service = f"tcp://127.0.0.1:{engines.port}"
    node.configure(
        f'[bus]\nbroker = "mqtt://127.0.0.1:{broker}"\n[speech]\nwyoming_stt = "{service}"\nwyoming_tts = "{service}"\n'
    )
    detector, vad = MicroWakeDetector((WAKE_WORD,)), SileroVoiceActivity()
    took = []
    async with node.program("up"):
        await _knows(node, HOME[0])
        url = f"{(await node.status()).url.replace('http', 'ws', 1)}/api/voice"
        for number, command in enumerate([commands[0], *commands]):
            engines.hears = command.text
            detector.reset()
            name = f"bench-{number}"
            answer = await time_answer(node, command.recording, url=url, name=name, detector=detector, vad=vad)
            if answer is None:
                raise MycoswarmError(f"the node that is measured gave no spoken answer to {command.text!r}")
            reached = await house.was_commanded(command.device, since=answer.speech_end_at, timeout_s=REACHED_S)
            if reached is None:
                raise MycoswarmError(f"the node that is measured answered to {command.text!r} and sent no command")
            if number:
                took.append(Took(answer.total, 1000 * (reached - answer.speech_end_at)))
                tell(f"ours, {command.text}: {took[-1].first_audio:.0f} ms")
            await asyncio.sleep(BETWEEN_S)
    return took


async def _knows(node: BenchNode, count: int) -> None:
    async def knows() -> bool:
        try:
            return (await node.status()).entities >= count
        except NodeUnreachable:
            return False

    await until(knows, f"the node did not know {count} entities", seconds=READY_S)


def _section(ours: Sequence[Took], theirs: Sequence[Took]) -> Section:
    rows = []
    for what, of_ours, of_theirs in (
        ("first audio", [each.first_audio for each in ours], [each.first_audio for each in theirs]),
        ("command on the bus", [each.command for each in ours], [each.command for each in theirs]),
    ):
        mine, other = percentile(of_ours, 50), percentile(of_theirs, 50)
        share = 100 * mine / other if mine is not None and other is not None else None
        rows += [
            Measurement(f"end of speech to {what}, Home Assistant, p50", other, "ms", of=len(of_theirs)),
            Measurement(f"end of speech to {what}, mycoswarm, p50", mine, "ms", of=len(of_ours)),
            Measurement(f"{what}: share of Home Assistant's time", share, "%", most=50),
        ]
    return Section(
        "Beside Home Assistant's Assist",
        tuple(rows),
        (
            "One after the other, Home Assistant first: the same broker, devices and recordings, and Wyoming services "
            "that answer at once. Home Assistant has a Wyoming satellite that sends 20 ms at a time; it keeps what it "
            "once spoke, and waits for 500 ms of silence as it comes. Before the count each was asked once.",
        ),
    )
