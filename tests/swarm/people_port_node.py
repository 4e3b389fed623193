"""A node for tests of the command line: the real people's port over answers that a test decides."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from hub.home.entity import Entity, State
from hub.intent import Context
from hub.people_port import Node, Say, SpokenAnswer, build_app, start
from hub.timer_book import Timer
from swarm.audio import duration_s, read_wav, write_wav
from swarm.client import BrokerStatus, NodeAddress, Status, announce_node, withdraw_node
from swarm.errors import EngineError, MycoswarmError
from swarm.messages import Mark, Trace
from swarm.store import Store

DEADLINE_S = 20.0
TRACE = Trace(
    utterance_id="u1",
    started_at="2026-01-01T10:00:00.000+01:00",
    source="voice",
    satellite="kitchen",
    transcript="turn on the lamp",
    intent="HassTurnOn",
    answer="The lamp is on.",
    outcome="done",
    marks=(Mark("wake", "pi", 0.0), Mark("endpoint", "pi", 900.0), Mark("intent", "hub", 902.5)),
)


class PeoplePortNode:
    """Announced in `state_dir` while entered; `pid` is what it claims to be."""

    def __init__(self, state_dir: Path, *, pid: int) -> None:
        self._state_dir = state_dir
        self._pid = pid
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""
        self.muted = False
        self.asked: list[tuple[str, Context]] = []
        self.heard: list[tuple[float, bool]] = []
        """Seconds and whether a wake word was wanted, of each recording."""
        self.waits = threading.Event()
        """Set once a question is being waited for that never gets its answer."""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        store = Store(self._state_dir / "node.db")
        await store.save_trace(Trace("u0", "2026-01-01T09:00:00+01:00", "text", transcript="hello"))
        await store.save_trace(TRACE)
        node = Node(
            language="en",
            status=self._status,
            ask=self._ask,
            ask_audio=self._ask_audio,
            traces=store,
            entities=lambda: [
                (
                    Entity("light.lamp", "light", "Lamp \x1b[31m", area="Kitchen"),
                    State(value="on", brightness=40),
                ),
                (Entity("sensor.t", "sensor", "Temperature", area="Bath", unit="°C"), State(value="21.5")),
                (Entity("switch.s", "switch", "Socket"), State(available=False)),
            ],
            timers=lambda: [(Timer("t1", 600.0, 0.0, name="pizza", satellite="kitchen"), 75.2)],
            set_muted=self._set_muted,
            voice=self._voice,
        )
        runner, self.url = await start(build_app(node, ask_timeout_s=DEADLINE_S), port=0)
        announce_node(self._state_dir, NodeAddress(self.url, self._pid))
        self._ready.set()
        await self._end.wait()
        withdraw_node(self._state_dir)
        await runner.cleanup()
        await store.close()

    def _status(self) -> Status:
        return Status(
            version="1",
            node="here",
            url=self.url,
            roles=("hub",),
            uptime_s=1.5,
            broker=BrokerStatus(kind="mosquitto", connected=True),
            engines={"synthesizer": "espeak-ng"},
            satellites=(),
            language_model=None,
            entities=3,
        )

    async def _ask(self, text: str, *, context: Context, say: Say) -> Trace:
        self.asked.append((text, context))
        match text:
            case "fail":
                raise EngineError("the engine broke", hint="start it again")
            case "wait":
                await say("One moment.")
                self.waits.set()
                await asyncio.Event().wait()
            case "never mind":
                return Trace("u3", TRACE.started_at, "text", transcript=text, outcome="cancelled")
            case "escape":
                await say("\x1b[2JGone.")
                return TRACE
        await say("First.")
        await say("Second.")
        return Trace("u2", TRACE.started_at, "text", transcript=text, answer="First. Second.", outcome="done")

    async def _ask_audio(self, wav: bytes, wake: bool) -> SpokenAnswer:
        self.heard.append((duration_s(read_wav(wav)), wake))
        return SpokenAnswer(TRACE, write_wav(b"\x01\x02" * 800))

    async def _set_muted(self, muted: bool) -> None:
        if self.muted == muted:
            raise MycoswarmError("nothing to do")
        self.muted = muted

    async def _voice(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotImplemented
