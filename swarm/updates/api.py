"""Updates over HTTP.

::

    people's port, with the key of `node.json`
    GET  /api/updates                       how each node stands: `NodeUpdate`
    POST /api/updates                       a bundle as the body: check and offer it; ?only=NODE, again and again
    POST /api/updates/nodes/{node}/rollback

    nodes' port
    GET  /v1/updates                        how this node is just now: `Live`
    POST /v1/updates/rollback               go back; for nodes that admit others

What a person offers is checked by this node's keyring before a word of it is said to others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.typedefs import Handler

from swarm.capability import Member
from swarm.certificates import NodeId
from swarm.errors import MycoswarmError
from swarm.node_api import Refused, asking_node, json_answer
from swarm.peer_session import PeerSession
from swarm.roster import Roster, find_member, is_enroller
from swarm.transfer.content import PIECE_BYTES
from swarm.transfer.folder import ContentFolder
from swarm.updates.planning import nodes_now
from swarm.updates.shared import SharedUpdates
from swarm.updates.slots import Bundle, UpdateRefused
from swarm.updates.view import Live, NodeUpdate, Offered, step_of
from swarm.updates.waves import who_may

if TYPE_CHECKING:
    from swarm.updates.updating import Updating

LIVE_PATH = "/v1/updates"
ROLLBACK_PATH = "/v1/updates/rollback"
ASK_S = 5.0
_NO_SLOTS = (
    "this node was not made from an image: it has no second system, and no keyring that says whose bundles count"
)
_APT = "its own update is apt's: sudo apt install ./mycoswarm_VERSION_ARCH.deb"

Answering = Callable[[web.Request], Awaitable[web.Response]]


class UpdatesApi:
    """Over one enrolled node."""

    def __init__(
        self,
        me: NodeId,
        roster: Roster,
        shared: SharedUpdates,
        folder: ContentFolder,
        *,
        members: Callable[[], Sequence[Member]],
        session: Callable[[NodeId], PeerSession],
        busy: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.updating: Updating | None = None
        """None on a node without slots."""
        self._me = me
        self._roster = roster
        self._shared = shared
        self._folder = folder
        self._members = members
        self._session = session
        self._busy = busy
        self._clock = clock
        self._taking = asyncio.Lock()

    def peoples_routes(self, owners: Callable[[Answering], Handler]) -> list[web.RouteDef]:
        """For the people's port; `owners` lets only the node's own user in."""
        return [
            web.get("/api/updates", owners(self._status)),
            web.post("/api/updates", owners(self._take)),
            web.post("/api/updates/nodes/{node}/rollback", owners(self._roll_back)),
        ]

    def nodes_routes(self) -> list[web.RouteDef]:
        """For the nodes' port."""
        return [web.get(LIVE_PATH, self._tell_live), web.post(ROLLBACK_PATH, self._roll_back_for)]

    # ---- how it stands

    async def status(self) -> list[NodeUpdate]:
        """Every node of the swarm, this one first."""
        members = {each.node: each for each in self._members()}
        alive = [each.node for each in members.values() if each.here or each.state == "alive"]
        asked = [node for node in alive if self._shared.report(node) is not None]
        live = dict(zip(asked, await asyncio.gather(*map(self._live, asked)), strict=True))
        busy = {node: each.trouble or each.busy for node, each in live.items() if each is not None}
        now = nodes_now(self._roster, self._shared, list(members.values()), busy)
        waits = who_may(now, self._clock()).waits
        found = [
            self._view(each.node, each.alive, live.get(each.node), self._named(waits.get(each.node, "")))
            for each in now
        ]
        return sorted(found, key=lambda each: (not each.here, each.name, each.node))

    async def busy(self, node: NodeId) -> str:
        """Why that node should not be taken away now; a node that cannot be asked should not."""
        live = await self._live(node)
        return "it does not answer" if live is None else live.trouble or live.busy

    def knows(self, node: NodeId) -> bool:
        """Whether that node has said how it is."""
        return self._shared.report(node) is not None

    def own(self) -> NodeUpdate:
        """This node, without asking anybody."""
        return self._view(self._me, True, self._own_live(), "")

    def _view(self, node: NodeId, alive: bool, live: Live | None, waits: str) -> NodeUpdate:
        name, report = self._roster.members().get(node, node), self._shared.report(node)
        if report is None:
            return NodeUpdate(node, name, alive, here=node == self._me)
        offer = self._shared.offer_for(node, report.compatible)
        step, percent, reason = step_of(report.about(offer), offer, live, waits)
        return NodeUpdate(
            node,
            name,
            alive,
            here=node == self._me,
            way=report.way,
            version=report.version,
            slot=report.slot,
            compatible=report.compatible,
            offered=offer.version if offer else "",
            step=step,
            percent=percent,
            reason=reason,
        )

    def _named(self, text: str) -> str:
        """With names in place of ids."""
        for node, name in self._roster.members().items():
            text = text.replace(node, name)
        return text

    async def _live(self, node: NodeId) -> Live | None:
        if node == self._me:
            return self._own_live()
        try:
            return await self._session(node).call("GET", LIVE_PATH, reply=Live, timeout_s=ASK_S)
        except (MycoswarmError, TimeoutError):
            return None

    def _own_live(self) -> Live:
        if self.updating is None:
            return Live(busy=self._busy())
        own = self.updating
        return Live(own.fetching, own.percent, own.busy(), own.trouble)

    async def _status(self, request: web.Request) -> web.Response:
        return json_answer(await self.status())

    async def _tell_live(self, request: web.Request) -> web.Response:
        return json_answer(self._own_live())

    # ---- offering

    async def _take(self, request: web.Request) -> web.Response:
        updating = self._with_slots()
        members = self._roster.members()
        only = tuple(find_member(members, each) for each in request.query.getall("only", []))
        if self._taking.locked():
            raise Refused(409, "another bundle is being taken", hint="try again in a minute")
        async with self._taking:
            upload = await asyncio.to_thread(self._folder.take_upload)
            try:
                await asyncio.to_thread(self._folder.require_room, request.content_length or 0)
                async for chunk in request.content.iter_chunked(PIECE_BYTES):
                    await asyncio.to_thread(upload.add, chunk)
                content, digests = await asyncio.to_thread(upload.end)
                bundle = await self._checked(updating, upload.path, only)
                await asyncio.to_thread(upload.keep, content, digests)
            finally:
                upload.drop()
        offer = await self._shared.offer(content, bundle, only=only)
        reports = {node: self._shared.report(node) for node in members}
        meant = [
            members[node] for node, each in reports.items() if each is not None and offer.is_for(node, each.compatible)
        ]
        return json_answer(Offered(bundle.version, bundle.compatible, content.size, tuple(sorted(meant))))

    async def _checked(self, updating: Updating, path: Path, only: tuple[NodeId, ...]) -> Bundle:
        try:
            bundle = await updating.slots.inspect(path)
            own = updating.system or await updating.slots.state()
            if bundle.compatible == own.compatible and (not only or self._me in only):
                await updating.slots.check(path)
        except UpdateRefused as error:
            raise Refused(409, str(error), hint=error.hint) from error
        return bundle

    # ---- going back

    async def _roll_back(self, request: web.Request) -> web.Response:
        node = find_member(self._roster.members(), request.match_info["node"])
        if node == self._me:
            await self._with_slots().roll_back()
        else:
            await self._session(node).call("POST", ROLLBACK_PATH, reply=dict[str, Any], timeout_s=ASK_S * 4)
        return json_answer(self._view(node, True, None, ""))

    async def _roll_back_for(self, request: web.Request) -> web.Response:
        asker = asking_node(request).node_id
        if not is_enroller(self._roster, asker):
            raise Refused(
                403, f"{asker} admits no machines, so it sends none back", hint="ask on one that does, or there"
            )
        await self._with_slots().roll_back()
        return json_answer({})

    def _with_slots(self) -> Updating:
        if self.updating is None:
            raise Refused(409, _NO_SLOTS, hint=_APT)
        return self.updating
