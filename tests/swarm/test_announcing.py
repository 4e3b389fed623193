from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from hub.voice import VoiceHub
from swarm.announcement import Announcement, Report, Until, Whom
from swarm.capability import Member
from swarm.enrolled_node import EnrolledNode
from swarm.node.announcing import Announcing
from swarm.peer_session import PeerUnreachable
from swarm.voice_routes import Announce, Announced


@dataclass
class Satellites:
    """Of one node: those that are connected there, and what was said at each."""

    names: tuple[str, ...] = ()
    said: list[tuple[str, str]] = field(default_factory=list)
    broken: bool = False

    async def announce(self, announcement: Announcement, whom: Whom, *, until: Until) -> tuple[Report, ...]:
        told = [name for name in self.names if whom.means(name, f"{name}room")]
        self.said += [(name, announcement.text) for name in told]
        return tuple(Report(name, f"{name}room", "waits" if until == "sent" else "played") for name in told)

    async def call(self, method: str, path: str, message: Announce, **_: Any) -> Announced:
        if self.broken:
            raise PeerUnreachable("x", "tcp", "it is gone")
        return Announced(await self.announce(message.announcement, message.whom, until=message.until))


class Home:
    """This node and others, as an enrolled node knows them."""

    def __init__(self, **others: Satellites) -> None:
        self.others = others
        self.peer = self
        self.states: dict[str, str] = {}
        self.roles: dict[str, tuple[str, ...]] = {}

    def members(self) -> list[Member]:
        there = [
            Member(name, name, roles=self.roles.get(name, ("hub",)), state=cast(Any, self.states.get(name, "alive")))
            for name in self.others
        ]
        return [Member("here", "here", roles=("hub",), here=True), *there]

    def session(self, node: str) -> Satellites:
        return self.others[node]


def announced(here: Satellites, home: Home | None, satellite: str) -> bool:
    announcing = Announcing(cast(VoiceHub, here), cast(EnrolledNode, home))
    return asyncio.run(announcing.announce(satellite, "Tea."))


def test_satellite_that_is_here_hears_it_and_nobody_else_is_asked() -> None:
    here, other = Satellites(("kitchen",)), Satellites(("kitchen", "bed"))
    assert announced(here, Home(other=other), "kitchen")
    assert (here.said, other.said) == ([("kitchen", "Tea.")], [])


def test_satellite_that_uses_another_hub_hears_it_there() -> None:
    here, one, two = Satellites(("bed",)), Satellites(("hall",)), Satellites(("kitchen",))
    assert announced(here, Home(one=one, two=two), "kitchen")
    assert (here.said, one.said, two.said) == ([], [], [("kitchen", "Tea.")])


def test_what_is_for_all_is_heard_at_the_satellites_of_all_nodes() -> None:
    here, one, two = Satellites(("bed",)), Satellites(broken=True), Satellites(("kitchen",))
    assert announced(here, Home(one=one, two=two), "")
    assert (here.said, two.said) == ([("bed", "Tea.")], [("kitchen", "Tea.")])


@pytest.mark.parametrize(("state", "role"), [("dead", "hub"), ("alive", "worker")])
def test_the_dead_and_those_without_a_voice_are_not_asked(state: str, role: str) -> None:
    here, other = Satellites(), Satellites(("kitchen",))
    home = Home(other=other)
    home.states["other"], home.roles["other"] = state, (role,)
    assert not announced(here, home, "kitchen")
    assert other.said == []


def test_alone_it_is_said_here_or_nowhere() -> None:
    here = Satellites(("kitchen",))
    assert announced(here, None, "kitchen")
    assert not announced(here, None, "attic")


def reports(here: Satellites, home: Home | None, whom: Whom) -> tuple[Report, ...]:
    announcing = Announcing(cast(VoiceHub, here), cast(EnrolledNode, home))
    return asyncio.run(announcing.say(Announcement("Tea."), whom, until="played"))


def test_rooms_and_satellites_that_are_named_hear_it_on_every_node_and_each_reports() -> None:
    here, other = Satellites(("bed", "hall")), Satellites(("kitchen", "attic"))
    assert reports(here, Home(other=other), Whom(names=("Bedroom", "kitchen"))) == (
        Report("bed", "bedroom", "played"),
        Report("kitchen", "kitchenroom", "played"),
    )
    assert (here.said, other.said) == ([("bed", "Tea.")], [("kitchen", "Tea.")])


def test_the_room_that_is_left_out_hears_nothing() -> None:
    here, other = Satellites(("bed",)), Satellites(("kitchen",))
    assert [each.satellite for each in reports(here, Home(other=other), Whom(but=("bed", "Bedroom")))] == ["kitchen"]
    assert here.said == []


def test_names_that_nobody_answers_to_are_told() -> None:
    told = reports(Satellites(("bed",)), None, Whom(names=("BED_ROOM", "bed", "cellar")))
    assert Whom(names=("bedroom", "Bed", "cellar")).missed(told) == ("cellar",)
