"""The interface of automations on a real broker, with parts that do what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt

from hub.happenings import Answered, Happening, Heard, Understood, Wake, of_timer
from hub.intent import Context
from hub.mqtt_api.service import BURST, Abilities, MqttApi
from hub.saying import Saying
from hub.timers import Timers
from swarm.announcement import Announcement, Report, Until, Whom
from swarm.broker import Broker
from swarm.errors import MycoswarmError
from swarm.messages import Trace
from swarm.voice_routes import ListenReport
from tests.buses import background, maker, running_broker, running_bus, until
from tests.hub.test_timers import MemoryStore, VirtualClock

PLACES = (("bed", "Bedroom"), ("cook", "Kitchen"))


class Hub:
    def __init__(self) -> None:
        self.obeys = True
        self.asked: list[tuple[str, Context]] = []
        self.said: list[Announcement] = []
        self.listened: list[str] = []
        self.timers = Timers(MemoryStore(), VirtualClock())
        self.answers_when = asyncio.Event()
        self.answers_when.set()

    def abilities(self, folder: Path) -> Abilities:
        return Abilities(
            self._ask, Saying(self._say, folder, lambda: PLACES), self._listen, self.timers, lambda: PLACES
        )

    async def _ask(self, text: str, *, context: Context) -> Trace:
        self.asked.append((text, context))
        await self.answers_when.wait()
        if text == "break":
            raise ValueError("a fault of ours")
        if text == "fail":
            raise MycoswarmError("the broker is down", hint="start it")
        return Trace("u1", "", "text", transcript=text, intent="HassGetCurrentTime", answer="Noon.", outcome="done")

    async def _say(self, announcement: Announcement, whom: Whom, *, until: Until = "sent") -> tuple[Report, ...]:
        told = tuple(Report(name, area, "played") for name, area in PLACES if whom.means(name, area))
        self.said += [announcement] * bool(told)
        return told

    async def _listen(self, whom: Whom) -> tuple[ListenReport, ...]:
        meant = [place for place in PLACES if whom.means(*place)]
        self.listened += [name for name, _ in meant]
        return tuple(ListenReport(name, area, "muted" if name == "bed" else "listening") for name, area in meant)


class Automation:
    """A program of a person, at the broker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.seen: list[tuple[str, dict[str, Any]]] = []

    async def follow(self) -> None:
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            assert not message.retain
            self.seen.append((message.topic.value.removeprefix("mycoswarm/api/"), json.loads(message.payload)))

    async def send(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        data = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        await self.client.publish(f"mycoswarm/api/{topic}", data, qos=1, retain=retain)

    async def next(self, topic: str = "answer") -> dict[str, Any]:
        await until(lambda: any(seen == topic for seen, _ in self.seen))
        index = next(index for index, (seen, _) in enumerate(self.seen) if seen == topic)
        return self.seen.pop(index)[1]

    async def does(self, topic: str, payload: Any) -> dict[str, Any]:
        await self.send(topic, payload)
        return await self.next()


@asynccontextmanager
async def api_at(broker: Broker, hub: Hub, folder: Path, *, transcripts: bool = False) -> AsyncIterator[MqttApi]:
    async with running_bus(broker) as bus:
        api = MqttApi(bus, hub.abilities(folder), obeys=lambda: hub.obeys, transcripts=transcripts, language="en")
        async with background(api.run()):
            await asyncio.sleep(0)
            await bus.wait_subscribed()
            yield api


@asynccontextmanager
async def automation(broker: Broker) -> AsyncIterator[Automation]:
    async with maker(broker) as client:
        one = Automation(client)
        await client.subscribe([("mycoswarm/api/answer", 1), ("mycoswarm/api/event/#", 1)])
        async with background(one.follow()):
            yield one


def with_api(
    folder: Path, check: Callable[[Automation, Hub, MqttApi], Awaitable[None]], *, transcripts: bool = False
) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), running_broker("mosquitto", folder) as broker, automation(broker) as one:
            hub = Hub()
            async with api_at(broker, hub, folder, transcripts=transcripts) as api:
                await check(one, hub, api)

    asyncio.run(run())


def test_each_command_is_done_and_answered_with_its_id(tmp_path: Path) -> None:
    async def check(one: Automation, hub: Hub, api: MqttApi) -> None:
        asked = await one.does("ask", {"text": "what time is it", "area": "Kitchen", "id": "q"})
        assert asked == {
            "command": "ask", "ok": True, "id": "q", "text": "Noon.", "intent": "HassGetCurrentTime",
            "outcome": "done", "utterance_id": "u1",
        }  # fmt: skip
        ((_, context),) = hub.asked
        assert (context.area, context.origin, context.satellite) == ("Kitchen", "program", "")
        said = await one.does("say", {"text": "Dinner", "to": ["kitchen", "cellar"], "interrupt": True, "id": 2})
        assert (said["ok"], said["id"], said["missed"]) == (False, 2, ["cellar"])
        assert said["reports"] == [{"satellite": "cook", "area": "Kitchen", "outcome": "played"}]
        assert (await one.does("say", "Dinner is ready"))["ok"]
        assert [each.text for each in hub.said] == ["Dinner", "Dinner is ready"]
        assert (await one.does("listen", {"to": "Kitchen"}))["ok"]
        muted = await one.does("listen", {"to": "bed"})
        assert (muted["ok"], muted["reports"][0]["outcome"]) == (False, "muted")
        first = await one.does("timer/set", {"minutes": 5, "name": "pizza", "to": "kitchen"})
        second = await one.does("timer/set", {"seconds": 90})
        timers = {timer.id: timer for timer, _ in hub.timers.all()}
        assert (timers[first["timer"]].satellite, timers[first["timer"]].area) == ("cook", "Kitchen")
        assert (timers[second["timer"]].satellite, timers[second["timer"]].duration_s) == ("", 90)
        assert (await one.does("timer/cancel", {"name": "Pizza"}))["timers"] == [first["timer"]]
        assert (await one.does("timer/cancel", {"all": True}))["timers"] == [second["timer"]]
        assert hub.timers.all() == ()

    with_api(tmp_path, check)


