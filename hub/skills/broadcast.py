"""Skill: says in other rooms what a person wants said there."""

from __future__ import annotations

from hub.answers import Wording
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request
from swarm.announcement import MAX_TEXT, Announcement, Whom


class Broadcast:
    """In a room that is named, or in all but that of the person who speaks."""

    intents = frozenset({"HassBroadcast"})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Not told: most homes have one room with a satellite."""
        return ()

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """One at a time: what follows "and" belongs to the message."""
        talk, slots = request.words.talk, intents[0].slots
        message = " ".join(str(slots.get("message", "")).split())[:MAX_TEXT]
        if not message:
            return Reply(talk.what_to_announce(), "not_understood")
        area = str(slots.get("area", ""))
        here = tuple(name for name in (request.context.satellite, request.context.area) if name)
        whom = Whom(names=(area,)) if area else Whom(but=here)
        announcement = Announcement(message[:1].upper() + message[1:], language=request.context.language)
        reports = await request.announce(announcement, whom)
        told = [each.area or each.satellite for each in reports if each.told]
        if not reports:
            return Reply(talk.no_speaker(area) if area else talk.nobody_to_tell(), "failed")
        if not told:
            return Reply(talk.not_announced([each.area or each.satellite for each in reports]), "failed")
        return Reply(talk.announced(list(dict.fromkeys(told))))
