"""Announcements at the satellites of a running node, and the automations of people that have them made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from edge.satellite import BeginUtterance, PlaybackDone, PlayCue, PlaySpeech
from swarm.audio import write_wav
from swarm.messages import SpeechEnded, SpeechStarted
from tests.speech import silence
from tests.whole.bus_watch import BusWatch, bus_watch
from tests.whole.room import room_at, spoken
from tests.whole.running_node import RunningNode, running_node, until, wait_until

API = "mycoswarm/api"
LISTENING = "listening for the commands of 0 devices"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    sections = {"mqtt_api": {"enabled": True, "transcripts": True}}
    with running_node(tmp_path_factory.mktemp("node"), sections=sections, when=LISTENING) as node:
        yield node


def test_people_have_it_said_in_all_rooms_or_in_one_and_see_where_it_was_played(node: RunningNode) -> None:
    (node.state / "media").mkdir(exist_ok=True)
    (node.state / "media" / "bell.wav").write_bytes(write_wav(b"\0\x10" * 800))

    async def check() -> None:
        async with (
            room_at(node.voice_url, "cook", area="Kitchen") as kitchen,
            room_at(node.voice_url, "bed", area="Bedroom") as bed,
        ):
            said = await asyncio.to_thread(node.run, "say", "Dinner", "is", "ready")
            assert (said.returncode, said.stdout) == (0, "bed (Bedroom): played\ncook (Kitchen): played\n")
            for room in (kitchen, bed):
                assert (await room.until_seen(SpeechEnded)).text == "Dinner is ready"
                assert room.of(PlaySpeech)[0].chime
            bed.satellite.set_muted(True)  # the microphone only
            said = await asyncio.to_thread(
                node.run, "say", "--to", "bedroom", "--sound", "bell.wav", "--volume", "10", "--no-chime"
            )
            assert (said.returncode, said.stdout) == (0, "bed (Bedroom): played\n")
            assert (await bed.until_seen(SpeechStarted, 2)).volume == 10
            assert kitchen.of(SpeechStarted) == kitchen.of(SpeechStarted)[:1]
            lost = await asyncio.to_thread(node.run, "say", "--to", "cellar", "Hello")
            assert lost.returncode == 1
            assert "no satellite answers to: cellar" in lost.stderr
            assert "cook (Kitchen)" in lost.stderr

    asyncio.run(check())


def test_announcement_waits_while_a_person_speaks_even_when_it_interrupts(node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(node.voice_url, "cook", area="Kitchen") as kitchen:
            kitchen.satellite.listen()
            await kitchen.until_seen(BeginUtterance)
            saying = asyncio.create_task(asyncio.to_thread(node.run, "say", "--interrupt", "Fire"))
            await kitchen.until_seen(SpeechEnded)
            assert kitchen.of(PlaySpeech) == []
            kitchen.satellite.set_muted(True)  # which ends the listening
            await kitchen.until_seen(PlaybackDone)
            assert (await saying).stdout == "cook (Kitchen): played\n"

    asyncio.run(check())


def test_dinner_is_announced_by_voice_in_every_other_room(node: RunningNode) -> None:
    async def check() -> None:
        async with (
            room_at(node.voice_url, "cook", area="Kitchen") as kitchen,
            room_at(node.voice_url, "bed", area="Bedroom") as bed,
        ):
            heard, answer = await kitchen.answered("announce dinner is ready")
            assert heard == "announce dinner is ready"
            assert answer == "I announced it in the bedroom."
            assert (await bed.until_seen(SpeechEnded)).text == "Dinner is ready"
            assert bed.of(PlaySpeech)[0].chime
            assert [each.announcement for each in kitchen.of(SpeechStarted)] == [False]

    asyncio.run(check())


class Automation:
    def __init__(self, watch: BusWatch) -> None:
        self._watch = watch

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self._watch.of(f"{API}/event/{kind}")]

    def send(self, topic: str, **command: Any) -> None:
        self._watch.publish(f"{API}/{topic}", json.dumps(command))

    def answer(self, number: int) -> dict[str, Any]:
        wait_until(lambda: len(self._watch.of(f"{API}/answer")) > number, lambda: str(self._watch.messages[-5:]))
        answer: dict[str, Any] = json.loads(self._watch.of(f"{API}/answer")[number])
        return answer


def test_automations_ask_say_listen_set_timers_and_follow_what_happens(node: RunningNode) -> None:
    async def check(one: Automation) -> None:
        async with (
            room_at(node.voice_url, "cook", area="Kitchen") as kitchen,
            room_at(node.voice_url, "bed", area="Bedroom", wake=True) as bed,
        ):
            one.send("ask", text="what time is it", id="clock")
            answer = await asyncio.to_thread(one.answer, 0)
            assert (answer["id"], answer["intent"], answer["outcome"]) == ("clock", "HassGetCurrentTime", "done")
            assert answer["text"].startswith("It's ")
            one.send("say", text="Dinner is ready", id="dinner")
            answer = await asyncio.to_thread(one.answer, 1)
            assert [each["outcome"] for each in answer["reports"]] == ["played", "played"]
            for room in (kitchen, bed):
                assert (await room.until_seen(SpeechEnded)).text == "Dinner is ready"
            one.send("listen", to="kitchen")
            await kitchen.until_seen(BeginUtterance)
            await kitchen.until_seen(PlayCue)  # nobody listens without a sound
            kitchen.say(silence(0.2) + spoken("set a timer for one minute"))
            await kitchen.until_seen(SpeechEnded, 2)
            await until(lambda: one.events("timer"))
            (timer,) = one.events("timer")
            assert (timer["change"], timer["satellite"], timer["duration_s"]) == ("started", "cook", 60.0)
            one.send("timer/cancel", timer=timer["timer"])
            await until(lambda: [each["change"] for each in one.events("timer")] == ["started", "cancelled"])
            one.send("timer/set", seconds=0.5, name="tea", to="bedroom")
            assert (await bed.until_seen(SpeechEnded, 2)).text == "Your tea timer is done."
            await until(lambda: [each["change"] for each in one.events("timer")][2:] == ["started", "ended"])
            bed.say(silence(0.5) + spoken("okay nabu stop", "flite:rms"))
            await until(lambda: one.events("wake"))
            await until(lambda: [each["change"] for each in one.events("timer")][4:] == ["stopped"])
            (wake,) = one.events("wake")
            assert (wake["satellite"], wake["area"], wake["wake_word"]) == ("bed", "Bedroom", "okay_nabu")
            heard = [(each["source"], each["satellite"], each["text"]) for each in one.events("transcript")]
            assert heard[:2] == [("text", "", "what time is it"), ("voice", "cook", "set a timer for one minute")]
            assert one.events("intent")[1]["intent"] == "HassStartTimer"
            assert "1 minute" in one.events("answer")[1]["text"]
            assert len(kitchen.of(SpeechStarted)) == 2

    with bus_watch(node.bus_port, f"{API}/#") as watch:
        asyncio.run(check(Automation(watch)))
