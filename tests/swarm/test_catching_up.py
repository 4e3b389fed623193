"""Members that have certificates of an authority not known here: asked for the ledger, and nobody else is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from swarm.certificates import NODE_LIFE_S, new_authority
from swarm.identity import Identity
from swarm.node_api import LEDGER_PATH, asking_node, json_answer
from swarm.peer_session import Address, PeerRefused, PeerSession, PeerUnreachable, identify
from swarm.tls import MemberContexts
from tests.buses import until
from tests.swarm.enrolled import Member, founder, member

HEADS = f"{LEDGER_PATH}heads"


async def meanwhile(tmp_path: Path, *, ended: bool = False) -> tuple[Member, Member]:
    """A node that was off, and a peer whose certificate is by now of an authority that it does not know."""
    first = founder(tmp_path / "first")
    issued = time.time() - (NODE_LIFE_S + 60 if ended else 0)
    off, peer = await member(first, tmp_path / "off", issued=issued), await member(first, tmp_path / "peer")
    for one, other in ((off, peer), (peer, off), (off, first)):
        await one.trust.admit(other.node_id, other.identity.folder.name)
    certified_anew(peer, peer)
    await peer.trust.add_authority(peer.identity.become_enroller(now=time.time()).certificate)
    return off, peer


def certified_anew(node: Member, by: Member) -> None:
    authority = by.identity.become_enroller(now=time.time())
    node.identity.install(authority.issue(node.identity.public_key, now=time.time()))


def routes(asked: list[str]) -> list[web.AbstractRouteDef]:
    async def answer(request: web.Request) -> web.Response:
        asked.append(asking_node(request).node_id)
        return json_answer("")

    return [web.get(HEADS, answer), web.get("/v1/task", answer)]


@contextlib.asynccontextmanager
async def curious(identity: Identity, believes: Member) -> AsyncIterator[tuple[Address, list[bytes | None]]]:
    """A server that shows this identity, and what it is shown."""
    shown: list[bytes | None] = []

    class Curious(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown.append(self.getpeercert(binary_form=True))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    context.load_verify_locations(cadata=believes.trust.bundle().pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.sslobject_class = Curious

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            shown.append(await reader.read() or None)
        writer.transport.abort()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        yield ("127.0.0.1", server.sockets[0].getsockname()[1]), shown


@pytest.mark.parametrize("ended", [False, True])
def test_member_of_an_unknown_authority_is_found_by_its_key_and_gives_the_ledger(tmp_path: Path, ended: bool) -> None:
    async def scenario() -> None:
        off, peer = await meanwhile(tmp_path, ended=ended)
        asked: list[str] = []
        async with peer.serving(routes(asked)) as port:
            address = ("127.0.0.1", port.port)
            with pytest.raises(PeerUnreachable) as caught:
                await identify(off.contexts, address)
            assert caught.value.layer == "certificate"
            assert await identify(MemberContexts(off.contexts), address) == peer.node_id
            session = PeerSession(peer.node_id, MemberContexts(off.contexts), lambda _: [address])
            try:
                await session.call("GET", HEADS, reply=str, timeout_s=5)
                assert asked == [off.node_id]
                if ended:
                    with pytest.raises(PeerRefused, match="ended"):
                        await session.call("GET", "/v1/task", reply=str, timeout_s=5)
            finally:
                await session.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("who", ["stranger", "claims this swarm", "not in the roster", "revoked", "another member"])
def test_whoever_is_not_the_member_that_is_looked_for_is_shown_nothing(tmp_path: Path, who: str) -> None:
    async def scenario() -> None:
        off, peer = await meanwhile(tmp_path)
        node = await member(peer, tmp_path / "node", listed=False)
        match who:
            case "stranger":
                node = founder(tmp_path / "stranger")
            case "claims this swarm":
                authority = new_authority(node.node_id, off.trust.swarm_id, now=time.time())
                node.identity.install(authority.issue(node.identity.public_key, now=time.time()))
            case "not in the roster":
                certified_anew(node, peer)
            case "revoked":
                certified_anew(node, peer)
                await off.trust.admit(node.node_id, "node")
                await off.trust.revoke(node.node_id)
            case _:
                certified_anew(node, peer)
                await off.trust.admit(node.node_id, "node")
        async with curious(node.identity, off) as (address, shown):
            wanted = peer.node_id if who == "another member" else node.node_id
            session = PeerSession(wanted, MemberContexts(off.contexts), lambda _: [address])
            try:
                with pytest.raises(PeerUnreachable):
                    await session.call("GET", HEADS, reply=str, timeout_s=5)
                if who != "another member":
                    with pytest.raises(PeerUnreachable):
                        await identify(MemberContexts(off.contexts), address)
            finally:
                await session.close()
        assert not any(shown)

        async with curious(peer.identity, off) as (address, shown):  # who is shown something is seen here
            assert await identify(MemberContexts(off.contexts), address) == peer.node_id
            await until(lambda: any(shown))

    asyncio.run(scenario())
