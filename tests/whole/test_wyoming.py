"""A node that runs, as programs of others see it that speak Wyoming."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize

from tests.buses import free_port
from tests.speech import silence
from tests.whole.background import LoopThread, loop_thread
from tests.whole.room import spoken as person
from tests.whole.running_node import RunningNode, running_node, wait_until
from tests.wyoming_peers import FakeSatellite, answers, client, tell

T = TypeVar("T")

PORTS = {name: free_port() for name in ("asr", "tts", "wake", "handle")}


class House:
    """The satellites of others, on an event loop of their own, and the node that answers them."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self.hall = FakeSatellite("asr")
        self.office = FakeSatellite("wake")
        self.node: RunningNode

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work, seconds=60.0)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with loop_thread() as thread:
        house = House(thread)
        satellites = [
            {"url": house.hall.url, "name": "hall", "area": "Kitchen"},
            {"url": house.office.url, "name": "office", "area": "Bedroom"},
        ]
        for each in (house.hall, house.office):
            house.run(each.start())
        section = {
            "services": list(PORTS),
            **{f"{name}_port": port for name, port in PORTS.items()},
            "satellites": satellites,
        }
        folder = tmp_path_factory.mktemp("node")
        with running_node(folder, demo_home=True, sections={"wyoming": section}) as house.node:
            yield house
        for each in (house.hall, house.office):
            house.run(each.stop())


@pytest.fixture
def node(house: House) -> RunningNode:
    return house.node


async def described(port: int) -> Info:
    async with client(port) as peer:
        await tell(peer, Describe().event())
        return Info.from_event((await answers(peer, last="info"))[-1])


async def spoken(peer: AsyncTcpClient, text: str) -> list[AudioChunk]:
    await tell(peer, Synthesize(text).event())
    heard = await answers(peer, last="audio-stop")
    return [AudioChunk.from_event(event) for event in heard if event.type == "audio-chunk"]


def test_a_command_goes_through_voice_ears_and_hands_of_one_node(node: RunningNode) -> None:
    """What Home Assistant's pipeline does with our services: its own text is spoken, heard and done."""

    async def test() -> str:
        info = [await described(PORTS[name]) for name in PORTS]
        assert [len(each.asr) + len(each.tts) + len(each.wake) + len(each.handle) for each in info] == [1, 1, 1, 1]
        async with client(PORTS["tts"]) as voice, client(PORTS["asr"]) as ears, client(PORTS["handle"]) as hands:
            chunks = await spoken(voice, "turn on the kitchen lamp")
            await tell(ears, Transcribe(language="en").event(), AudioStart(22_050, 2, 1).event())
            await tell(ears, *(chunk.event() for chunk in chunks), AudioStop().event())
            text = Transcript.from_event((await answers(ears, last="transcript-stop"))[-2]).text
            await tell(hands, Transcript(text, language="en").event())
            return str((await answers(hands, last="handled-stop"))[-2].data["text"])

    assert node.state_of("Kitchen lamp")["value"] == "off"
    assert asyncio.run(test()) == "The kitchen lamp is on."
    assert node.state_of("Kitchen lamp")["value"] == "on"
    assert any(trace.answer == "The kitchen lamp is on." for trace in node.client().traces(20))


def test_nothing_is_unlocked_for_a_client_that_nobody_knows(node: RunningNode) -> None:
    async def test() -> None:
        async with client(PORTS["handle"]) as hands:
            await tell(hands, Transcript("unlock the front door", language="en").event())
            heard = await hands.read_event()
            assert heard is not None
            await tell(hands, Transcript("yes", language="en").event())
            assert await hands.read_event() is not None

    asyncio.run(test())
    assert node.state_of("Front door")["value"] == "locked"


def test_a_satellite_that_hears_its_wake_word_itself_is_answered_aloud(house: House) -> None:
    hall = house.hall
    house.run(hall.until(lambda: hall.running))
    wait_until(lambda: "hall" in house.node.client().status().satellites)
    house.run(hall.say(person("turn on the kitchen lamp") + silence(1.0)))
    house.run(hall.until(lambda: hall.texts == ["turn on the kitchen lamp"]))
    house.run(hall.until(lambda: bool(hall.played) and hall.heard[-1].type == "audio-stop"))
    kinds = [event.type for event in hall.heard]
    for kind in ("transcribe", "voice-started", "voice-stopped", "transcript", "synthesize", "audio-start"):
        assert kind in kinds, kinds
    assert house.node.state_of("Kitchen lamp")["value"] == "on"
    assert len(hall.played[0][1]) / 2 / hall.played[0][0] > 0.5


def test_a_satellite_that_always_streams_is_listened_to_for_its_wake_word(house: House) -> None:
    office = house.office
    house.run(office.until(lambda: office.running))
    wait_until(lambda: "office" in house.node.client().status().satellites)
    speech = silence(0.5) + person("okay nabu") + silence(0.3) + person("what time is it") + silence(1.0)
    house.run(office.say(speech))
    house.run(office.until(lambda: office.texts == ["what time is it"]))
    house.run(office.until(lambda: "synthesize" in [event.type for event in office.heard]))
    kinds = [event.type for event in office.heard]
    assert kinds.index("detection") < kinds.index("transcribe") < kinds.index("transcript")


def test_a_satellite_that_was_started_anew_is_connected_again(house: House) -> None:
    hall = house.hall
    house.run(hall.stop())
    wait_until(lambda: "hall" not in house.node.client().status().satellites)
    hall.heard.clear()
    house.run(hall.start())
    house.run(hall.until(lambda: hall.running))
    wait_until(lambda: "hall" in house.node.client().status().satellites)
