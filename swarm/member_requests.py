"""What one member asks another about membership itself: to admit machines too, and to be believed no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from swarm.certificates import parse_authority
from swarm.enrolment_messages import Pem
from swarm.errors import MycoswarmError
from swarm.identity import Identity
from swarm.node_api import Refused, asking_node, json_answer
from swarm.peer_session import PeerSession
from swarm.roster import Roster, is_enroller

GRANT_PATH = "/v1/authority"
LEAVE_PATH = "/v1/leave"
ANSWER_S = 10.0
FAREWELL_S = 2.0


class Granted(msgspec.Struct, frozen=True):
    """The node admits machines from now on."""

    authority: Pem


class Left(msgspec.Struct, frozen=True):
    """The node that asked is believed no more."""


def member_routes(
    identity: Identity, roster: Roster, *, is_hub: Callable[[], bool], clock: Callable[[], float] = time.time
) -> list[web.AbstractRouteDef]:
    """What other members may ask of this one. Only an enroller can make a hub another enroller."""

    async def grant(request: web.Request) -> web.Response:
        asker = asking_node(request).node_id
        if not is_enroller(roster, asker):
            raise Refused(403, f"{asker} is no enroller itself", hint="ask on a machine that admits others")
        if not is_hub():
            raise Refused(409, "this node is no hub, and only hubs admit others", hint="choose a machine that is a hub")
        authority = await asyncio.to_thread(identity.become_enroller, now=clock())
        await roster.add_authority(authority.certificate)
        return json_answer(Granted(authority.certificate.pem))

    async def leave(request: web.Request) -> web.StreamResponse:
        node_id = asking_node(request).node_id
        answer = json_answer(Left())
        await answer.prepare(request)
        await answer.write_eof()  # before the connection is cut, which the next line does
        await asyncio.shield(roster.revoke(node_id))
        return answer

    return [web.post(GRANT_PATH, grant), web.post(LEAVE_PATH, leave)]


async def grant_right(session: PeerSession, roster: Roster) -> None:
    """Let the hub behind `session` admit machines too. Raises `MycoswarmError`."""
    try:
        granted = await session.call("POST", GRANT_PATH, reply=Granted, timeout_s=ANSWER_S)
    except TimeoutError as error:
        raise MycoswarmError(f"{session.node_id} did not answer within {ANSWER_S:g} s", hint="try again") from error
    authority = parse_authority(granted.authority)
    if authority.enroller != session.node_id:
        raise MycoswarmError(f"{session.node_id} answered with the authority of {authority.enroller}")
    await roster.add_authority(authority)


async def say_goodbye(session: PeerSession) -> bool:
    """Tell another member that this node leaves for good; whether it heard it."""
    try:
        await session.call("POST", LEAVE_PATH, reply=Left, timeout_s=FAREWELL_S)
    except (MycoswarmError, TimeoutError):
        return False
    return True
