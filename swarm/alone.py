"""The task part of a node that belongs to no swarm: the same task API, over its own engines only."""

from __future__ import annotations

from collections.abc import Callable

from swarm.membership import Beat
from swarm.peer import Peer
from swarm.routing import RoutingSection
from swarm.task import Lost, Order
from swarm.task_record import TaskRecord
from swarm.transport import OVER_AT_ONCE, Execution, Receiver
from swarm.worker import Worker

NAME = "here"
"""Takes the place of a node's id, which a machine has only once it is enrolled."""


class NobodyElse:
    """A `swarm.transport.Transport` that reaches nobody."""

    def execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        """See `Transport`."""
        receiver.over(Lost("refused", "this node belongs to no swarm"))
        return OVER_AT_ONCE

    def beat(self, node: str, beat: Beat) -> None:
        """See `Transport`."""


def alone(
    *, name: str, roles: tuple[str, ...], routing: RoutingSection, ended: Callable[[TaskRecord], None] = lambda _: None
) -> Peer:
    """A peer without others; `ended` hears of each task at its end."""
    return Peer(
        NAME,
        name=name,
        incarnation=1,
        worker=Worker(NAME, ()),
        transport=NobodyElse(),
        routing=routing,
        roles=roles,
        ended=ended,
    )
