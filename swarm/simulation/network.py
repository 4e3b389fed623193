"""A simulated LAN between nodes of one process: delay, loss, partitions, and machines whose daemon was killed.

Orders and answers travel through the real ends of a link (`swarm.link`), byte for byte, in order and without loss, as
over TCP: a lost packet is a delay, a partition is silence. Beats travel each for itself and may be lost or overtake.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from random import Random

from swarm.errors import MalformedMessage
from swarm.link import CallingEnd, ServingEnd
from swarm.membership import DEAD_S, Beat
from swarm.task import LossReason, Order
from swarm.transport import Execution, Receiver, Service

CONNECT_S = 1.0
RESEND_S = 0.2
"""What a lost packet costs a connection."""


class SimulatedNetwork:
    """Create it inside a running loop, best a `VirtualClockLoop`."""

    def __init__(self, random: Random, *, delay_s: tuple[float, float] = (0.0005, 0.01), loss: float = 0.0) -> None:
        """One way takes between the two of `delay_s`; `loss` is the part of packets that is lost."""
        self._random = random
        self._delay_s = delay_s
        self.loss = loss
        """May change at any time."""
        self._loop = asyncio.get_running_loop()
        self._services: dict[str, Service] = {}
        self._side: dict[str, int] = {}
        self._links: dict[_Link, None] = {}  # in order, so that a seed gives the same run every time

    def attach(self, node: str, service: Service) -> None:
        """The daemon of `node` listens."""
        self._services[node] = service

    def transport(self, node: str) -> SimulatedTransport:
        """The `Transport` of `node`."""
        return SimulatedTransport(self, node)

    def kill(self, node: str) -> None:
        """SIGKILL of the daemon: its machine resets all connections and refuses new ones."""
        self._services.pop(node, None)
        for link in [link for link in self._links if node in (link.caller, link.server)]:
            link.break_after(self._delay(), "reset", "the connection broke")

    def part(self, others: Iterable[str]) -> None:
        """A switch loses power: between `others` and the rest nothing passes."""
        self._side = dict.fromkeys(others, 1)
        for link in self._links:
            link.stuck_since = self._loop.time()
            self._loop.call_later(DEAD_S, link.look_whether_silent)

    def heal(self) -> None:
        """Everything passes again."""
        self._side = {}

    def connected(self, one: str, other: str) -> bool:
        """Whether packets pass between the two."""
        return self._side.get(one, 0) == self._side.get(other, 0)

    def _delay(self) -> float:
        return self._random.uniform(*self._delay_s)

    def _lost(self) -> bool:
        return self.loss > 0 and self._random.random() < self.loss


class SimulatedTransport:
    """See `swarm.transport.Transport`."""

    def __init__(self, network: SimulatedNetwork, node: str) -> None:
        self._network = network
        self._node = node
        self._links: dict[str, _Link] = {}

    def execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        """By the link to `node`, which is opened if there is none."""
        link = self._links.get(node)
        if link is None or link.broken:
            link = self._links[node] = _Link(self._network, self._node, node)
        return link.calling.order(order, receiver)

    def beat(self, node: str, beat: Beat) -> None:
        """As a packet of its own."""
        network = self._network
        if (self._node in network._services or beat.leaving) and not network._lost():
            network._loop.call_later(network._delay(), self._arrive, node, beat)

    def _arrive(self, node: str, beat: Beat) -> None:
        service = self._network._services.get(node)
        if service is not None and self._network.connected(self._node, node):
            service.heard(beat)


class _Link:
    def __init__(self, network: SimulatedNetwork, caller: str, server: str) -> None:
        self.caller = caller
        self.server = server
        self.broken = False
        self.stuck_since = network._loop.time()
        self.calling = CallingEnd(lambda record: self._send(record, to_server=True))
        self._network = network
        self._loop = network._loop
        self._serving: ServingEnd | None = None
        self._arrives = {True: 0.0, False: 0.0}
        """When the latest record of each direction arrives."""
        self._under_way: dict[bool, deque[bytes]] = {True: deque(), False: deque()}
        """Each arrival takes the oldest: none overtakes another."""
        network._links[self] = None
        if network.connected(caller, server):
            self._loop.call_later(2 * network._delay(), self._connect)
        else:
            self.break_after(CONNECT_S, "silent", "it does not answer")

    def break_after(self, delay_s: float, reason: LossReason, message: str) -> None:
        """Both ends notice."""
        self._loop.call_later(delay_s, self._break, reason, message)

    def look_whether_silent(self) -> None:
        """Called `DEAD_S` after a partition began."""
        if not self._network.connected(self.caller, self.server) and self._loop.time() - self.stuck_since >= DEAD_S:
            self._break("silent", "nothing was heard of it")

    def _connect(self) -> None:
        service = self._network._services.get(self.server)
        if service is not None:
            self._serving = ServingEnd(self.caller, service, lambda record: self._send(record, to_server=False))
            return
        caller = self._network._services.get(self.caller)
        self._break("refused", "nobody listens there")
        if caller is not None:
            caller.peer_refused(self.server)

    def _send(self, record: bytes, *, to_server: bool) -> None:
        sender = self.caller if to_server else self.server
        if self.broken or sender not in self._network._services:
            return  # what a killed process still computes in this one leaves no trace
        delay_s = self._network._delay()
        while self._network._lost():
            delay_s += RESEND_S
        at = max(self._loop.time() + delay_s, self._arrives[to_server] + 1e-6)
        self._arrives[to_server] = at
        self._under_way[to_server].append(record)
        self._loop.call_at(at, self._arrive, to_server)

    def _arrive(self, to_server: bool) -> None:
        if self.broken:
            return
        waits_for_connection = to_server and self._serving is None
        if waits_for_connection or not self._network.connected(self.caller, self.server):
            self._loop.call_later(RESEND_S / 10, self._arrive, to_server)
            return
        record = self._under_way[to_server].popleft()
        try:
            if not to_server:
                self.calling.received(record)
            elif self._serving is not None:
                self._serving.received(record)
        except MalformedMessage as error:
            self._break("reset", str(error))

    def _break(self, reason: LossReason, message: str) -> None:
        if self.broken:
            return
        self.broken = True
        self._network._links.pop(self, None)
        if self._serving is not None:
            self._serving.broken()
        self.calling.broken(reason, message)
