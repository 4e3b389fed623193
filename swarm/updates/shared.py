"""What all nodes know of updates: entries of the ledger's view `updates`, and whom is believed about which.

::

    offer/<compatible>    `Offer`    there is something new for such machines      any member: bundles prove themselves
    go/<node>             `Go`       that node may install it now                  hubs
    node/<node>           `Report`   what that node runs, and how it fared         that node only

What changes by the second (how much of it is here, whether somebody speaks) is not written down for ever: the node is
asked for it (`swarm.updates.api`).

No offer lets a node go back to an older version: an old bundle is signed as well as a new one, and what was mended
since would be open again. Only root does that, on the machine itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec

from swarm.certificates import NodeId
from swarm.ledger.operation import decode_payload
from swarm.roster import Roster
from swarm.transfer.content import Content
from swarm.updates.slots import Bundle, SlotState, Way

VIEW = "updates"
MAX_ONLY = 256
Short = Annotated[str, msgspec.Meta(max_length=200)]
Long = Annotated[str, msgspec.Meta(max_length=1000)]

State = Literal["idle", "ready", "installing", "restarting", "good", "failed"]
"""`idle`: nothing to do, or it is on its way here. `ready`: the bundle is here and believed. `restarting`: it is
written, and the machine starts anew or is proving itself. `good`: it did. `failed`: with a reason; this node is done
with the offer."""

T = TypeVar("T")


class Offer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bundle for all nodes of one kind."""

    id: Short
    """Another one each time, so that what failed can be tried again."""
    content: Content
    compatible: Short
    version: Short
    only: Annotated[tuple[Short, ...], msgspec.Meta(max_length=MAX_ONLY)] = ()
    """Nodes that it is for; empty: all of that kind."""
    giver: Short = ""
    """Node at which it was offered."""

    def is_for(self, node: NodeId, compatible: str) -> bool:
        """Whether that node is meant."""
        return bool(compatible) and self.compatible == compatible and (not self.only or node in self.only)


class Go(msgspec.Struct, frozen=True):
    """A node may install."""

    offer: Short
    at: float
    """Unix seconds."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says of itself, and that lasts."""

    way: Way
    version: Short
    compatible: Short = ""
    slot: Short = ""
    offer: Short = ""
    """About which offer the rest is."""
    state: State = "idle"
    reason: Long = ""
    attempts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """How often it began to install it."""
    boot: Short = ""
    """Which start of the machine it was when it was about to start anew."""

    def about(self, offer: Offer | None) -> Report:
        """The same, with nothing said yet of another offer than that it was about."""
        if offer is not None and offer.id == self.offer:
            return self
        return msgspec.structs.replace(
            self, offer=offer.id if offer else "", state="idle", reason="", attempts=0, boot=""
        )


class SharedUpdates:
    """Reads and writes them. Belongs to one event loop."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._ledger = roster.ledger

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each change; returns what ends that."""
        return self._ledger.subscribe(lambda views: changed() if views & {VIEW, "roster"} else None)

    async def until_known(self) -> None:
        """Until the roster names this node: it has just joined, and may write nothing before."""
        news = asyncio.Event()
        unsubscribe = self.subscribe(news.set)
        try:
            while not self._roster.is_known_here:
                news.clear()
                await news.wait()
        finally:
            unsubscribe()

    # ---- reading

    def offer_for(self, node: NodeId, compatible: str) -> Offer | None:
        """What that node is to run."""
        offer = self._offer(f"offer/{compatible}") if compatible else None
        return offer if offer is not None and offer.is_for(node, compatible) else None

    def offers(self) -> tuple[Offer, ...]:
        """All, each for another kind of node."""
        keys = sorted(key for key, _ in self._ledger.entries(VIEW).items() if key.startswith("offer/"))
        found = [self._offer(key) for key in keys]
        return tuple(each for each in found if each is not None)

    def go(self, node: NodeId) -> Go | None:
        """The latest that node got."""
        return self._believed(f"go/{node}", Go, lambda origin: "hub" in self._roster.roles(origin))

    def report(self, node: NodeId) -> Report | None:
        """What that node said last."""
        return self._believed(f"node/{node}", Report, lambda origin: origin == node)

    def _offer(self, key: str) -> Offer | None:
        return self._believed(key, Offer, self._roster.is_member)

    def _believed(self, key: str, kind: type[T], may: Callable[[NodeId], bool]) -> T | None:
        """The latest that can be read and was written by somebody who may."""
        for write in self._ledger.entries(VIEW).writes(key):
            value = decode_payload(write.value, kind)
            if value is not None and may(write.tag.log.origin):
                return value
        return None

    # ---- writing, each raises `LedgerError`

    async def offer(self, content: Content, bundle: Bundle, *, only: Sequence[NodeId]) -> Offer:
        """Offer it to all nodes of its kind, or those named, in place of what was offered to that kind before."""
        offer = Offer(
            secrets.token_hex(4),
            content,
            bundle.compatible,
            bundle.version,
            only=tuple(only),
            giver=self._ledger.node,
        )
        await self._ledger.put(VIEW, f"offer/{bundle.compatible}", offer)
        return offer

    async def let_go(self, node: NodeId, go: Go) -> None:
        """Let that node install."""
        await self._ledger.put(VIEW, f"go/{node}", go)

    async def tell(self, report: Report) -> None:
        """What this node says of itself; nothing is written that is said already."""
        if self.report(self._ledger.node) != report:
            await self._ledger.put(VIEW, f"node/{self._ledger.node}", report)


def report_of(state: SlotState, before: Report | None) -> Report:
    """What is to be said of a node that runs so, after what it said before."""
    fresh = Report(state.way, state.version, state.compatible, state.slot)
    if before is None:
        return fresh
    return msgspec.structs.replace(
        fresh, offer=before.offer, state=before.state, reason=before.reason, attempts=before.attempts, boot=before.boot
    )
