from __future__ import annotations

import asyncio

from hub.home.registry import Home
from hub.live_understanding import LiveUnderstanding
from swarm.broker import BrokerAddress
from swarm.bus import Bus
from swarm.config import BusSection
from swarm.engine import CommandGrammar
from tests.buses import background, until


class Ears:
    """A transcriber, as far as its grammar goes."""

    def __init__(self) -> None:
        self.grammars: list[CommandGrammar] = []

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        self.grammars.append(grammar)

    def hears(self, word: str) -> bool:
        return any(word in arc.word for arc in self.grammars[-1].arcs)


def test_another_wake_phrase_is_listened_for_at_once() -> None:
    async def scenario() -> None:
        home, ears = Home(Bus(BrokerAddress("127.0.0.1", 1), "test"), BusSection()), Ears()
        understanding = LiveUnderstanding(home, language="en", wake_phrases=["okay nabu"])
        understanding.expect(["alexa"])
        async with background(understanding.run(ears)):
            await until(understanding.ready.is_set)
            assert len(ears.grammars) == 1
            assert ears.hears("alexa") and not ears.hears("nabu")
            understanding.expect(["hey jarvis"])
            await until(lambda: len(ears.grammars) == 2)
            assert ears.hears("jarvis") and not ears.hears("alexa")

    asyncio.run(scenario())
