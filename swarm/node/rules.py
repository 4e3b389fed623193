"""The rules of a node: where they are kept, what runs them, how they are asked for."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Literal

from aiohttp import web

from hub.conversation import Conversation
from hub.home.registry import Home
from hub.intent import Context, Intent
from hub.live_understanding import LiveUnderstanding
from hub.rules.ledger_rules import LedgerRules
from hub.rules.rules import Rules
from hub.rules.running import RuleRunner
from hub.rules_port import RulesPort
from swarm.announcement import Announcement, Whom
from swarm.config import Config
from swarm.enrolled_bus import HOME
from swarm.enrolled_node import EnrolledNode
from swarm.node.announcing import Announcing
from swarm.node.home_bus import HomeBus
from swarm.store import Store
from swarm.trace import TraceRecorder


class NodeRules:
    """`run` until cancelled. In a swarm all hubs have the same rules, and the one that owns the home runs them."""

    def __init__(
        self,
        config: Config,
        store: Store,
        home: Home,
        bus: HomeBus,
        understanding: LiveUnderstanding,
        enrolled: EnrolledNode | None,
        *,
        conversation: Callable[[], Conversation],
        announcing: Callable[[], Announcing],
    ) -> None:
        self._config = config
        self._store = store
        self._conversation = conversation
        self._announcing = announcing
        shared = LedgerRules(enrolled.roster.ledger, before=store) if enrolled is not None else None
        self.rules = Rules(shared or store, read=understanding.read_rule)
        self._runner = RuleRunner(
            self.rules,
            home,
            act=self._act,
            say=self._say,
            owns=lambda: bus.owns(HOME),
            follow=shared.subscribe if shared is not None else None,
        )

    async def run(self) -> None:
        """Watch and act."""
        await self._runner.run()

    def routes(self) -> list[web.RouteDef]:
        """For the people's port."""
        port = RulesPort(
            self.rules,
            request=lambda context: self._conversation().request(context, self._recorder("text")),
            language=self._config.node.language,
        )
        return port.routes()

    async def _act(self, intents: tuple[Intent, ...], context: Context) -> tuple[str, bool]:
        recorder = self._recorder("rule")
        recorder.note(transcript=context.cause)
        try:
            reply = await self._conversation().carry_out(intents, context, recorder)
        finally:
            await self._store.save_trace(recorder.trace())
        return reply.text, reply.result == "done"

    async def _say(self, text: str, room: str, language: str) -> bool:
        reports = await self._announcing().say(
            Announcement(text, language=language), Whom(names=(room,)) if room else Whom()
        )
        return any(each.told for each in reports)

    def _recorder(self, source: Literal["text", "rule"]) -> TraceRecorder:
        return TraceRecorder(uuid.uuid4().hex, node=self._config.node.name, source=source)
