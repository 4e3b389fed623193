"""A node's part in the swarm: it tells that it lives, knows who else does, runs orders and places its own tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from swarm.capability import Member, in_words
from swarm.dispatch import Dispatcher
from swarm.membership import BEAT_S, Beat, Membership
from swarm.placement import Nowhere, PlacementTask, choose_node
from swarm.routing import RoutingSection
from swarm.task import MAX_HOPS, Order, Privacy, Refused
from swarm.task_record import TaskRecord
from swarm.transport import OVER_AT_ONCE, Execution, Receiver, Transport
from swarm.worker import Worker


class Peer:
    """The `Service` behind a link. Belongs to one event loop; `run` keeps it in touch with the others."""

    def __init__(
        self,
        node: str,
        *,
        name: str,
        incarnation: int,
        worker: Worker,
        transport: Transport,
        routing: RoutingSection | None = None,
        roles: tuple[str, ...] = (),
        addresses: tuple[str, ...] = (),
        accepts: tuple[Privacy, ...] = ("home", "shared"),
        ended: Callable[[TaskRecord], None] = lambda _: None,
    ) -> None:
        """`incarnation` is larger than at any start before, whatever the clock says; `addresses` are `host:port` of
        this node's own nodes' port; `ended` hears of each task that came in here, at its end."""
        self.node = node
        self.membership = Membership(node)
        self.worker = worker
        self.dispatcher = Dispatcher(
            node,
            routing=routing or RoutingSection(),
            members=self.members,
            execute_at=self._execute_at,
            ended=ended,
        )
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._first = Beat(node, incarnation, 0, name, roles, addresses, accepts=accepts)
        self._sequence = 0

    def describe(
        self,
        *,
        addresses: tuple[str, ...] | None = None,
        roles: tuple[str, ...] | None = None,
        tier: str | None = None,
        bus_port: int | None = None,
        home_broker: bool | None = None,
        carries_bus: bool | None = None,
        served_by: str | None = None,
    ) -> None:
        """Say something else of this node from now on; what is None stays. The others hear it at once."""
        first = self._first
        told = msgspec.structs.replace(
            first,
            addresses=first.addresses if addresses is None else addresses,
            roles=first.roles if roles is None else roles,
            tier=first.tier if tier is None else tier,
            bus_port=first.bus_port if bus_port is None else bus_port,
            home_broker=first.home_broker if home_broker is None else home_broker,
            carries_bus=first.carries_bus if carries_bus is None else carries_bus,
            served_by=first.served_by if served_by is None else served_by,
        )
        if told != first:
            self._first = told
            self.beat()

    def here(self) -> Member:
        """This node as placement sees it."""
        first = self._first
        return Member(
            node=self.node,
            name=first.name,
            capabilities=self.worker.capabilities(),
            roles=first.roles,
            addresses=first.addresses,
            accepts=first.accepts,
            tier=first.tier,
            bus_port=first.bus_port,
            home_broker=first.home_broker,
            carries_bus=first.carries_bus,
            served_by=first.served_by,
            here=True,
        )

    def members(self) -> Sequence[Member]:
        """This node and all others, the dead too."""
        return (self.here(), *self.membership.members(self._loop.time()))

    async def run(self) -> None:
        """Tell all others every `BEAT_S` that this node lives; at the end, that it leaves."""
        try:
            while True:
                self.beat()
                self.membership.forget(self._loop.time())
                await asyncio.sleep(BEAT_S)
        finally:
            self.beat(leaving=True)

    def beat(self, *, leaving: bool = False) -> None:
        """Tell all others now: something changed."""
        beat = self._next_beat(leaving=leaving)
        for node in self.membership.to_probe(self._loop.time()):
            self._transport.beat(node, beat)

    async def close(self) -> None:
        """End all tasks that came in here, and all that run here for others."""
        await self.dispatcher.close()
        await self.worker.close()

    # ---- what others tell

    def heard(self, beat: Beat) -> None:
        """A beat of the node itself."""
        if self.membership.heard(beat, self._loop.time()):
            self.dispatcher.circuits.worked(beat.node)
            if not beat.leaving:  # whoever is new here learns of this node at once
                self._transport.beat(beat.node, self._next_beat())

    def hinted(self, node: str, addresses: tuple[str, ...]) -> None:
        """Unproved news of where a node may be: look."""
        if self.membership.hinted(node, addresses, self._loop.time()):
            self._transport.beat(node, self._next_beat())

    def peer_refused(self, node: str) -> None:
        """Nobody listens there."""
        self.membership.refused(node, self._loop.time())

    def execute_for(self, peer: str, order: Order, receiver: Receiver) -> Execution:
        """Run another node's order here, or pass it on when this node knows better who can."""
        if order.model and self.worker.offers(order.kind, order.model):
            return self.worker.execute(order, receiver)
        path = (*order.path, peer) if peer not in order.path else order.path
        wanted = PlacementTask(
            task=order.task,
            kind=order.kind,
            model=order.model,
            size=order.size,
            fallback_models=order.fallback_models,
            fallback_size=order.fallback_size,
            priority=order.request.priority,
            privacy=order.request.privacy,
            input_units=order.request.input_units,
            output_units=order.request.output_units,
            prefix=order.request.prefix,
            left_s=order.left_s,
        )
        reachable = [member for member in self.members() if member.node not in path]
        now = self._loop.time()
        decision = choose_node(wanted, reachable, now, avoid=self.dispatcher.circuits.open(now))
        if isinstance(decision, Nowhere):
            does = in_words(order.kind)
            what = f"{does} by {order.model}" if order.model else does
            receiver.over(
                Refused("busy", f"nobody can {what} just now", 1.0)
                if decision.offered
                else Refused("not_here", f"nobody known here can {what}")
            )
            return OVER_AT_ONCE
        onward = msgspec.structs.replace(
            order, model=decision.model, instead_of=order.instead_of or decision.instead_of
        )
        if decision.here:
            return self.worker.execute(onward, receiver)
        if order.hops_left == 0 or len(path) > MAX_HOPS:
            receiver.over(Refused("not_here", "the task was passed on too often"))
            return OVER_AT_ONCE
        onward = msgspec.structs.replace(onward, hops_left=order.hops_left - 1, path=(*path, self.node))
        return self._transport.execute_at(decision.node, onward, receiver)

    # ---- what this node tells

    def _execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        if node == self.node:
            return self.worker.execute(order, receiver)
        return self._transport.execute_at(node, order, receiver)

    def _next_beat(self, *, leaving: bool = False) -> Beat:
        self._sequence += 1
        return msgspec.structs.replace(
            self._first, sequence=self._sequence, capabilities=self.worker.capabilities(), leaving=leaving
        )
