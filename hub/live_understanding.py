"""Keeps what can be understood, and listened for, in step with the home."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from hub.grammar import build_grammar
from hub.home.registry import Home
from hub.intent import Context, Intent
from hub.sentences import load_templates
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

    def __init__(self, home: Home, *, language: str, wake_phrases: Iterable[str]) -> None:
        self._home = home
        self._language = language
        self._wake_phrases = tuple(wake_phrases)
        self._current = Understanding({}, (), language=language)
        self.ready = asyncio.Event()
        """Set once the home as first found can be listened for."""

    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        """See `Understanding.understand`."""
        return self._current.understand(text, context)

    def judge(self, text: str, context: Context) -> Verdict:
        """See `Understanding.judge`."""
        return self._current.judge(text, context)

    async def run(self, transcriber: TakesGrammar) -> None:
        """Rebuild whenever devices, names or areas change. Service never stops: the old one serves until then."""
        version = -1
        while True:
            version = await self._home.changed(version)
            # Templates are parsed when they are first used, for 0.3 s: not by a person's sentence.
            self._current = await asyncio.to_thread(self._rebuilt)
            grammar = await asyncio.to_thread(
                build_grammar, load_templates(self._language), self._current.vocabulary(self._wake_phrases)
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

    def _rebuilt(self) -> Understanding:
        new = Understanding(self._home.entities, self._home.areas(), language=self._language)
        new.understand("a sentence that nobody needs to understand", Context())
        return new
