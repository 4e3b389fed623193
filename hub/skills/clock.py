"""Skill: tells the time and the date."""

from __future__ import annotations

from hub.answers import Wording
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request


class Clock:
    """The hub's local time."""

    intents = frozenset({"HassGetCurrentTime", "HassGetCurrentDate"})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Always."""
        return (words.talk.ability("clock"),)

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Time, date or both."""
        talk, now = request.words.talk, request.local_time
        said = [talk.time(now) if intent.name == "HassGetCurrentTime" else talk.date(now) for intent in intents]
        return Reply(" ".join(said))