def test_bad_commands_are_answered_with_what_is_wrong_and_harm_nobody(tmp_path: Path) -> None:
    async def check(one: Automation, hub: Hub, api: MqttApi) -> None:
        for topic, payload, error in (
            ("ask", {"text": "", "id": 1}, "no such command"),
            ("ask", b"\xff\xff", "no such command"),
            ("ask", "a" * 20_000, "more than"),
            ("ask", {"text": "fail"}, "the broker is down"),
            ("ask", {"text": "break"}, "the hub failed"),
            ("say", {"text": "a", "media": "b"}, "either a text or a media file"),
            ("say", {"media": "../secret.wav"}, "no name of a file"),
            ("say", {"text": "a", "to": "cellar"}, "no satellite answers to: cellar"),
            ("listen", {"to": "cellar"}, "no satellite answers to: cellar"),
            ("timer/set", {"name": "x"}, "no timer runs for 0 s"),
            ("timer/set", {"hours": 99, "minutes": 90}, "no timer runs for"),
            ("timer/cancel", {}, "which timer"),
            ("timer/cancel", {"timer": "none"}, "no such timer"),
        ):
            answer = await one.does(topic, payload)
            assert (answer["ok"], answer["command"]) == (False, topic)
            assert error in answer["error"], answer
            assert answer.get("hint") or topic == "ask"
        assert (hub.said, hub.listened, hub.timers.all()) == ([], [], ())
        assert (await one.does("ask", "what time is it"))["ok"]

    with_api(tmp_path, check)


def test_retained_commands_are_not_obeyed_and_say_so(tmp_path: Path) -> None:
    async def check() -> None:
        async with running_broker("mosquitto", tmp_path) as broker, automation(broker) as one:
            hub = Hub()
            await one.send("say", {"text": "again and again", "id": "old"}, retain=True)
            async with api_at(broker, hub, tmp_path):
                answer = await one.next()
                assert (answer["ok"], answer["id"]) == (False, "old")
                assert "retained" in answer["error"]
                await one.send("say", "", retain=True)  # clears it
                assert (await one.does("say", "now"))["ok"]
            assert [each.text for each in hub.said] == ["now"]

    asyncio.run(check())


def test_hub_that_does_not_speak_for_the_home_obeys_nothing(tmp_path: Path) -> None:
    async def check(one: Automation, hub: Hub, api: MqttApi) -> None:
        hub.obeys = False
        await one.send("say", "first")
        await one.send("ask", "first")
        api.tell(Understood("u1", "bed", "Bedroom", "voice", "HassTurnOn"))  # its own satellites' events are its own
        await one.next("event/intent")
        hub.obeys = True
        assert (await one.does("say", "second"))["ok"]
        assert [each.text for each in hub.said] == ["second"]
        assert one.seen == []

    with_api(tmp_path, check)


def test_automation_that_runs_in_a_circle_is_slowed_down(tmp_path: Path) -> None:
    async def check(one: Automation, hub: Hub, api: MqttApi) -> None:
        hub.answers_when.clear()
        for _ in range(3 * BURST):
            await one.send("ask", "round and round")
        refused = await one.next()
        assert "too many commands" in refused["error"]
        assert len(hub.asked) < BURST
        hub.answers_when.set()
        await until(lambda: len([seen for seen, answer in one.seen if answer["ok"]]) == len(hub.asked))

    with_api(tmp_path, check)


def test_events_tell_what_happened_but_not_what_was_said(tmp_path: Path) -> None:
    happenings: tuple[Happening, ...] = (
        Heard("u1", "bed", "Bedroom", "voice", "my secret"),
        Answered("u1", "bed", "Bedroom", "voice", "done", "your secret"),
        Wake("u1", "bed", "Bedroom", "okay_nabu"),
        Understood("u1", "bed", "Bedroom", "voice", "HassTurnOn"),
    )

    async def told(one: Automation, hub: Hub, api: MqttApi) -> None:
        hub.timers.on_change.append(lambda change, timer, left_s: api.tell(of_timer(change, timer, left_s)))
        for happening in happenings:
            api.tell(happening)
        wake = {"event": "wake", "utterance_id": "u1", "satellite": "bed", "area": "Bedroom", "wake_word": "okay_nabu"}
        assert await one.next("event/wake") == wake
        assert (await one.next("event/intent"))["intent"] == "HassTurnOn"
        await one.does("timer/set", {"seconds": 60, "name": "tea"})
        timer = await one.next("event/timer")
        assert (timer["change"], timer["name"], timer["left_s"]) == ("started", "tea", 60.0)
        assert one.seen == []

    async def all_told(one: Automation, hub: Hub, api: MqttApi) -> None:
        for happening in happenings:
            api.tell(happening)
        assert (await one.next("event/transcript"))["text"] == "my secret"
        assert (await one.next("event/answer"))["text"] == "your secret"

    with_api(tmp_path, told)
    with_api(tmp_path, all_told, transcripts=True)
