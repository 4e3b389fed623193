"""Says what nobody asked for at the satellites that it is meant for, whichever hubs those are connected to now."""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

from hub.voice import VoiceHub
from swarm.announcement import Announcement, Report, Until, Whom
from swarm.capability import Member
from swarm.enrolled_node import EnrolledNode
from swarm.errors import MycoswarmError
from swarm.voice_routes import (
    ANNOUNCE_PATH,
    HAVE_VOICE,
    LISTEN_PATH,
    Announce,
    Announced,
    ListenHere,
    Listening,
    ListenReport,
)

ASK_S = {"sent": 20.0, "played": 100.0}
"""How long another node may take: it waits for the end of the answer that it is speaking, or for its playing."""

LISTEN_S = 5.0
MOMENT_S = 2.0
"""A person waits for the word that it is being announced."""
T = TypeVar("T")

log = logging.getLogger("swarm.node")


class Announcing:
    """`voice` has the satellites that are connected here; `enrolled` None: there are no others."""

    def __init__(self, voice: VoiceHub, enrolled: EnrolledNode | None) -> None:
        self._voice = voice
        self._enrolled = enrolled
        self._begun: set[asyncio.Future[tuple[Report, ...]]] = set()

    async def announce(self, satellite: str, text: str) -> bool:
        """Say it at one satellite of the swarm or, with an empty name, at all; False when none was told."""
        reports = await self.say(Announcement(text), Whom(satellite))
        return any(each.told for each in reports)

    async def say(self, announcement: Announcement, whom: Whom, *, until: Until = "sent") -> tuple[Report, ...]:
        """Say it at all satellites of the swarm that are meant; what became of it at each. Where another node does
        not answer in time, nothing is reported of its satellites."""
        if whom.satellite:
            here = await self._voice.announce(announcement, whom, until=until)
            if any(each.told for each in here):
                return here
        asked = [self._ask(member, Announce(announcement, whom, until)) for member in self._others()]
        if not whom.satellite:
            asked.append(self._voice.announce(announcement, whom, until=until))
        return tuple(sorted(report for reports in await asyncio.gather(*asked) for report in reports))

    async def begin(self, announcement: Announcement, whom: Whom) -> tuple[Report, ...]:
        """Say it, and return what is known of it after a moment. Where somebody is being answered it waits, and is
        said when its turn comes."""
        saying = asyncio.ensure_future(self.say(announcement, whom))
        self._begun.add(saying)
        saying.add_done_callback(self._begun.discard)
        await asyncio.wait({saying}, timeout=MOMENT_S)
        if saying.done():
            return saying.result()
        return tuple(Report(name, area, "waits") for name, area in self._voice.places if whom.means(name, area))

    async def listen(self, whom: Whom) -> tuple[ListenReport, ...]:
        """Have satellites of the swarm listen without a wake word; what became of it at each."""
        answers = await asyncio.gather(
            *(self._call(each, LISTEN_PATH, ListenHere(whom), Listening, LISTEN_S) for each in self._others())
        )
        there = (report for answer in answers if answer is not None for report in answer.reports)
        return tuple(sorted((*await self._voice.listen(whom), *there)))

    def _others(self) -> list[Member]:
        members = self._enrolled.peer.members() if self._enrolled is not None else ()
        return [
            member
            for member in members
            if not member.here and member.state != "dead" and not HAVE_VOICE.isdisjoint(member.roles)
        ]

    async def _ask(self, member: Member, asked: Announce) -> tuple[Report, ...]:
        answer = await self._call(member, ANNOUNCE_PATH, asked, Announced, ASK_S[asked.until])
        return answer.reports if answer is not None else ()

    async def _call(self, member: Member, path: str, message: object, reply: type[T], limit_s: float) -> T | None:
        assert self._enrolled is not None
        try:
            session = self._enrolled.session(member.node)
            return await session.call("POST", path, message, reply=reply, timeout_s=limit_s)
        except (MycoswarmError, TimeoutError) as error:
            log.info("%s did not do %s: %s", member.name, path, str(error) or f"no answer within {limit_s:g} s")
            return None
