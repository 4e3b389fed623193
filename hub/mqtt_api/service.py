"""Obeys the commands of automations and tells them what happens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from hub.happenings import Answered, Happening, Heard
from hub.intent import Context
from hub.mqtt_api.commands import (
    Ask,
    CancelTimer,
    Listen,
    Reply,
    Say,
    SetTimer,
    id_of,
    parse_command,
)
from hub.saying import Saying, nobody_answers
from hub.timers import MAX_DURATION_S, MAX_TIMERS, Timers
from swarm.announcement import Whom
from swarm.bus import Bus
from swarm.bus_rules import API
from swarm.errors import BusError, MalformedMessage, MycoswarmError
from swarm.messages import Trace
from swarm.voice_routes import ListenReport

MAX_AT_ONCE = 16
"""Commands under way."""
BURST, PER_S = 30, 5.0
"""Commands that may come at once, and for long. A home asks a few in a minute; more is an automation that runs in a
circle."""
MAX_OUTGOING = 200
"""Answers and events that wait for the broker; further ones are dropped."""
COMPLAIN_EVERY_S = 1.0

log = logging.getLogger(__name__)


class AskAssistant(Protocol):
    """Answers a question."""

    def __call__(self, text: str, *, context: Context) -> Awaitable[Trace]:
        """The finished trace. Raises `MycoswarmError`."""


@dataclass(frozen=True)
class Abilities:
    """What the commands are done with."""

    ask: AskAssistant
    saying: Saying
    listen: Callable[[Whom], Awaitable[tuple[ListenReport, ...]]]
    timers: Timers
    places: Callable[[], Sequence[tuple[str, str]]]
    """Name and room of the satellites that are connected here."""


class MqttApi:
    """`run` it; give it what happens by `tell`."""

    def __init__(
        self,
        bus: Bus,
        abilities: Abilities,
        *,
        obeys: Callable[[], bool],
        transcripts: bool,
        language: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`obeys`: whether this hub is the one that does what commands say. `transcripts`: tell what was said."""
        self._bus = bus
        self._abilities = abilities
        self._obeys = obeys
        self._transcripts = transcripts
        self._language = language
        self._clock = clock
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_OUTGOING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens, self._counted_at = float(BURST), clock()
        self._complained_at = clock() - COMPLAIN_EVERY_S

    def tell(self, happening: Happening) -> None:
        """Publish that it happened."""
        if isinstance(happening, Heard | Answered) and not self._transcripts:
            return
        kind = str(type(happening).__struct_config__.tag)
        self._publish(f"{API}/event/{kind}", msgspec.json.encode(happening))

    async def run(self) -> None:
        """Obey and tell until cancelled."""
        commands: dict[str, Callable[[bytes], Awaitable[Reply]]] = {
            "ask": self._ask,
            "say": self._say,
            "listen": self._listen,
            "timer/set": self._set_timer,
            "timer/cancel": self._cancel_timer,
        }
        ends = [self._subscribe(name, do) for name, do in commands.items()]
        log.info("automations may use the topics below %s", API)
        try:
            while True:
                topic, payload = await self._outgoing.get()
                await self._bus.wait_connected()
                try:
                    await self._bus.publish(topic, payload)
                except BusError as error:
                    log.warning("%s", error)
        finally:
            for end in ends:
                end()
            for task in self._tasks:
                task.cancel()

    # ---- what comes in

    def _subscribe(self, name: str, do: Callable[[bytes], Awaitable[Reply]]) -> Callable[[], None]:
        def came(_topic: str, payload: bytes) -> None:
            if payload and self._obeys() and self._has_room(name, payload):
                task = asyncio.ensure_future(self._obey(name, payload, do))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        def was_kept(topic: str, payload: bytes) -> None:
            if payload and self._obeys():
                log.warning("not obeyed, because it was retained: the command on %s", topic)
                hint = f"publish without retain; clear this one with an empty retained message on {topic}"
                self._refuse(name, payload, "a retained command is not obeyed", hint)

        return self._bus.subscribe(f"{API}/{name}", came, kept=was_kept)

    def _has_room(self, name: str, payload: bytes) -> bool:
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._counted_at) * PER_S)
        self._counted_at = now
        if self._tokens >= 1 and len(self._tasks) < MAX_AT_ONCE:
            self._tokens -= 1
            return True
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            log.warning("dropped commands on %s/%s: too many at once", API, name)
            self._refuse(name, payload, "too many commands at once", f"at most {PER_S:g} a second")
        return False

    async def _obey(self, name: str, payload: bytes, do: Callable[[bytes], Awaitable[Reply]]) -> None:
        try:
            self._answer(await do(payload))
        except MycoswarmError as error:
            self._refuse(name, payload, str(error), error.hint)
        except TimeoutError:
            self._refuse(name, payload, "it took too long", "mycoswarm doctor tells what is slow")
        except Exception:  # a fault of our own code costs this command, not the others
            log.exception("the command on %s/%s failed", API, name)
            self._refuse(name, payload, "the hub failed at this", "its log says why; please report it")

    # ---- the commands

    async def _ask(self, payload: bytes) -> Reply:
        asked = parse_command(payload, Ask)
        context = Context(
            area=asked.area,
            language=asked.language or self._language,
            origin="program",
            cause=f"a message on {API}/ask",
            desk="mqtt",
        )
        trace = await self._abilities.ask(asked.text, context=context)
        return Reply(
            command="ask",
            ok=True,
            id=asked.id,
            text=trace.answer,
            intent=trace.intent,
            outcome=trace.outcome,
            utterance_id=trace.utterance_id,
        )

    async def _say(self, payload: bytes) -> Reply:
        asked = parse_command(payload, Say)
        said = await self._abilities.saying.say(asked, until="played")
        played = not said.missed and all(each.outcome == "played" for each in said.reports)
        return Reply(command="say", ok=played, id=asked.id, reports=said.reports, missed=said.missed)

    async def _listen(self, payload: bytes) -> Reply:
        asked = parse_command(payload, Listen)
        reports = await self._abilities.listen(Whom(names=(asked.to,)))
        if not reports:
            raise nobody_answers(asked.to, self._abilities.places())
        heard = any(each.outcome == "listening" for each in reports)
        return Reply(command="listen", ok=heard, id=asked.id, reports=reports)

    async def _set_timer(self, payload: bytes) -> Reply:
        asked = parse_command(payload, SetTimer)
        if not 0 < asked.duration_s <= MAX_DURATION_S:
            raise MalformedMessage(f"no timer runs for {asked.duration_s:g} s", hint="give seconds, minutes or hours")
        satellite, area = self._place(asked.to)
        kept = await self._abilities.timers.start(
            asked.duration_s,
            name=" ".join(asked.name.split()),
            satellite=satellite,
            area=area,
            language=asked.language or self._language,
        )
        if kept is None:
            raise MycoswarmError(f"there are {MAX_TIMERS} timers already", hint="cancel some")
        return Reply(command="timer/set", ok=True, id=asked.id, timer=kept.timer.id)

    async def _cancel_timer(self, payload: bytes) -> Reply:
        asked = parse_command(payload, CancelTimer)
        if not (asked.timer or asked.name or asked.all):
            raise MalformedMessage("which timer?", hint='such as {"name": "pizza"}, {"timer": ID} or {"all": true}')
        fitting = tuple(
            timer.id
            for timer, _ in self._abilities.timers.all()
            if asked.all or timer.id == asked.timer or (asked.name and timer.name.casefold() == asked.name.casefold())
        )
        if not fitting and not asked.all:
            raise MycoswarmError("there is no such timer", hint="mycoswarm timers lists them")
        for timer_id in fitting:
            await self._abilities.timers.cancel(timer_id)
        return Reply(command="timer/cancel", ok=True, id=asked.id, timers=fitting)

    def _place(self, wanted: str) -> tuple[str, str]:
        """Satellite and room of that name. One that is not connected here rings where it is, or else everywhere."""
        whom = Whom(names=(wanted,)) if wanted else None
        found = [place for place in self._abilities.places() if whom is not None and whom.means(*place)]
        return found[0] if found else (wanted, "")

    # ---- what goes out

    def _refuse(self, name: str, payload: bytes, error: str, hint: str) -> None:
        self._answer(Reply(command=name, ok=False, id=id_of(payload), error=error[:500], hint=hint[:500]))

    def _answer(self, reply: Reply) -> None:
        self._publish(f"{API}/answer", msgspec.json.encode(reply))

    def _publish(self, topic: str, payload: bytes) -> None:
        if self._outgoing.full():
            log.warning("%d messages wait for the broker: dropped one for %s", MAX_OUTGOING, topic)
            return
        self._outgoing.put_nowait((topic, payload))
