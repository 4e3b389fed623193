"""An enrolled node's part in updates, put together: what it has for others, what is offered, who goes next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from swarm import __version__
from swarm.capability import Member
from swarm.certificates import NodeId
from swarm.ledger.errors import LedgerError
from swarm.peer_session import PeerSession
from swarm.roster import Roster
from swarm.transfer.folder import ContentFolder
from swarm.transfer.pace import Pace
from swarm.transfer.serving import ContentRoutes
from swarm.updates.api import UpdatesApi
from swarm.updates.patience import Patience
from swarm.updates.planning import Planning
from swarm.updates.shared import SharedUpdates, report_of
from swarm.updates.slots import Slots, SlotState

FOLDER = "updates"
"""In the state folder: bundles."""

_log = logging.getLogger(__name__)


class UpdatesPart:
    """`take_system` says how this node is updated, before `run`."""

    def __init__(
        self,
        me: NodeId,
        roster: Roster,
        state_dir: Path,
        *,
        members: Callable[[], Sequence[Member]],
        session: Callable[[NodeId], PeerSession],
        tasks: Callable[[], int],
        patience: Patience | None = None,
    ) -> None:
        """`tasks` is how many this node is at or has waiting."""
        self.speaking: Callable[[], bool] = lambda: False
        """Whether an utterance is under way at this node; whoever has a microphone or serves satellites says so."""
        self.system: SlotState | None = SlotState("checkout", __version__)
        """Of a node without slots."""
        self._me = me
        self._shared = SharedUpdates(roster)
        self._members = members
        self._session = session
        self._tasks = tasks
        self._patience = patience = patience or Patience()
        self._folder = ContentFolder(state_dir / FOLDER)
        self._pace = Pace(lambda: self.speaking())
        self.api = UpdatesApi(me, roster, self._shared, self._folder, members=members, session=session, busy=self.busy)
        self._planning = Planning(
            me, roster, self._shared, members=members, busy=self.api.busy, every_s=patience.plan_every_s
        )

    def take_system(self, system: Slots | SlotState) -> None:
        """The two systems of this node, or how it is without."""
        if isinstance(system, SlotState):
            self.system = system
            return
        from swarm.updates.updating import Updating  # a node without slots does without

        self.system = None
        self.api.updating = Updating(
            self._me,
            self._shared,
            system,
            self._folder,
            self._pace,
            sources=lambda: [each.node for each in self._members() if not each.here and each.state == "alive"],
            session=self._session,
            busy=self.busy,
            patience=self._patience,
        )

    def routes(self) -> list[web.RouteDef]:
        """For the nodes' port."""
        return [*ContentRoutes(self._folder, self._pace).routes(), *self.api.nodes_routes()]

    def busy(self) -> str:
        """Why this node should not be taken away now; empty when nothing speaks against it."""
        if self.speaking():
            return "somebody speaks there"
        return "it has tasks" if self._tasks() else ""

    async def run(self) -> None:
        """Until cancelled."""
        await self._shared.until_known()
        async with asyncio.TaskGroup() as services:
            services.create_task(self._planning.run(), name="plan of updates")
            if self.api.updating is not None:
                services.create_task(self.api.updating.run(), name="own update")
            else:
                services.create_task(self._tell_system(), name="own version")

    async def _tell_system(self) -> None:
        assert self.system is not None
        try:
            await self._shared.tell(report_of(self.system, None))
        except LedgerError as error:
            _log.warning("the others do not hear which version this is: %s", error.for_log())
