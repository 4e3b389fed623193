"""Keeps what can be understood, and listened for, in step with the home."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from hub.grammar import build_grammar
from hub.home.registry import Home
from hub.intent import Context, Intent
from hub.rules.reading import Draft, NotRead, RuleReader
from hub.sentences import load_templates
from hub.skills.rules import MAKE
from hub.understanding import Understanding, Verdict
from swarm.engine import CommandGrammar
from swarm.errors import EngineError

RETRY_S = 5.0

log = logging.getLogger(__name__)


class TakesGrammar(Protocol):
    """A transcriber, as far as its grammar goes."""

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """Use it from the next utterance on."""


class LiveUnderstanding:
    """Understands the commands of the home as it is now; implements `hub.conversation.Understanding`."""

    def __init__(
        self,
        home: Home,
        *,
        language: str,
        wake_phrases: Iterable[str],
        rooms: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`rooms`: see `Understanding`."""
        self._home = home
        self._satellite_rooms = rooms
        self._language = language
        self._wake_phrases = tuple(wake_phrases)
        self._other_phrases = asyncio.Event()
        self._current: tuple[Understanding, RuleReader] | None = None
        self.ready = asyncio.Event()
        """Set once the home as first found can be listened for."""

    def expect(self, wake_phrases: Iterable[str]) -> None:
        """Commands begin with these wake phrases from now on."""
        self._wake_phrases = tuple(wake_phrases)
        self._other_phrases.set()

    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        """See `Understanding.understand`."""
        understanding, rules = self._now()
        if rules.is_rule(text, context):
            return (Intent(MAKE, words=text),)
        return understanding.understand(text, context)

    def read_rule(self, text: str, context: Context) -> Draft | NotRead:
        """See `RuleReader.read`."""
        return self._now()[1].read(text, context)

    def judge(self, text: str, context: Context) -> Verdict:
        """See `Understanding.judge`."""
        understanding, rules = self._now()
        if rules.awaits_action(text, context):
            return "incomplete"
        if isinstance(rules.read(text, context), Draft):
            return "complete"
        return understanding.judge(text, context)

    async def run(self, transcriber: TakesGrammar) -> None:
        """Rebuild whenever devices, names or areas change. Service never stops: the old one serves until then."""
        version = -1
        while True:
            version = await self._news(version)
            # Templates are parsed when they are first used, for 0.3 s: not by a person's sentence.
            self._current = await asyncio.to_thread(self._rebuilt)
            understanding, _ = self._current
            grammar = await asyncio.to_thread(
                build_grammar, load_templates(self._language), understanding.vocabulary(self._wake_phrases)
            )
            try:
                await transcriber.set_grammar(grammar)
            except EngineError as error:
                log.error("commands that were added or renamed cannot be heard yet: %s", error)
                await asyncio.sleep(RETRY_S)
                version = -1
                continue
            log.info("listening for the commands of %d devices", len(self._home.entities))
            self.ready.set()

    async def _news(self, version: int) -> int:
        if version < 0:
            self._other_phrases.clear()
            return await self._home.changed(version)
        events = self._home.changed(version), self._other_phrases.wait()
        waiting = [asyncio.ensure_future(each) for each in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        self._other_phrases.clear()
        return self._home.version

    def _now(self) -> tuple[Understanding, RuleReader]:
        """Before the home is known, of a home without devices: made only for who asks by then, as a language's
        sentences keep a small board busy."""
        if self._current is None:
            understanding = Understanding({}, (), language=self._language)
            self._current = understanding, RuleReader({}, (), understanding.understand)
        return self._current

    def _rebuilt(self) -> tuple[Understanding, RuleReader]:
        new = Understanding(
            self._home.entities, self._home.areas(), language=self._language, rooms=self._satellite_rooms
        )
        new.understand("a sentence that nobody needs to understand", Context())
        return new, RuleReader(self._home.entities, self._home.areas(), new.understand)
