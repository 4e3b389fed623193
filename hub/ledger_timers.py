"""Timers of a home with several hubs: kept in the ledger, so that each hub has all of them and one rings each.

The hub at which a timer was set rings it: the satellite that set it is there. While that hub is away, the first of the
live hubs in the timer's own order does (`swarm.lease`). When hubs do not see each other, two may ring; both stop with
the first that a person stops, as soon as they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub.timers import TimerStore
from swarm.capability import Member
from swarm.errors import StorageError
from swarm.lease import SETTLE_S, live_hubs, rank
from swarm.ledger.errors import LedgerError
from swarm.ledger.ledger import Ledger

VIEW = "timers"


class LedgerTimers:
    """See `hub.timers.TimerStore` and `hub.timers.Sharing`."""

    def __init__(self, ledger: Ledger, members: Callable[[], Sequence[Member]], *, before: TimerStore) -> None:
        """`before` is where this machine kept timers when it belonged to no swarm: they are moved from there."""
        self.here = ledger.node
        self._ledger = ledger
        self._members = members
        self._before = before
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._not_moved: set[str] = set()

    async def save_timer(self, timer: Mapping[str, Any]) -> None:
        """See `TimerStore`."""
        try:
            await self._ledger.put(VIEW, timer["id"], dict(timer))
        except LedgerError as error:
            raise StorageError(str(error), hint=error.hint) from error

    async def delete_timer(self, timer_id: str) -> None:
        """See `TimerStore`."""
        if timer_id in self._not_moved:
            await self._before.delete_timer(timer_id)
            self._not_moved.discard(timer_id)
        try:
            await self._ledger.remove(VIEW, timer_id)
        except LedgerError as error:
            raise StorageError(str(error), hint=error.hint) from error

    async def timers(self) -> Sequence[Mapping[str, Any]]:
        """See `TimerStore`."""
        left = []
        for row in await self._before.timers():
            own = {**row, "hub": self.here}
            try:
                await self.save_timer(own)
                await self._before.delete_timer(own["id"])
            except StorageError:  # the ledger has yet to come to this node, or the disk is full
                self._not_moved.add(own["id"])
                left.append(own)
        return [*left, *(row for _, row in self._ledger.entries(VIEW).items() if isinstance(row, dict))]

    def is_mine(self, timer_id: str, hub: str) -> bool:
        """See `Sharing`."""
        if hub == self.here:
            return True
        members = self._members()
        if any(member.node == hub and member.state != "dead" for member in members if not member.here):
            return False
        if self._loop.time() - self._begun < SETTLE_S:  # the others were not heard yet
            return False
        # Where no hub is left, satellites that work alone share them in the same way.
        alone = tuple(member.node for member in members if "edge" in member.roles and member.state != "dead")
        return rank(f"timer/{timer_id}", live_hubs(members) or alone or (self.here,))[0] == self.here

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See `Sharing`."""
        return self._ledger.subscribe(lambda names: changed() if VIEW in names else None)
