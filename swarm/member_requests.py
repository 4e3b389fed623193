"""What one member asks another about membership itself: to admit machines too, and to be believed no more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from swarm.certificates import NodeId, id_of, parse_authority
from swarm.enrolment_messages import Pem
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.identity import Identity
from swarm.ledger.errors import LedgerError
from swarm.ledger.operation import LogId
from swarm.ledger.outgoing import Runs
from swarm.ledger.run import Run
from swarm.ledger.storage import Storage
from swarm.node_api import Refused, asking_node, json_answer
from swarm.peer_session import PeerSession
from swarm.roster import Roster, is_enroller

GRANT_PATH = "/v1/authority"
LEAVE_PATH = "/v1/leave"
ANSWER_S = 10.0
FAREWELL_S = 2.0

_log = logging.getLogger(__name__)


class Granted(msgspec.Struct, frozen=True):
    """The node has an authority, which counts once an enroller writes it into the roster."""

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
        return json_answer(Granted(authority.certificate.pem))

    async def leave(request: web.Request) -> web.StreamResponse:
        node_id = asking_node(request).node_id
        last_words = _parse_last_words(await request.read(), node_id)
        answer = json_answer(Left())
        await answer.prepare(request)
        await answer.write_eof()  # before the connection is cut, which the next line does
        await asyncio.shield(_take(roster, node_id, last_words))
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
    await roster.grant(authority)


async def last_words(roster: Roster) -> Runs:
    """Leave the swarm: what to say to those that can be reached. They tell the rest; this node is not asked again."""
    try:
        await roster.leave()
    except LedgerError as error:  # it is going, whether it may say so or not
        _log.warning("the others are not told that this node leaves: %s", error)
        return Runs(())
    return await roster.ledger.read(lambda storage: _roster_log(roster, storage))


async def say_goodbye(session: PeerSession, last_words: Runs) -> bool:
    """Tell another member that this node leaves for good; whether it heard it."""
    data = msgspec.msgpack.encode(last_words)
    try:
        async with session.request("POST", LEAVE_PATH, data=data, timeout_s=FAREWELL_S) as response:
            return response.status == 200
    except (MycoswarmError, TimeoutError):
        return False


def _roster_log(roster: Roster, storage: Storage) -> Runs:
    runs: list[Run] = []
    for log, head in storage.heads().items():
        if log.origin == roster.ledger.node and log.lane == "roster":
            after = 0
            while after < head.position:
                runs.append(storage.run(head, after))
                after = runs[-1].last
    return Runs(tuple(runs))


def _parse_last_words(data: bytes, node: NodeId) -> Runs:
    """Nothing but the node's own roster logs: the rest is pulled, not taken. Raises `MalformedMessage`."""
    try:
        said = msgspec.msgpack.decode(data, type=Runs)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"no last words: {error}") from error
    if any(id_of(run.key) != node or run.lane != "roster" for run in said.runs):
        raise MalformedMessage("last words of another node")
    return said


async def _take(roster: Roster, node: NodeId, said: Runs) -> None:
    logs = frozenset(LogId(node, run.epoch, run.lane) for run in said.runs)
    try:
        await roster.ledger.take(said.runs, logs)
    except MycoswarmError as error:
        _log.warning("%s leaves, and what it said cannot be taken: %s", node, error)
