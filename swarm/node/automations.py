"""The interface of people's automations, put together from the parts of a node: `hub.mqtt_api`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from hub.happenings import Happening, of_timer, of_typed
from hub.intent import Context
from hub.mqtt_api.service import Abilities, MqttApi
from hub.people_port import Say
from hub.saying import Saying
from hub.timers import Timers
from hub.voice import VoiceHub
from swarm.config import Config
from swarm.enrolled_bus import HOME
from swarm.messages import Trace
from swarm.node.announcing import Announcing
from swarm.node.home_bus import HomeBus


class Ask(Protocol):
    """As the people's port has it."""

    def __call__(self, text: str, *, context: Context, say: Say) -> Awaitable[Trace]:
        """See `hub.people_port.Ask`."""


class Automations:
    """`run` it on a hub where a person switched it on; until then what happens is told to nobody."""

    def __init__(self, config: Config, bus: HomeBus, *, ask: Ask, ask_timeout_s: float) -> None:
        self._config = config
        self._bus = bus
        self._ask_as_person_types = ask
        self._ask_timeout_s = ask_timeout_s
        self._tell: Callable[[Happening], None] = lambda _: None

    def happened(self, happening: Happening) -> None:
        """Something happened in a conversation."""
        self._tell(happening)

    def finished(self, trace: Trace) -> None:
        """An utterance is over."""
        for happening in of_typed(trace):
            self._tell(happening)

    async def run(self, *, saying: Saying, announcing: Announcing, timers: Timers, voice: VoiceHub) -> None:
        """Obey and tell until cancelled."""
        section = self._config.mqtt_api
        api = MqttApi(
            self._bus.bus,
            Abilities(self._ask, saying, announcing.listen, timers, lambda: voice.places),
            obeys=lambda: self._bus.owns(HOME),
            transcripts=section.transcripts,
            language=self._config.node.language,
        )
        self._tell = api.tell
        timers.on_change.append(lambda change, timer, left_s: api.tell(of_timer(change, timer, left_s)))
        await api.run()

    async def _ask(self, text: str, *, context: Context) -> Trace:
        async with asyncio.timeout(self._ask_timeout_s):
            return await self._ask_as_person_types(text, context=context, say=_say_nothing)


async def _say_nothing(sentence: str) -> None:
    """The whole answer is enough."""
