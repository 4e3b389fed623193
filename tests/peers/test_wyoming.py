"""Home Assistant's Assist pipeline with our ears, our voice and our satellite, all over Wyoming."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.errors import MycoswarmError
from tests.buses import free_port
from tests.edge.test_home_assistant import Room
from tests.peers.a_house import House
from tests.speech import silence
from tests.whole.room import spoken
from tests.whole.running_node import wait_until

SPOKEN = silence(0.5) + spoken("okay nabu", "en-us") + silence(0.8) + spoken("turn on the kitchen lamp") + silence(1.0)
"""A pause as long as this is the end of a command for Home Assistant: the wake word must not be one."""
PORTS = {name: free_port() for name in ("asr", "tts", "wake", "handle")}


@pytest.fixture(scope="module")
def house(home_assistant_venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    wyoming = {"services": list(PORTS), **{f"{name}_port": port for name, port in PORTS.items()}}
    with House(home_assistant_venv, tmp_path_factory.mktemp("house"), sections={"wyoming": wyoming}) as house:
        yield house


async def use_our_engines(house: House) -> None:
    """As a person does in Home Assistant's settings."""
    home_assistant = house.home_assistant
    for name in ("asr", "tts"):
        await home_assistant.add_wyoming(PORTS[name])
    states = await home_assistant.states()
    ears = next(each for each in states if each.startswith("stt."))
    voice = next(each for each in states if each.startswith("tts."))
    pipeline = await home_assistant.command(
        "assist_pipeline/pipeline/create",
        name="ours",
        language="en",
        conversation_engine="homeassistant",
        conversation_language="en",
        stt_engine=ears,
        stt_language="en",
        tts_engine=voice,
        tts_language="en",
        tts_voice=None,
        wake_word_entity=None,
        wake_word_id=None,
    )
    await home_assistant.command("assist_pipeline/pipeline/set_preferred", pipeline_id=pipeline["id"])


async def commanded(house: House) -> list[tuple[int, bytearray]]:
    """What our satellite played when it was told to turn on the lamp."""
    room = Room(SPOKEN)
    await room.hub.listener.start("127.0.0.1", 0)
    running = asyncio.create_task(room.satellite.run())
    try:
        await house.home_assistant.add_wyoming(room.hub.listener.port)
        await room.until(lambda: room.satellite.connected)
        while not any(each.startswith("select.") for each in await house.home_assistant.states()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # its pipeline is chosen by one of its entities, which come a moment later
        room.begin.set()
        try:
            await house.home_assistant.wait_for_state("light.kitchen_lamp", "on", seconds=60.0)
        except MycoswarmError as error:
            raise AssertionError(
                f"{error}; {[each for each in room.happened if not isinstance(each, bytes)]}"
            ) from error
        await room.until(lambda: room.satellite.phase == "speaking")
        await room.until(lambda: room.satellite.phase == "idle")
        return room.sink.played
    finally:
        running.cancel()
        await asyncio.wait([running])
        await room.hub.listener.close()


def test_home_assistants_assist_hears_and_answers_through_our_parts(house: House) -> None:
    wait_until(lambda: house.node.ask("turn off the kitchen lamp").outcome == "done", seconds=60)
    house.sees("light.kitchen_lamp", "off")
    house.run(use_our_engines(house))
    played = house.run(commanded(house))
    rate, pcm = played[-1]
    assert len(pcm) / 2 / rate > 0.5, [(rate, len(pcm)) for rate, pcm in played]
    wait_until(lambda: house.node.state_of("Kitchen lamp").get("value") == "on")


def test_home_assistant_takes_our_wake_words(house: House) -> None:
    house.run(house.home_assistant.add_wyoming(PORTS["wake"]))
    assert any(each.startswith("wake_word.") for each in house.run(house.home_assistant.states()))
