"""Ledgers of two nodes become equal: the one that asks pulls what it lacks.

::

    GET  /v1/ledger/heads    how far the other one has each log (a version vector, with hashes); 304 if it is the same
    POST /v1/ledger/runs     the next signed runs of logs, about `MAX_ANSWER_BYTES` at a time
    POST /v1/ledger/proof    proof of one operation, to find where two nodes' copies of one log part

All bodies are MessagePack. Each answer is checked and stored as a whole before the next is asked for, so a pull that
was cut off goes on where it was. Roster logs come first: they say which others to accept. A new node needs no other
way in: one signature proves up to 512 operations, so checking costs about as much as storing, and the views are folded
in passing; 100,000 operations take it about three seconds, less than its first certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from swarm.certificates import NodeId, id_of
from swarm.errors import MalformedMessage
from swarm.ledger.errors import LedgerError, SyncError
from swarm.ledger.ledger import Ledger
from swarm.ledger.operation import LogId
from swarm.ledger.outgoing import (
    MAX_WANTS,
    Heads,
    KnownHead,
    Runs,
    Want,
    WantProof,
    Wants,
    digest_of,
    heads_for,
    proof_for,
    runs_for,
)
from swarm.ledger.roster import Member, Roster
from swarm.ledger.run import Evidence, Proof, Run, check_proof
from swarm.ledger.storage import Storage
from swarm.node_api import Refused
from swarm.peer_session import read_bounded, refusal_of

HEADS_PATH, RUNS_PATH, PROOF_PATH = "/v1/ledger/heads", "/v1/ledger/runs", "/v1/ledger/proof"
MAX_QUESTION_BYTES = 64 * 1024
MAX_ANSWERING = 8
"""Questions that wait for the reading thread; beyond, the answer is 503."""
MAX_REPLY_BYTES = 4 * 1024 * 1024
ANSWER_S = 30.0
MAX_FORKS = 8
"""Searched for in one pull."""

T = TypeVar("T")


class Asker(Protocol):
    """Asks one node over its HTTPS session; `swarm.peer_session.PeerSession` is one."""

    def request(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The answer, whatever its status, while the context lasts."""


# ---- answering


def routes(ledger: Ledger, peer_of: Callable[[web.Request], NodeId]) -> list[web.AbstractRouteDef]:
    """For the nodes' port; `peer_of` says who asks, proved by its certificate."""
    answering = asyncio.Semaphore(MAX_ANSWERING)

    async def answer(request: web.Request, question: Callable[[Member, Storage, Roster], T]) -> T:
        node, roster = peer_of(request), ledger.roster
        member = roster.serves(node)
        if member is None:
            raise Refused(403, f"{node} is not in the roster here", hint="the node that let it in knows it first")
        if answering.locked():
            raise Refused(503, "too many nodes ask for the ledger", retry_after_s=1)
        async with answering:
            return await ledger.read(lambda storage: question(member, storage, roster))

    async def heads(request: web.Request) -> web.Response:
        known = await answer(request, heads_for)
        tag = f'"{digest_of(known)}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return _packed(known)

    async def runs(request: web.Request) -> web.Response:
        asked = _parse(await _question(request), Wants)
        return _packed(
            await answer(request, lambda member, storage, roster: runs_for(member, storage, roster, asked.wants))
        )

    async def proof(request: web.Request) -> web.Response:
        asked = _parse(await _question(request), WantProof)
        found = await answer(request, lambda member, storage, _: proof_for(member, storage, asked))
        if found is None:
            raise Refused(404, "that operation is not here")
        return _packed(found)

    return [web.get(HEADS_PATH, heads), web.post(RUNS_PATH, runs), web.post(PROOF_PATH, proof)]


async def _question(request: web.Request) -> bytes:
    data = await request.read()
    if len(data) > MAX_QUESTION_BYTES:
        raise MalformedMessage(f"a question of {len(data)} bytes; more than {MAX_QUESTION_BYTES} are not read")
    return data


def _packed(value: object) -> web.Response:
    return web.Response(body=msgspec.msgpack.encode(value), content_type="application/vnd.msgpack")


