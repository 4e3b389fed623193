"""What members say of themselves, their names and roles, written down by an enroller.

A machine that is renamed or given another role in its configuration says so in its beats. The roster follows once it
has said the same for a while; of several enrollers that see each other, one writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from swarm.certificates import NodeId
from swarm.config import ROLES
from swarm.enrolment_messages import plain_name
from swarm.errors import MycoswarmError
from swarm.lease import rank
from swarm.roster import Roster, is_enroller

SETTLE_S = 10.0
"""At its start a machine may first say what it is configured to be, and then what it found."""

_log = logging.getLogger(__name__)

_Said = tuple[str, frozenset[str]]


class RosterUpkeep:
    """One node's part in it; it does something on enrollers only."""

    def __init__(self, roster: Roster, live: Callable[[], Iterable[NodeId]], clock: Callable[[], float]) -> None:
        """`live` are the other nodes that can be reached; `clock` gives seconds that nobody sets."""
        self._roster = roster
        self._live = live
        self._clock = clock
        self._new: dict[NodeId, tuple[_Said, float]] = {}
        """What differs from the roster, and since when it is said."""
        self._writing: set[asyncio.Task[None]] = set()

    def said(self, node: NodeId, name: str, roles: Iterable[str]) -> None:
        """A member says of itself that it is called and does so. Belongs to an event loop."""
        known = self._roster.ledger.roster.serves(node)
        if known is None:
            return
        said = (plain_name(name), frozenset(roles).intersection(ROLES) | ({"hub"} if known.authorities else set()))
        if said == (known.name, frozenset(known.roles)):
            self._new.pop(node, None)
            return
        now = self._clock()
        before = self._new.get(node)
        if before is None or before[0] != said:
            self._new[node] = (said, now)
        elif now - before[1] >= SETTLE_S and self._is_first():
            self._new[node] = (said, now)
            writing = asyncio.get_running_loop().create_task(self._write(node, said))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)

    def _is_first(self) -> bool:
        me = self._roster.ledger.node
        enrollers = [node for node in (me, *self._live()) if is_enroller(self._roster, node)]
        return rank("roster", enrollers)[:1] == [me]

    async def _write(self, node: NodeId, said: _Said) -> None:
        name, roles = said
        try:
            await self._roster.admit(node, name, tuple(each for each in ROLES if each in roles))
        except MycoswarmError as error:
            _log.error("the roster does not follow what %s says of itself: %s", node, error)
