"""Ledgers follow each other over real nodes' ports."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from swarm.certificates import AuthorityCertificate
from swarm.identity import Identity, open_identity
from swarm.ledger.ledger import Ledger
from swarm.ledger_following import LedgerFollowing
from swarm.member_requests import grant_right, last_words, member_routes, say_goodbye
from swarm.node_api import NodesPort, build_nodes_app
from swarm.peer_session import Address, PeerRefused, Peers, PeerUnreachable
from swarm.roster import LEDGER, Roster, introduce, open_roster
from swarm.tls import TlsContexts
from tests.swarm.plain_swarm import until


@pytest.fixture(autouse=True)
def nobody_asks_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.ledger_following.PULL_EVERY_S", 3600.0)


class Node:
    """A nodes' port with a roster, and what follows others' ledgers."""

    def __init__(self, folder: Path, network: dict[str, Address]) -> None:
        self.identity: Identity = open_identity(folder)
        self.network = network
        self.sees: list[str] = []

    @property
    def id(self) -> str:
        return self.identity.node_id

    def believes(self) -> tuple[AuthorityCertificate, ...]:
        return tuple(self.roster.bundle().current.values()) if hasattr(self, "roster") else ()

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        async with open_roster(self.identity) as self.roster:
            contexts = TlsContexts(self.identity, self.roster)
            self.peers = Peers(contexts, self.roster, lambda node: [self.network[node]])
            self.following = LedgerFollowing(self.roster.ledger, self.peers, lambda: self.sees)
            routes = [
                *self.following.routes(),
                *member_routes(self.identity, self.roster, is_hub=lambda: True),
            ]
            self.port = NodesPort(build_nodes_app(routes, self.roster), contexts, self.roster)
            await self.port.start("127.0.0.1", 0)
            self.network[self.id] = ("127.0.0.1", self.port.port)
            running = asyncio.create_task(self.following.run())
            try:
                yield
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await self.peers.close()
                await self.port.close()


async def found(node: Node) -> None:
    authority = node.identity.found_swarm(now=time.time()).certificate
    folder = node.identity.folder
    async with Ledger(folder / LEDGER, node.identity, authority.swarm_id) as ledger:
        await ledger.found(authority.pem, name="first")
    introduce(folder, (authority,))


def let_in(enroller: Node, node: Node) -> None:
    authority = enroller.identity.authority
    assert authority is not None
    node.identity.install(authority.issue(node.identity.public_key, now=time.time()))
    introduce(node.identity.folder, dict.fromkeys((authority.certificate, *enroller.believes())))


@contextlib.asynccontextmanager
async def three(folder: Path) -> AsyncIterator[tuple[Node, Node, Node]]:
    """All of one swarm, each of which sees the others; the second and the third heard nothing yet."""
    network: dict[str, Address] = {}
    first, second, third = nodes = [Node(folder / name, network) for name in ("first", "second", "third")]
    await found(first)
    let_in(first, second)
    let_in(first, third)
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.up())
        for node in (second, third):
            await first.roster.admit(node.id, node.identity.folder.name, ("hub",))
        for node in nodes:
            node.sees = [each.id for each in nodes if each is not node]
        yield first, second, third


def knows(roster: Roster, *nodes: Node) -> bool:
    return all(node.id in roster.members() for node in nodes)


def has(node: Node, volume: int) -> bool:
    return bool(node.roster.ledger.settings.get("volume") == volume)


def test_what_one_node_writes_the_others_have_before_they_would_have_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with three(tmp_path) as (first, second, third):
            await first.roster.ledger.put("settings", "volume", 3)
            for node in (second, third):
                await until(partial(has, node, 3))
            await third.roster.ledger.put("settings", "volume", 4)
            for node in (first, second):
                await until(partial(has, node, 4))

    asyncio.run(scenario())


def test_node_that_was_met_is_asked_what_it_knows(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with three(tmp_path) as (first, second, third):
            first.sees = second.sees = third.sees = []
            second.following.met(first.id)
            await until(lambda: knows(second.roster, first, second, third))
            third.following.met(second.id)  # it has been told of the third by the first
            await until(lambda: knows(third.roster, first, second, third))

    asyncio.run(scenario())


def test_news_missed_are_found_by_asking_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with three(tmp_path) as (first, second, _):
            first.sees = []
            await until(lambda: knows(second.roster, first, second))

    monkeypatch.setattr("swarm.ledger_following.PULL_EVERY_S", 0.05)
    asyncio.run(scenario())


def test_node_revoked_at_one_is_cut_off_at_every_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with three(tmp_path) as (first, second, third):
            for node in (second, third):
                await first.following.tell(node.id)
            await third.peers[second.id].warm()
            await second.peers[third.id].warm()
            before = second.port.connections
            third.sees = []
            await first.roster.revoke(third.id)
            await until(lambda: second.roster.is_revoked(third.id))
            await until(lambda: second.port.connections < before)
            with pytest.raises(PeerUnreachable):
                await third.peers[second.id].warm()
            with pytest.raises(PeerUnreachable, match="revoked"):
                await second.peers[third.id].warm()

    asyncio.run(scenario())


def test_last_words_of_who_leaves_are_enough_for_all(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with three(tmp_path) as (first, second, third):
            for node in (second, third):
                await first.following.tell(node.id)
            third.sees = []
            words = await last_words(third.roster)
            assert await say_goodbye(third.peers[second.id], words)
            for node in (second, first):
                await until(partial(node.roster.is_revoked, third.id))

    asyncio.run(scenario())


def test_nobody_takes_another_node_out_of_the_swarm_by_last_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with three(tmp_path) as (first, second, third):
            for node in (second, third):
                await first.following.tell(node.id)
            third.sees = []
            words = await last_words(third.roster)
            for said in (words, b"\xc1"):
                data = said if isinstance(said, bytes) else msgspec.msgpack.encode(said)
                async with first.peers[second.id].request("POST", "/v1/leave", data=data) as response:
                    assert response.status == 400
            assert not second.roster.is_revoked(third.id)

    asyncio.run(scenario())


def test_hub_that_was_granted_the_right_knows_so_and_goes_on_without_the_founder(tmp_path: Path) -> None:
    async def scenario() -> None:
        network: dict[str, Address] = {}
        first, second, third = (Node(tmp_path / name, network) for name in ("first", "second", "third"))
        await found(first)
        let_in(first, second)
        async with second.up():
            async with first.up():
                await first.roster.admit(second.id, "second", ("hub",))
                await first.following.tell(second.id)
                with pytest.raises(PeerRefused, match="no enroller itself"):
                    await grant_right(second.peers[first.id], second.roster)
                await grant_right(first.peers[second.id], first.roster)
                assert await first.following.tell(second.id)
            let_in(second, third)
            await second.roster.admit(third.id, "third", ("worker",))
            async with third.up():
                third.following.met(second.id)
                await until(lambda: knows(third.roster, first, second, third))
                assert len(third.roster.bundle().current) == 2

    asyncio.run(scenario())
