"""Nodes of a swarm with real keys, certificates and ports on loopback."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from swarm.certificates import NODE_LIFE_S, parse_bundle
from swarm.https_listener import Limits
from swarm.identity import Identity, open_identity
from swarm.node_api import NodesPort, build_nodes_app
from swarm.peer_session import Address, Peers
from swarm.renewal import renewal_routes
from swarm.tls import TlsContexts
from tests.swarm.held_trust import HeldTrust, create_trust


@dataclass
class Member:
    identity: Identity
    trust: HeldTrust
    addresses: dict[str, list[Address]]
    """Where this node believes the others to be."""

    @property
    def node_id(self) -> str:
        return self.identity.node_id

    @property
    def contexts(self) -> TlsContexts:
        return TlsContexts(self.identity, self.trust)

    @contextlib.asynccontextmanager
    async def serving(
        self,
        routes: Iterable[web.AbstractRouteDef] = (),
        *,
        limits: Limits | None = None,
        max_body_bytes: int = 100_000,
        renews: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[NodesPort]:
        every = [*routes, *(renewal_routes(self.identity, self.trust) if renews else ())]
        app = build_nodes_app(every, self.trust, max_body_bytes=max_body_bytes, clock=clock)
        port = NodesPort(app, self.contexts, self.trust, limits=limits)
        await port.start("127.0.0.1", 0)
        try:
            yield port
        finally:
            await port.close()

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[Peers]:
        peers = Peers(self.contexts, self.trust, lambda node_id: self.addresses.get(node_id, []))
        try:
            yield peers
        finally:
            await peers.close()

    def knows(self, other: Member, port: NodesPort | int) -> None:
        number = port if isinstance(port, int) else port.port
        self.addresses[other.node_id] = [("127.0.0.1", number)]


def founder(folder: Path) -> Member:
    """A node that began a swarm."""
    identity = open_identity(folder)
    authority = identity.found_swarm(now=time.time())
    return Member(identity, create_trust(folder, authority.certificate.swarm_id, (authority.certificate,)), {})


async def member(
    enroller: Member, folder: Path, *, issued: float | None = None, life_s: float = NODE_LIFE_S, listed: bool = True
) -> Member:
    """A node that the enroller admitted; its certificate was issued at `issued`, and is in the roster if `listed`."""
    authority = enroller.identity.authority
    assert authority is not None
    identity = open_identity(folder)
    now = time.time() if issued is None else issued
    identity.install(authority.issue(identity.public_key, now=now, life_s=life_s))
    bundle = parse_bundle(enroller.trust.bundle().pem)
    trust = create_trust(folder, enroller.trust.swarm_id, bundle)
    if listed:
        await enroller.trust.admit(identity.node_id, folder.name)
    return Member(identity, trust, {})


def rogue_context(*, certificate: Identity | None = None) -> ssl.SSLContext:
    """A client that checks nothing, and shows the certificate of an identity if it has one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate.certificate_path, certificate.key_path)
    return context
