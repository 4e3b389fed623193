"""Says what nobody asked for at the satellite that it is meant for, whichever hub that is connected to now."""

from __future__ import annotations

import asyncio
import logging

from hub.voice import VoiceHub
from swarm.capability import Member
from swarm.enrolled_node import EnrolledNode
from swarm.errors import MycoswarmError
from swarm.voice_routes import ANNOUNCE_PATH, HAVE_VOICE, Announced, Announcement

ASK_S = 20.0
"""How long another node may take to say it: it waits for the end of the answer that it is speaking."""

log = logging.getLogger("swarm.node")


class Announcing:
    """`voice` has the satellites that are connected here; `enrolled` None: there are no others."""

    def __init__(self, voice: VoiceHub, enrolled: EnrolledNode | None) -> None:
        self._voice = voice
        self._enrolled = enrolled

    async def announce(self, satellite: str, text: str) -> bool:
        """Say it at one satellite of the swarm or, with an empty name, at all; False when none was told."""
        if satellite and await self._voice.announce(satellite, text):
            return True
        told = [self._ask(member, Announcement(text, satellite)) for member in self._others()]
        if not satellite:
            told.append(self._voice.announce("", text))
        return any(await asyncio.gather(*told))

    def _others(self) -> list[Member]:
        members = self._enrolled.peer.members() if self._enrolled is not None else ()
        return [
            member
            for member in members
            if not member.here and member.state != "dead" and not HAVE_VOICE.isdisjoint(member.roles)
        ]

    async def _ask(self, member: Member, announcement: Announcement) -> bool:
        assert self._enrolled is not None
        try:
            session = self._enrolled.session(member.node)
            answer = await session.call("POST", ANNOUNCE_PATH, announcement, reply=Announced, timeout_s=ASK_S)
        except (MycoswarmError, TimeoutError) as error:
            log.info("%s was not told to announce: %s", member.name, str(error) or f"no answer within {ASK_S:g} s")
            return False
        return answer.heard
