"""What passes between a node that has a task and one that runs it, the same in one process, in simulation and by wire.

Nothing here waits: an order is handed over with a `Receiver`, which hears what comes of it. So there is no coroutine
and no queue for each piece of an answer.
"""

from __future__ import annotations

from typing import Protocol

from swarm.membership import Beat
from swarm.task import Accepted, Order, Over


class Receiver(Protocol):
    """Whoever ordered. The calls come in this order: `accepted` once or never, `data` any number of times, `over` once
    and last. None of them may block or raise."""

    def accepted(self, accepted: Accepted) -> None:
        """The task is in a slot or a queue."""

    def data(self, events: bytes) -> None:
        """Whole events of the stream, as bytes."""

    def over(self, over: Over) -> None:
        """The attempt ended."""


class Execution(Protocol):
    """An order under way. Both calls are safe at any time and twice; the receiver hears nothing more."""

    def cancel(self) -> None:
        """Nobody wants it any more: free what works on it."""

    def abandon(self) -> None:
        """Whoever wanted it went away without a word and may come back for it (`Order.after`) within a few seconds."""


class Executor(Protocol):
    """Runs orders: this node's worker, or another node behind a transport."""

    def execute(self, order: Order, receiver: Receiver) -> Execution:
        """Take the order; `receiver` may be called before this returns."""


class Service(Protocol):
    """What a node does for its peers; the transport calls it."""

    def execute_for(self, peer: str, order: Order, receiver: Receiver) -> Execution:
        """Run an order of `peer`, whose identity is proved."""

    def heard(self, beat: Beat) -> None:
        """A beat of the peer that sent it."""

    def peer_refused(self, node: str) -> None:
        """Nobody listens where `node` should be."""


class Transport(Protocol):
    """Reaches other nodes."""

    def execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        """Hand `order` to `node`; what goes wrong on the way comes as `Lost`."""

    def beat(self, node: str, beat: Beat) -> None:
        """Tell `node` that this one lives; may be lost."""


class NothingToCancel:
    """The execution of an order that was over at once."""

    def cancel(self) -> None:
        """Nothing."""

    def abandon(self) -> None:
        """Nothing."""


OVER_AT_ONCE = NothingToCancel()
