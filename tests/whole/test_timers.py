"""Timers of a running node: set, announced where they were set, and what survives the node's death."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Iterator

import pytest

from edge.satellite import PlaybackDone
from swarm.messages import SetVolume, SpeechEnded, SpeechStarted
from tests.whole.room import room_at
from tests.whole.running_node import RunningNode, running_node, until, wait_until

LISTENING = "listening for the commands of 0 devices"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node"), when=LISTENING) as node:
        yield node


def test_timer_set_by_voice_is_announced_where_it_was_set_until_stopped(node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(node.voice_url, "kitchen") as kitchen, room_at(node.voice_url, "bed") as bed:
            heard, told = await kitchen.answered("set a timer for two seconds")
            assert heard == "set a timer for two seconds"
            assert "2 second" in told
            (timer,) = node.client().timers()
            assert (timer["satellite"], timer["duration_s"]) == ("kitchen", 2.0)
            announced = await kitchen.until_seen(SpeechStarted, 2)
            assert announced.announcement
            assert (await kitchen.until_seen(SpeechEnded, 2)).text.startswith("Your timer for 2 seconds")
            await kitchen.until_seen(PlaybackDone, 2)
            assert node.client().timers() == []
            assert bed.of(SpeechStarted) == []
            kitchen.command("stop")
            await until(lambda: node.client().traces(1)[0].transcript == "stop")
            trace = next(each for each in node.client().traces(3) if each.source == "announcement")
            assert (trace.satellite, trace.outcome) == ("kitchen", "done")

    asyncio.run(check())


def test_timer_set_by_text_is_announced_everywhere(node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(node.voice_url, "kitchen") as kitchen, room_at(node.voice_url, "bed") as bed:
            await asyncio.to_thread(node.ask, "set a timer for 1 second")
            for room in (kitchen, bed):
                assert (await room.until_seen(SpeechEnded)).text.startswith("Your timer for 1 second")
            assert node.ask("stop").outcome == "done"

    asyncio.run(check())


def test_timers_traces_and_settings_outlive_a_node_that_is_killed(node: RunningNode) -> None:
    async def set_volume() -> None:
        async with room_at(node.voice_url, "study") as study:
            await study.answered("set the volume to thirty percent")

    async def volume() -> SetVolume:
        async with room_at(node.voice_url, "study") as study:
            return await study.until_seen(SetVolume)

    asyncio.run(set_volume())
    asked = node.ask("set a pizza timer for 50 minutes")
    family = node.family()
    node.signal(signal.SIGKILL)
    assert node.wait() == -signal.SIGKILL
    wait_until(lambda: not any(each.is_running() for each in family))
    node.start(when=LISTENING)
    wait_until(lambda: node.client().timers())
    names = {timer["name"]: timer for timer in node.client().timers()}
    assert 2400 < names["pizza"]["left_s"] < 3000
    assert node.client().trace(asked.utterance_id) == asked.trace
    assert "pizza" in node.ask("how long is left on the pizza timer").answer
    assert asyncio.run(volume()) == SetVolume(30)
    node.ask("cancel the pizza timer")


def test_timer_that_ended_while_the_node_was_away_is_told_to_the_satellite_that_comes_back(node: RunningNode) -> None:
    async def told() -> str:
        async with room_at(node.voice_url, "kitchen") as kitchen:
            return (await kitchen.until_seen(SpeechEnded)).text

    node.ask("set a tea timer for 1 second")
    node.signal(signal.SIGKILL)
    node.wait()
    killed_at = time.time()
    wait_until(lambda: time.time() > killed_at + 1.5)
    node.start(when=LISTENING)
    assert re.fullmatch(r"Your tea timer ended \d+ seconds? ago\.", asyncio.run(told()))
