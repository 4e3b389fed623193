"""Keeps this node's ledger as new as the others': what one node writes, all have a moment later.

Whoever has something new tells the nodes that it sees, and they pull it; nobody is sent what it did not ask for. Those
that were not told (they were off, or behind a broken link) find out when they meet anybody, or by asking one node at
random every few seconds, as in any epidemic protocol (Demers et al., "Epidemic Algorithms for Replicated Database
Maintenance", 1987). A pull that finds nothing new is one short answer.

::

    POST /v1/ledger/told    pull from me now; answered when that is done
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from aiohttp import web

from swarm.certificates import NodeId
from swarm.errors import MycoswarmError
from swarm.ledger import sync
from swarm.ledger.errors import SyncError
from swarm.ledger.ledger import Ledger
from swarm.membership import MAX_MEMBERS
from swarm.node_api import Refused, asking_node, json_answer
from swarm.peer_session import Peers

TOLD_PATH = "/v1/ledger/told"
PULL_EVERY_S = 5.0
GATHER_S = 0.02
"""Changes that come together are told together."""
TELL_AT_ONCE = 8
"""Nodes that are told of a change by each that has it; in a larger swarm these tell the rest."""
MAX_WAITING = 4
"""Pulls from one node that wait for the one under way."""
ANSWER_S = 10.0

_log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """What the asker has is here now."""


class LedgerFollowing:
    """One node's part in it. `met` and `tell` may be called at any time; `run` does the rest."""

    def __init__(self, ledger: Ledger, peers: Peers, live: Callable[[], Sequence[NodeId]]) -> None:
        """`live` are the other nodes that can be reached now, as far as is known."""
        self._ledger = ledger
        self._peers = peers
        self._live = live
        self._met: asyncio.Queue[NodeId] = asyncio.Queue(maxsize=MAX_MEMBERS)
        self._news = asyncio.Event()
        self._pulling: dict[NodeId, asyncio.Lock] = {}
        self._waiting: dict[NodeId, int] = {}
        self._troubled: set[NodeId] = set()
        """Those that give what cannot be taken: said once each."""

    def routes(self) -> list[web.AbstractRouteDef]:
        """For the nodes' port."""
        return [
            *sync.routes(self._ledger, lambda request: asking_node(request).node_id),
            web.post(TOLD_PATH, self._was_told),
        ]

    def met(self, node: NodeId) -> None:
        """A node turned up: see what it knows."""
        with suppress(asyncio.QueueFull):  # one of those that were met at once knows what this one does
            self._met.put_nowait(node)

    async def tell(self, node: NodeId) -> bool:
        """Have the node pull from here; whether it did."""
        try:
            await self._peers[node].call("POST", TOLD_PATH, reply=Told, timeout_s=ANSWER_S)
        except (MycoswarmError, TimeoutError) as error:
            _log.debug("%s was not told of changes: %s", node, error)
            return False
        return True

    async def run(self) -> None:
        """Pull and tell until cancelled."""
        unsubscribe = self._ledger.subscribe(lambda _: self._news.set())
        try:
            async with asyncio.TaskGroup() as services:
                services.create_task(self._pull_from_those_met())
                services.create_task(self._pull_now_and_then())
                services.create_task(self._tell_changes())
        finally:
            unsubscribe()

    async def _pull_from_those_met(self) -> None:
        while True:
            await self._try_to_pull(await self._met.get())

    async def _pull_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(PULL_EVERY_S)
            if live := self._live():
                await self._try_to_pull(random.choice(live))

    async def _tell_changes(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            live = list(self._live())
            chosen = random.sample(live, min(len(live), TELL_AT_ONCE))
            await asyncio.gather(*(self.tell(node) for node in chosen))

    async def _was_told(self, request: web.Request) -> web.Response:
        node = asking_node(request).node_id
        if self._waiting.get(node, 0) >= MAX_WAITING:
            raise Refused(503, "this node is pulling already", retry_after_s=1)
        try:
            await self._pull(node)
        except TimeoutError as error:
            raise Refused(503, "the ledger could not be pulled in time") from error
        return json_answer(Told())

    async def _try_to_pull(self, node: NodeId) -> None:
        try:
            await self._pull(node)
        except SyncError as error:
            if node not in self._troubled:
                self._troubled.add(node)
                _log.warning("the ledger of %s: %s", node, error)
        except (MycoswarmError, TimeoutError) as error:
            _log.debug("nothing could be pulled from %s: %s", node, error)

    async def _pull(self, node: NodeId) -> None:
        """One at a time from one node. Raises `MycoswarmError`, `TimeoutError`."""
        lock = self._pulling.setdefault(node, asyncio.Lock())
        self._waiting[node] = self._waiting.get(node, 0) + 1
        try:
            async with lock:
                pulled = await sync.pull(self._ledger, self._peers[node], node)
        finally:
            self._waiting[node] -= 1
            if not self._waiting[node]:
                del self._waiting[node], self._pulling[node]
        self._troubled.discard(node)
        if pulled.operations:
            _log.debug("%d operations came from %s", pulled.operations, node)
        for log, why in pulled.refused.items():
            _log.debug("%s of %s is not taken: %s", log, node, why)
