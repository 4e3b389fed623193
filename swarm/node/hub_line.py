"""How the satellite of a node that is no hub gets to one: to the best live hub of the swarm over the nodes' port, and
where there is none, to the assistant in its own process, which knows the commands too and reaches what it reaches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from edge.line import MAX_FRAME_BYTES, Connector, Line, UrlConnector
from swarm.certificates import NodeId
from swarm.config import Config, wanted_roles
from swarm.enrolled_node import EnrolledNode
from swarm.errors import MycoswarmError
from swarm.hub_choice import Chosen, choose_hubs
from swarm.voice_routes import VOICE_PATH

OPEN_S, URGENT_OPEN_S = 3.0, 0.5
"""TCP, TLS and the WebSocket; on a LAN it takes 0.02 s. Somebody who waits is not kept waiting by a second dead hub."""
AVOID_S = 2.0
"""How long a hub that could not be had, or was lost, is not tried again."""
CLOSE_S = 0.1
"""For the good-bye: a hub that went silent is not waited for."""

log = logging.getLogger("swarm.node")


class SatellitesHub:
    """Whose assistant this machine's satellites use: its own, or, where this node is no hub, the best of the swarm's. A
    hub is its own satellite's nearest."""

    def __init__(self, config: Config, enrolled: EnrolledNode | None, *, url: Callable[[], str]) -> None:
        """`url`: where the people's port is, once a connector is made."""
        self.is_elsewhere = enrolled is not None and "hub" not in wanted_roles(config)
        self.found = asyncio.Event()
        """Set once a hub of another machine serves this machine's own satellite."""
        self._own_name = config.node.name
        self._enrolled = enrolled
        self._url = url
        self._served_by = ""

    def connector(self, *, is_own: bool = False) -> Connector:
        """For a satellite. `is_own`: the one of this machine, whose hub the other machines hear of."""
        own = UrlConnector(f"{self._url().replace('http', 'ws', 1)}/api/voice")
        if self._enrolled is None or not self.is_elsewhere:
            return own
        return SwarmConnector(self._enrolled, own, self._note if is_own else lambda _: None)

    def name(self) -> str:
        """Of the machine that serves this machine's own satellite; empty while none does."""
        if self._enrolled is None or not self.is_elsewhere:
            return self._own_name
        members = {member.node: member.name for member in self._enrolled.peer.members()}
        return members.get(self._served_by, self._served_by)

    def _note(self, node: NodeId) -> None:
        assert self._enrolled is not None
        self._served_by = node
        if node != self._enrolled.node_id:
            self.found.set()
        self._enrolled.peer.describe(served_by=node)


class SwarmConnector:
    """A `Connector`. `served_by` hears of the hub: its id, or this node's own."""

    where = "a hub of the swarm"

    def __init__(self, enrolled: EnrolledNode, own: Connector, served_by: Callable[[NodeId], None]) -> None:
        self._enrolled = enrolled
        self._own = own
        self._served_by = served_by
        self._loop = asyncio.get_running_loop()
        self._before = ""
        self._avoid: dict[NodeId, float] = {}

    @asynccontextmanager
    async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
        """See `Connector`."""
        async with AsyncExitStack() as closing:
            for hub in self._hubs(urgent=urgent):
                try:
                    async with asyncio.timeout(URGENT_OPEN_S if urgent else OPEN_S):
                        socket = await closing.enter_async_context(self._socket(hub.node))
                except (MycoswarmError, TimeoutError) as error:
                    self._avoid[hub.node] = self._loop.time() + AVOID_S
                    log.info("the satellite cannot use the hub %s: %s", hub.name, str(error) or "it is too slow")
                    continue
                log.info("the satellite uses the hub %s: %s", hub.name, hub.because)
                self._before = hub.node
                self._served_by(hub.node)
                try:
                    yield Line(socket, over_network=True)
                finally:  # it is left only when it is lost
                    self._avoid[hub.node] = self._loop.time() + AVOID_S
                return
            line = await closing.enter_async_context(self._own.line(urgent=urgent))
            log.info("no hub can be used: the satellite works alone, with what this machine reaches")
            self._served_by(self._enrolled.node_id)
            yield Line(line.socket, better=lambda: bool(self._hubs(urgent=False)))

    def _hubs(self, *, urgent: bool) -> tuple[Chosen, ...]:
        now = self._loop.time()
        return choose_hubs(
            self._enrolled.peer.members(),
            now,
            before=self._before,
            avoid=[node for node, until in self._avoid.items() if now < until],
            urgent=urgent,
        )

    @asynccontextmanager
    async def _socket(self, hub: NodeId) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self._enrolled.session(hub).websocket(
            VOICE_PATH, max_message_bytes=MAX_FRAME_BYTES, autoping=False, close_s=CLOSE_S
        ) as socket:
            yield socket
