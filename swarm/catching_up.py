"""How a node comes back that was off while the right to admit others was given on.

By now its peers may have certificates of an authority that it never heard of, and the node whose authority it knows
may be gone for good. It knows the peers themselves, though: they are in its roster, and their ids are made of their
keys. So it asks one of them for the ledger, over a connection that is good for nothing else
(`swarm.tls.MemberContexts`). There stands the grant, signed by somebody whom it believed before; whoever hands it over
is not believed for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from swarm.certificates import NodeId
from swarm.errors import MycoswarmError
from swarm.ledger import sync
from swarm.membership import MAX_MEMBERS
from swarm.peer_session import Address, PeerSession
from swarm.roster import Roster
from swarm.tls import MemberContexts, TlsContexts

PULL_S = 30.0
AGAIN_S = 10.0
"""Before the same node is asked again: what it has may be all that there is."""

_log = logging.getLogger(__name__)


class CatchingUp:
    """One node's. `unproved` may be called at any time; `run` does the rest."""

    def __init__(self, roster: Roster, contexts: TlsContexts, addresses: Callable[[NodeId], Sequence[Address]]) -> None:
        """`addresses` as for `PeerSession`."""
        self._roster = roster
        self._contexts = MemberContexts(contexts)
        self._addresses = addresses
        self._unproved: asyncio.Queue[NodeId] = asyncio.Queue(maxsize=8)
        self._asked: dict[NodeId, float] = {}

    def unproved(self, node: NodeId) -> None:
        """The node was called, and what it showed is of no authority known here."""
        now = asyncio.get_running_loop().time()
        if not self._roster.is_member(node) or now - self._asked.get(node, -AGAIN_S) < AGAIN_S:
            return
        if len(self._asked) >= MAX_MEMBERS:
            self._asked.clear()
        with suppress(asyncio.QueueFull):  # those that wait know no less
            self._unproved.put_nowait(node)
            self._asked[node] = now

    async def run(self) -> None:
        """Ask those until cancelled."""
        while True:
            await self._ask(await self._unproved.get())

    async def _ask(self, node: NodeId) -> None:
        bundle = self._roster.bundle()
        session = PeerSession(node, self._contexts, self._addresses)
        try:
            async with asyncio.timeout(PULL_S):
                await sync.pull(self._roster.ledger, session, node)
        except (MycoswarmError, TimeoutError) as error:
            _log.debug("%s, whose certificate nobody known here issued, gave no ledger: %s", node, error)
        finally:
            await session.close()
        if self._roster.bundle() is not bundle:
            _log.info("%s told who admits machines now: this node was off when that changed", node)