def _parse(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a {kind.__name__}: {error}") from error


# ---- asking


@dataclass
class Pulled:
    """What a pull brought."""

    operations: int = 0
    """Stored that were not here."""
    refused: dict[LogId, str] = field(default_factory=dict)
    """Logs that were offered and not taken, and why."""
    forks: list[LogId] = field(default_factory=list)
    """Newly found: their nodes are frozen now."""


async def pull(ledger: Ledger, session: Asker, peer: NodeId) -> Pulled:
    """Take from `peer` what is not here yet. Nothing of it is believed for coming from there.

    Raises `SyncError` when it gives something that its author did not sign or that makes no sense, or stops giving;
    `PeerUnreachable`, `PeerRefused` and `TimeoutError` of the session; `LedgerError`. What came before is kept.
    """
    known = ledger.roster.members.get(peer)
    if ledger.roster.is_revoked(peer) or (known is not None and known.frozen):
        raise SyncError(f"{peer} is not believed any more")
    try:
        return await _Pull(ledger, session, peer).run()
    except MalformedMessage as error:
        raise SyncError(f"{peer} gave something that cannot be taken: {error}") from error


class _Pull:
    def __init__(self, ledger: Ledger, session: Asker, peer: NodeId) -> None:
        self._ledger = ledger
        self._session = session
        self._peer = peer
        self._pulled = Pulled()

    async def run(self) -> Pulled:
        heads = await self._heads()
        if heads is None:
            return self._pulled
        offered = {LogId(id_of(each.key), each.epoch, each.lane): each for each in heads.heads}
        await self._find_forks(offered)
        while wants := await self._wants(offered):
            taken = await self._fetch(wants)
            if not taken:
                raise SyncError(f"{self._peer} offers operations and does not give them")
        return self._pulled

    async def _heads(self) -> Heads | None:
        ledger = self._ledger
        roster = ledger.roster
        me = roster.members.get(ledger.node)
        headers = None
        if me is not None:
            mine = await ledger.read(lambda storage: heads_for(me, storage, roster))
            headers = {"If-None-Match": f'"{digest_of(mine)}"'}
        status, data = await self._ask("GET", HEADS_PATH, None, headers)
        return None if status == 304 else _parse(data, Heads)

    async def _wants(self, offered: Mapping[LogId, KnownHead]) -> list[Want]:
        """The roster alone, as long as there is something new in it."""
        roster, refused = self._ledger.roster, self._pulled.refused

        def find(storage: Storage) -> list[Want]:
            wants: list[Want] = []
            for log, head in offered.items():
                limit = roster.limit(log)
                if not limit and log.lane == "roster" and not roster.founders:
                    limit = head.position  # perhaps the founder's; its first word proves it
                mine = storage.head(log)
                position = 0 if mine is None else mine.position
                if position < min(limit, head.position) and log not in refused:
                    wants.append(Want(log, position))
            return wants

        wants = await self._ledger.read(find)
        first = [want for want in wants if want.log.lane == "roster"]
        return (first or wants)[:MAX_WANTS]

    async def _fetch(self, wants: Iterable[Want]) -> bool:
        wants = tuple(wants)
        runs = await self._runs(wants)
        taken = await self._ledger.take(runs, frozenset(want.log for want in wants))
        self._pulled.operations += taken.operations
        self._pulled.refused.update(taken.refused)
        if taken.operations:  # perhaps the roster names now those that it did not, in this very answer
            self._pulled.refused = {log: why for log, why in self._pulled.refused.items() if log.lane != "roster"}
        for log, position in taken.forked.items():
            await self._expose(log, position)
        return bool(taken.operations or taken.refused or taken.forked)

    async def _runs(self, wants: tuple[Want, ...]) -> tuple[Run, ...]:
        _, data = await self._ask("POST", RUNS_PATH, Wants(wants))
        return _parse(data, Runs).runs

    async def _ask(
        self, method: str, path: str, message: object, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        data = None if message is None else msgspec.msgpack.encode(message)
        async with self._session.request(method, path, data=data, headers=headers, timeout_s=ANSWER_S) as response:
            body = await read_bounded(response, MAX_REPLY_BYTES)
            if response.status not in (200, 304):
                raise refusal_of(response, body)
            return response.status, body

    # ---- forks

    async def _find_forks(self, offered: Mapping[LogId, KnownHead]) -> None:
        """Logs that are as long here or longer, and differ."""
        roster = self._ledger.roster

        def find(storage: Storage) -> list[tuple[LogId, int]]:
            found: list[tuple[LogId, int]] = []
            for log, head in offered.items():
                mine = storage.head(log)
                if (
                    mine is not None
                    and head.position <= min(mine.position, roster.limit(log))
                    and storage.hash_at(mine, head.position) != head.hash
                ):
                    found.append((log, head.position))
            return found

        for log, position in (await self._ledger.read(find))[:MAX_FORKS]:
            await self._expose(log, position)

    async def _expose(self, log: LogId, position: int) -> None:
        """Find the first operation of the log, up to `position`, that is another one there, and tell all."""
        if position == 0:
            raise SyncError(f"{self._peer} offers a {log} that does not begin as logs of this swarm do")
        low, high = 0, position
        theirs: Proof | None = None
        while high - low > 1 or theirs is None or theirs.sequence != high:
            middle = high if high - low == 1 else (low + high) // 2
            proof = await self._proof(log, middle)
            if proof.hash == await self._ledger.read(partial(_hash_at, log=log, position=middle)):
                if middle == high:
                    raise SyncError(f"{self._peer} says first that its copy of the {log} differs, and then not")
                low = middle
            else:
                high, theirs = middle, proof
        mine = await self._ledger.read(partial(_proof_of, log=log, sequence=high))
        self._pulled.refused[log] = "it was forked"
        try:
            await self._ledger.report_fork(Evidence(mine, theirs))
        except LedgerError as error:
            if log in self._ledger.roster.forks:
                return  # somebody told it meanwhile
            raise SyncError(f"the {log} was forked, and this node cannot tell others: {error}") from error
        self._pulled.forks.append(log)

    async def _proof(self, log: LogId, sequence: int) -> Proof:
        _, data = await self._ask("POST", PROOF_PATH, WantProof(log, sequence))
        proof = _parse(data, Proof)
        check_proof(proof)
        if (proof.log, proof.sequence) != (log, sequence):
            raise MalformedMessage("a proof of something else")
        return proof


def _hash_at(storage: Storage, log: LogId, position: int) -> bytes:
    head = storage.head(log)
    assert head is not None
    return storage.hash_at(head, position)


def _proof_of(storage: Storage, log: LogId, sequence: int) -> Proof:
    head = storage.head(log)
    assert head is not None
    return storage.proof(head, sequence)
