"""From hints to peers: what discovery found is handed to membership, which tries it and believes only certificates.

Three kinds of hints need more than that. A static peer has no name: whoever answers there is asked for its certificate
first. A node that was silent for so long that nobody tries it any more is knocked at now and then, so that two parts of
a network that were apart for hours find each other again without multicast. And every node that turns up is asked whom
it knows, so that one acquaintance is enough.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

import msgspec

from swarm.candidate import Candidate, Change, Found
from swarm.certificates import NodeId, is_node_id
from swarm.discovery import Discovery
from swarm.errors import MycoswarmError
from swarm.membership import MAX_ADDRESSES, MAX_MEMBERS
from swarm.peer import Peer
from swarm.peer_session import Peers, PeerUnreachable, identify
from swarm.places import Address, place_text, places_of, reachable
from swarm.tls import MemberContexts, TlsContexts
from swarm.trust import Trust

ACQUAINTANCES_PATH = "/v1/nodes"
LOOK_EVERY_S = 1.0
KNOCK_EVERY_S = (2.0, 60.0)
"""First and longest pause between two knocks at a place where nobody of ours answered; doubled each time."""
MAX_KNOCKS = 8
"""At once."""
MAX_PLACES = 1024
"""Of which it is remembered when they were knocked at."""
ANSWER_S = 5.0

_log = logging.getLogger(__name__)

_Place = Annotated[str, msgspec.Meta(max_length=80)]


class Acquaintance(msgspec.Struct, frozen=True):
    """A node that another one knows. A hint, as everything that was not proved here."""

    node: Annotated[str, msgspec.Meta(max_length=26)]
    addresses: Annotated[tuple[_Place, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]


Acquaintances = Annotated[tuple[Acquaintance, ...], msgspec.Meta(max_length=MAX_MEMBERS)]


class PeerFinder:
    """Keeps one node acquainted. `found` is for `Discovery`, `met` for whoever hears beats; `run` does the rest."""

    def __init__(self, peer: Peer, peers: Peers, contexts: TlsContexts, trust: Trust) -> None:
        self._peer = peer
        self._peers = peers
        self._contexts = contexts
        self._trust = trust
        self._loop = asyncio.get_running_loop()
        self._candidates: Callable[[], Sequence[Candidate]] = tuple
        self._knocked: dict[Address, tuple[float, float]] = {}
        """When to knock there again, and how long the pause before that was."""
        self._knocking: set[asyncio.Task[None]] = set()
        self._to_ask: asyncio.Queue[NodeId] = asyncio.Queue(maxsize=MAX_MEMBERS)

    def follow(self, discovery: Discovery) -> None:
        """Knock at what this one knows."""
        self._candidates = discovery.candidates

    def found(self, change: Change) -> None:
        """Something appeared or changed. What went is no reason to believe that the node did."""
        candidate = change.candidate
        if isinstance(change, Found) and candidate.node_id and not self._trust.is_revoked(candidate.node_id):
            self._peer.hinted(candidate.node_id, places_of(candidate.addresses, candidate.port))

    def met(self, node: NodeId) -> None:
        """A node turned up: ask it whom it knows."""
        with suppress(asyncio.QueueFull):  # so many were met at once that one of them surely knows the rest
            self._to_ask.put_nowait(node)

    def acquaintances(self) -> tuple[Acquaintance, ...]:
        """What others are told who ask here."""
        return tuple(
            Acquaintance(member.node, member.addresses)
            for member in self._peer.members()
            if member.state != "dead" and member.addresses
        )

    async def run(self) -> None:
        """Ask and knock until cancelled."""
        try:
            async with asyncio.TaskGroup() as services:
                services.create_task(self._ask_around())
                services.create_task(self._look_around())
        finally:
            for knock in self._knocking:
                knock.cancel()

    async def _ask_around(self) -> None:
        while True:
            node = await self._to_ask.get()
            try:
                known = await self._peers[node].call("GET", ACQUAINTANCES_PATH, reply=Acquaintances, timeout_s=ANSWER_S)
            except (MycoswarmError, TimeoutError) as error:
                _log.debug("%s does not say whom it knows: %s", node, error)
                continue
            for each in known:
                places = tuple(place_text(*address) for address in reachable(each.addresses))
                if is_node_id(each.node) and places and not self._trust.is_revoked(each.node):
                    self._peer.hinted(each.node, places)

    async def _look_around(self) -> None:
        while True:
            now = self._loop.time()
            for candidate in self._candidates():
                if self._is_worth_a_knock(candidate, now):
                    for host in candidate.addresses:
                        self._knock((host, candidate.port), now)
            await asyncio.sleep(LOOK_EVERY_S)

    def _is_worth_a_knock(self, candidate: Candidate, now: float) -> bool:
        membership = self._peer.membership
        if candidate.node_id:
            known = candidate.node_id in membership.to_probe(now)
            return not known and candidate.node_id != self._peer.node and not self._trust.is_revoked(candidate.node_id)
        theirs = {place for member in self._peer.members() if member.state != "dead" for place in member.addresses}
        return not theirs.intersection(places_of(candidate.addresses, candidate.port))

    def _knock(self, address: Address, now: float) -> None:
        not_before, pause_s = self._knocked.get(address, (0.0, 0.0))
        if now < not_before or len(self._knocking) >= MAX_KNOCKS:
            return
        pause_s = min(max(2 * pause_s, KNOCK_EVERY_S[0]), KNOCK_EVERY_S[1])
        if len(self._knocked) >= MAX_PLACES:
            self._knocked.clear()
        self._knocked[address] = (now + pause_s, pause_s)
        knock = self._loop.create_task(self._who_is_there(address))
        self._knocking.add(knock)
        knock.add_done_callback(self._knocking.discard)

    async def _who_is_there(self, address: Address) -> None:
        try:
            try:
                node = await identify(self._contexts, address)
            except PeerUnreachable as error:
                if error.layer != "certificate":
                    raise
                node = await identify(MemberContexts(self._contexts), address)  # perhaps one of ours after all
        except PeerUnreachable as error:
            _log.debug("%s", error)
            return
        if node != self._peer.node:  # all machines may have the same list of peers
            self._knocked.pop(address, None)
            self._peer.hinted(node, places_of([address[0]], address[1]))
