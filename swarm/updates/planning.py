"""Plans who installs next: on the hub whose turn it is.

Which hub that is every hub works out for itself (`swarm.lease`); when it dies, another one goes on, from what the
ledger says. Nothing is asked and nothing runs while nothing is offered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from swarm.capability import Member
from swarm.certificates import NodeId
from swarm.lease import Leases, live_hubs
from swarm.ledger.errors import LedgerError
from swarm.roster import Roster
from swarm.updates.shared import Go, SharedUpdates
from swarm.updates.waves import NodeNow, who_may

ROLE = "updates"

_log = logging.getLogger(__name__)


class Planning:
    """`run` it on every hub."""

    def __init__(
        self,
        me: NodeId,
        roster: Roster,
        shared: SharedUpdates,
        *,
        members: Callable[[], Sequence[Member]],
        busy: Callable[[NodeId], Awaitable[str]],
        every_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`members` are all nodes that were heard of, this one too; `busy` asks one of them why it should not be taken
        away now."""
        self._me = me
        self._roster = roster
        self._shared = shared
        self._members = members
        self._busy = busy
        self._clock = clock
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._leases = Leases(me, (ROLE,), started_at=self._loop.time())
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        unsubscribe = self._shared.subscribe(self._news.set)
        try:
            while True:
                self._news.clear()
                under_way = await self._look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._every_s if under_way else None):
                        await self._news.wait()
                if under_way:
                    await asyncio.sleep(min(0.2, self._every_s))  # what comes together is planned together
        finally:
            unsubscribe()

    async def _look(self) -> bool:
        """Whether there is something to plan, here or at another hub."""
        nodes = self._nodes({})
        if not any(each.offer and (each.out or (each.alive and each.state in ("idle", "ready"))) for each in nodes):
            return False  # what is off says so itself when it is back
        self._leases.update(live_hubs(self._members()), self._loop.time())
        if self._leases.owner(ROLE) != self._me:
            return True
        ask = [each.node for each in nodes if each.offer and each.alive and each.state in ("idle", "ready")]
        asked = dict(zip(ask, await asyncio.gather(*(self._busy(node) for node in ask)), strict=True))
        nodes = self._nodes(asked)
        offers = {each.node: each.offer for each in nodes}
        for node in who_may(nodes, self._clock()).go:
            _log.info("%s may install %s now", node, offers[node])
            try:
                await self._shared.let_go(node, Go(offers[node], self._clock()))
            except LedgerError as error:
                _log.warning("%s could not be told to install: %s", node, error.for_log())
        return True

    def _nodes(self, busy: Mapping[NodeId, str]) -> list[NodeNow]:
        return nodes_now(self._roster, self._shared, self._members(), busy)


def nodes_now(
    roster: Roster, shared: SharedUpdates, members: Sequence[Member], busy: Mapping[NodeId, str]
) -> list[NodeNow]:
    """All nodes of the swarm, as this one knows them; `busy` is what those said that were asked."""
    heard = {each.node: each for each in members}
    return [_node(roster, shared, node, heard.get(node), busy.get(node, "")) for node in roster.members()]


def _node(roster: Roster, shared: SharedUpdates, node: NodeId, member: Member | None, busy: str) -> NodeNow:
    roles = (*roster.roles(node), *(member.roles if member else ()))
    report, go = shared.report(node), shared.go(node)
    offer = shared.offer_for(node, report.compatible) if report is not None else None
    about = report.about(offer) if report is not None else None
    return NodeNow(
        node,
        alive=member is not None and (member.here or member.state != "dead"),
        hub="hub" in roles,
        edge="edge" in roles,
        remembered=member is not None,
        offer=offer.id if offer else "",
        state=about.state if about else "idle",
        reason=about.reason if about else "",
        go_at=go.at if go is not None and offer is not None and go.offer == offer.id else None,
        busy=busy,
    )
