"""The swarm as people on this machine see and change it: the part of the people's port beside the voice assistant.

::

    GET    /api/nodes                     who belongs to the swarm, and how each is
    GET    /api/swarm                     this node's own part
    …/api/tasks                           the task API (`swarm.task_api`)
    GET    /metrics                       for Prometheus

    with the key from `node.json`, which only the node's own user can read:
    POST   /api/swarm/begin               take part: this machine was enrolled a moment ago
    GET    /api/swarm/invitations         those that wait
    POST   /api/swarm/invitations         a join token
    DELETE /api/swarm/invitations/{id}    withdraw one, or `all`
    POST   /api/swarm/codes               let machines ask by code for a while
    GET    /api/swarm/codes               who asks
    POST   /api/swarm/codes/{code}/{approve|refuse}
    POST   /api/swarm/nodes/{node}/{revoke|grant}
    POST   /api/swarm/leave               belong to no swarm any more

Errors are JSON: `error` says what happened, `hint` what to do.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from swarm.capability import Member
from swarm.enrolled_node import EnrolledNode
from swarm.errors import MalformedMessage
from swarm.metrics import CONTENT_TYPE
from swarm.node_api import Refused, errors_as_json, json_answer
from swarm.peer import Peer
from swarm.roster import find_member, is_enroller
from swarm.swarm_view import KEY_HEADER, CodesView, InvitationView, NodeView, PendingView, SwarmView, TokenView
from swarm.task_api import TaskApi
from swarm.tokens import DEFAULT_VALID_S, MAX_VALID_S

CODES_VALID_S = 600.0
_NOT_ENROLLED = "this machine belongs to no swarm"
_HINT = "mycoswarm init begins one, mycoswarm join joins one"

T = TypeVar("T")


class _Invite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    valid_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_VALID_S)] = DEFAULT_VALID_S


class SwarmApi:
    """The routes over one node, enrolled or not."""

    def __init__(
        self,
        peer: Peer,
        enrolled: EnrolledNode | None,
        *,
        key: str,
        metrics: Callable[[], bytes],
        restart: Callable[[], None],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        """`restart` and `leave` make the node begin again, after the answer."""
        self._peer = peer
        self._enrolled = enrolled
        self._key = key
        self._metrics = metrics
        self._restart = restart
        self._leave = leave
        self._loop = asyncio.get_running_loop()

    def routes(self) -> list[web.RouteDef]:
        """For the application of the people's port."""
        return [
            *TaskApi(self._peer.dispatcher).routes("/api"),
            web.get("/metrics", self._show_metrics),
            web.get("/api/nodes", _json_errors(self._nodes)),
            web.get("/api/swarm", _json_errors(self._swarm)),
            web.post("/api/swarm/begin", self.owners(self._begin)),
            web.get("/api/swarm/invitations", self.owners(self._invitations)),
            web.post("/api/swarm/invitations", self.owners(self._invite)),
            web.delete("/api/swarm/invitations/{id}", self.owners(self._withdraw)),
            web.get("/api/swarm/codes", self.owners(self._codes)),
            web.post("/api/swarm/codes", self.owners(self._accept_codes)),
            web.post("/api/swarm/codes/{code}/approve", self.owners(self._approve)),
            web.post("/api/swarm/codes/{code}/refuse", self.owners(self._refuse)),
            web.post("/api/swarm/nodes/{node}/revoke", self.owners(self._revoke)),
            web.post("/api/swarm/nodes/{node}/grant", self.owners(self._grant)),
            web.post("/api/swarm/leave", self.owners(self._leave_swarm)),
        ]

    # ---- seeing

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def _nodes(self, request: web.Request) -> web.Response:
        enrolled, now = self._enrolled, self._loop.time()
        members = {member.node: member for member in self._peer.members()}
        if enrolled is None:
            return json_answer([_view(member, now, name=member.name) for member in members.values()])
        names = {**{node: member.name for node, member in members.items()}, **enrolled.roster.members()}
        shown = [
            _view(
                members.get(node),
                now,
                node=node,
                name=name,
                admits=is_enroller(enrolled.roster, node),
                bus=node == enrolled.bus.hub,
                names=names,
            )
            for node, name in names.items()
            if not enrolled.roster.is_revoked(node)
        ]
        return json_answer(sorted(shown, key=lambda each: (not each.here, each.name, each.node)))

    async def _swarm(self, request: web.Request) -> web.Response:
        enrolled = self._enrolled
        if enrolled is None:
            return json_answer(SwarmView())
        certificate = enrolled.identity.certificate
        return json_answer(
            SwarmView(
                swarm_id=enrolled.roster.swarm_id,
                node_id=enrolled.node_id,
                admits=enrolled.admits,
                enrolment_port=enrolled.enrolment.port or 0,
                certificate_left_s=round(certificate.not_after - time.time()) if certificate else 0,
                tier=enrolled.tier.tier if enrolled.tier else "",
                tier_because=enrolled.tier.because if enrolled.tier else "",
                tier_missing=enrolled.tier.missing if enrolled.tier else "",
                bus=enrolled.bus.hub or "",
                bus_waits=enrolled.bus.why_waiting,
            )
        )

    # ---- who may come

    async def _begin(self, request: web.Request) -> web.Response:
        if self._enrolled is not None:
            raise Refused(409, f"this node takes part in the swarm {self._enrolled.roster.swarm_id} already")
        self._restart()
        return json_answer({})

    async def _invitations(self, request: web.Request) -> web.Response:
        now = time.time()
        return json_answer(
            [
                InvitationView(each.id.hex(), round(each.expires - now), each.used_by)
                for each in self._admitting().enrolment.invitations()
            ]
        )

    async def _invite(self, request: web.Request) -> web.Response:
        enrolled = self._admitting()
        try:
            asked = msgspec.json.decode(await request.read() or b"{}", type=_Invite)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(f"not an invitation: {error}", hint='such as {"valid_s": 3600}') from error
        token = await enrolled.enrolment.invite(valid_s=asked.valid_s, addresses=enrolled.enrolment_places())
        return json_answer(TokenView(token.text(), token.id.hex(), asked.valid_s, token.addresses))

    async def _withdraw(self, request: web.Request) -> web.Response:
        enrolment, wanted = self._admitting().enrolment, request.match_info["id"]
        waiting = {each.id.hex(): each.id for each in enrolment.invitations() if not each.used_by}
        if wanted != "all" and wanted not in waiting:
            raise Refused(404, f"no invitation {wanted:.32} waits here", hint="mycoswarm invite --list shows them")
        await enrolment.withdraw(None if wanted == "all" else waiting[wanted])
        return json_answer({"withdrawn": len(waiting) if wanted == "all" else 1})

    async def _accept_codes(self, request: web.Request) -> web.Response:
        self._admitting().enrolment.accept_codes(CODES_VALID_S)
        return await self._codes(request)

    async def _codes(self, request: web.Request) -> web.Response:
        enrolment = self._admitting().enrolment
        pending = [PendingView(each.code, each.name, each.node_id, each.address) for each in enrolment.pending()]
        return json_answer(CodesView(tuple(pending), enrolment.port or 0))

    async def _approve(self, request: web.Request) -> web.Response:
        pending = await self._admitting().enrolment.approve(request.match_info["code"])
        return json_answer(PendingView(pending.code, pending.name, pending.node_id, pending.address))

    async def _refuse(self, request: web.Request) -> web.Response:
        pending = self._admitting().enrolment.refuse(request.match_info["code"])
        return json_answer(PendingView(pending.code, pending.name, pending.node_id, pending.address))

    # ---- who belongs to it

    async def _revoke(self, request: web.Request) -> web.Response:
        enrolled = self._admitting()
        node = find_member(enrolled.roster.members(), request.match_info["node"])
        if node == enrolled.node_id:
            raise Refused(409, "this is the node that you ask", hint="mycoswarm leave takes it out of the swarm")
        name = enrolled.roster.members()[node]
        await enrolled.roster.revoke(node)
        return json_answer(NodeView(node, name, state="revoked"))

    async def _grant(self, request: web.Request) -> web.Response:
        enrolled = self._admitting()
        members = enrolled.roster.members()
        node = find_member(members, request.match_info["node"])
        seen = next((each for each in self._peer.members() if each.node == node), None)
        if node == enrolled.node_id or is_enroller(enrolled.roster, node):
            raise Refused(409, f"{members[node]} may admit machines already")
        if seen is None or seen.state == "dead":
            raise Refused(503, f"{members[node]} is not there", hint="switch it on: it makes a key of its own for this")
        if "hub" not in seen.roles:
            raise Refused(
                409,
                f"{members[node]} is no hub ({', '.join(seen.roles) or 'no role'}), and only hubs admit machines",
                hint="choose a machine that is a hub",
            )
        await enrolled.grant(node)
        return json_answer(NodeView(node, members[node], roles=seen.roles, state=seen.state, admits=True))

    async def _leave_swarm(self, request: web.Request) -> web.Response:
        self._require_enrolled()
        await self._leave()
        return json_answer({})

    # ---- who may ask

    def _require_enrolled(self) -> EnrolledNode:
        if self._enrolled is None:
            raise Refused(409, _NOT_ENROLLED, hint=_HINT)
        return self._enrolled

    def _admitting(self) -> EnrolledNode:
        enrolled = self._require_enrolled()
        if enrolled.admits:
            return enrolled
        names = enrolled.roster.members()
        hubs = {each.enroller for each in enrolled.roster.bundle().current.values()}
        who = ", ".join(sorted(names.get(node, node) for node in hubs))
        raise Refused(403, "this node admits no machines", hint=f"ask where that is allowed: {who or 'nowhere now'}")

    def owners(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """Only for who can read the node's own files: any program of any user reaches loopback."""

        async def checked(request: web.Request) -> web.StreamResponse:
            if not hmac.compare_digest(request.headers.get(KEY_HEADER, "").encode(), self._key.encode()):
                raise Refused(403, "only the user that runs this node may do that", hint="run the command as that user")
            return await handler(request)

        return _json_errors(checked)


def _json_errors(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Handler:
    async def wrapped(request: web.Request) -> web.StreamResponse:
        return await errors_as_json(request, handler)

    return wrapped


def _view(
    member: Member | None,
    now: float,
    *,
    node: str = "",
    name: str,
    admits: bool = False,
    bus: bool = False,
    names: Mapping[str, str] = {},
) -> NodeView:
    if member is None:
        return NodeView(node, name, admits=admits)
    return NodeView(
        node=member.node,
        name=name,
        roles=member.roles,
        tier=member.tier,
        addresses=member.addresses,
        state="alive" if member.here else member.state,
        seen_s=0.0 if member.here else round(now - member.heard_at, 1),
        capabilities=member.capabilities,
        admits=admits,
        bus=bus,
        bus_port=member.bus_port,
        served_by=names.get(member.served_by, member.served_by),
        here=member.here,
    )
