"""TLS between nodes: 1.3 only, certificates on both sides, and who the other is decided inside the handshake.

OpenSSL verifies that an authority of the bundle signed the certificate and that the peer has its key; `swarm.trust`
judges the rest right after, as part of the handshake. A connection that fails either never reaches what is above: no
protocol is created for it, and a client's own certificate has not been sent yet when it refuses a server.

A member whose certificate is of an authority that is not known here is proved by its key alone, for its id is made of
it. That is enough to ask it for the ledger, which says who admits nodes now and proves itself (`MemberContexts`).

Nodes have no host names. A client gives the node id it wants as the server name, and that takes the place of the
hostname check; the address is only where it looked.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from swarm.certificates import BadCertificate, NodeCertificate, NodeId, parse_node_certificate
from swarm.errors import MycoswarmError
from swarm.identity import Identity
from swarm.trust import REASONS, Standing, Trust, judge

_Kind = Literal["server", "client", "to_member"]
ANY_MEMBER = "any-member"
"""The server name of a client that wants to know which node an address is."""
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h): a server lets `judge` look at times, which knows who may renew."""

# What asyncio sets aside for reading on each TLS connection. Its 256 KB are 4 MB with nine other nodes, two connections
# each; a TLS record has 16 KB at most.
asyncio.sslproto.SSLProtocol.max_size = 32 * 1024


@dataclass(frozen=True)
class Peer:
    """The node at the other end of a connection, proved."""

    certificate: NodeCertificate
    standing: Standing
    """`admitted` or `renew_only`, when the connection began."""

    @property
    def node_id(self) -> NodeId:
        """Its id."""
        return self.certificate.node_id


class PeerNotAccepted(ssl.SSLCertVerificationError):
    """The handshake proved who the other is, and it is not one to speak with."""

    def __init__(self, node_id: NodeId | None, standing: Standing) -> None:
        super().__init__(1, f"node {node_id or 'unknown'}: {REASONS[standing]}")
        self.node_id = node_id
        self.standing = standing


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """Who is at the other end of a transport of these contexts. Raises `ConnectionResetError` once it is closed."""
    peer = peer_of_tls(transport.get_extra_info("ssl_object"))
    if peer is None:
        raise ConnectionResetError("the connection is closed")
    return peer


def peer_of_tls(tls: object) -> Peer | None:
    """The same from the transport's `ssl_object`; None before the handshake ended."""
    peer = getattr(tls, "peer", None)
    return peer if isinstance(peer, Peer) else None


class ClientContexts(Protocol):
    """Where the context of a connection out comes from."""

    def client(self) -> ssl.SSLContext:
        """See `TlsContexts`."""


class TlsContexts:
    """The contexts of this node, made anew when its certificate or the bundle changed."""

    def __init__(self, identity: Identity, trust: Trust, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970. OpenSSL looks at the system's clock by itself when this node is client."""
        self._identity = identity
        self._trust = trust
        self._clock = clock
        self._made: dict[_Kind, tuple[tuple[object, object], ssl.SSLContext]] = {}

    def server(self) -> ssl.SSLContext:
        """For the next connection that comes in. Raises `MycoswarmError` while the node belongs to no swarm."""
        return self._current("server")

    def client(self) -> ssl.SSLContext:
        """For the next connection out; `server_hostname` is the wanted node id, or `ANY_MEMBER`.

        Raises `MycoswarmError` while the node belongs to no swarm.
        """
        return self._current("client")

    def to_member(self) -> ssl.SSLContext:
        """For a connection out that accepts members of the roster, whoever issued their certificates; see
        `MemberContexts`. Raises as `client`."""
        return self._current("to_member")

    def standing_of(self, peer: Peer) -> Standing:
        """How the other end of an open connection stands now."""
        return judge(peer.certificate, self._trust, self._clock())

    def _current(self, kind: _Kind) -> ssl.SSLContext:
        made_of = (self._identity.certificate, self._trust.bundle())
        made = self._made.get(kind)
        if made is None or made[0][0] is not made_of[0] or made[0][1] is not made_of[1]:
            made = self._made[kind] = (made_of, self._make(kind))
        return made[1]

    def _make(self, kind: _Kind) -> ssl.SSLContext:
        if self._identity.certificate is None:
            raise MycoswarmError("this node belongs to no swarm", hint="mycoswarm init or mycoswarm join")
        context = _PeerContext(ssl.PROTOCOL_TLS_SERVER if kind == "server" else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if kind == "to_member":
            context.verify_mode = ssl.CERT_NONE  # that the other has the key, TLS sees to all the same
            context.accept = self._accept_member
        else:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self._trust.bundle().pem)
            context.accept = self._accept_client if kind == "server" else self._accept_server
        if kind == "server":
            context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        context.sslobject_class = _PeerObject
        context.sslsocket_class = _PeerSocket
        _show(context, self._identity.certificate_path, self._identity.key_path)
        return context

    def _accept_client(self, certificate: bytes, server_name: str | None) -> Peer:
        peer = self._judged(certificate)
        if peer.standing not in ("admitted", "renew_only"):
            raise PeerNotAccepted(peer.node_id, peer.standing)
        return peer

    def _accept_server(self, certificate: bytes, server_name: str | None) -> Peer:
        peer = self._judged(certificate)
        if server_name not in (peer.node_id, ANY_MEMBER):
            raise PeerNotAccepted(peer.node_id, "not_itself")
        if peer.standing != "admitted":
            raise PeerNotAccepted(peer.node_id, "expired" if peer.standing == "renew_only" else peer.standing)
        return peer

    def _accept_member(self, certificate: bytes, server_name: str | None) -> Peer:
        peer = self._judged(certificate)
        if server_name not in (peer.node_id, ANY_MEMBER):
            raise PeerNotAccepted(peer.node_id, "not_itself")
        if peer.standing in ("other_swarm", "revoked"):
            raise PeerNotAccepted(peer.node_id, peer.standing)
        if not self._trust.is_member(peer.node_id):
            raise PeerNotAccepted(peer.node_id, "unknown_authority")
        return peer

    def _judged(self, certificate: bytes) -> Peer:
        try:
            parsed = parse_node_certificate(certificate)
        except BadCertificate as error:
            raise ssl.SSLCertVerificationError(1, str(error)) from error
        return Peer(parsed, judge(parsed, self._trust, self._clock()))


class MemberContexts:
    """For `identify` and `PeerSession`, to ask a member for the ledger, and nothing else.

    Not for blocking sockets, which show this node's certificate before they refuse the other's.

    A node that was off while the right to admit others was given on knows none of the certificates that its peers have
    by now. Those peers it knows: they are in its roster, and their ids are made of their keys.
    """

    def __init__(self, contexts: TlsContexts) -> None:
        self._contexts = contexts

    def client(self) -> ssl.SSLContext:
        """For the next connection; `server_hostname` as for `TlsContexts.client`."""
        return self._contexts.to_member()


# ---- before a node is enrolled: only the server has something to prove, and proves it above TLS


def enrolment_server_context(certificate_path: Path, key_path: Path) -> ssl.SSLContext:
    """The enroller's side of the enrolment port: shows a node certificate of its own authority, asks for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _show(context, certificate_path, key_path)
    return context


class JoiningContext(ssl.SSLContext):
    """The joiner's side: takes any certificate at first, then the same one in every later connection.

    Whose it is, and that the right authority signed it, the joiner finds out from `server_certificate` before it sends
    anything of value.
    """

    server_certificate: bytes | None
    """DER; None before the first connection."""

    def accept(self, certificate: bytes, server_name: str | None) -> None:
        """Part of the handshake."""
        if self.server_certificate is None:
            self.server_certificate = certificate
        elif self.server_certificate != certificate:
            raise ssl.SSLCertVerificationError(1, "another machine answered than the one before")


def joining_context() -> JoiningContext:
    """One for each attempt to join."""
    context = JoiningContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_certificate = None
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslobject_class = _PeerObject
    return context


# ---- the handshake


class _PeerContext(ssl.SSLContext):
    accept: Callable[[bytes, str | None], Peer]


class _PeerObject(ssl.SSLObject):
    """What asyncio drives; a handshake is done when `accept` of the context has no objection."""

    peer: Peer | None = None

    def do_handshake(self) -> None:
        super().do_handshake()
        self.peer = _accepted(self)


class _PeerSocket(ssl.SSLSocket):
    """The same for blocking clients, such as paho's."""

    peer: Peer | None = None

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        self.peer = _accepted(self)


def _accepted(tls: ssl.SSLObject | ssl.SSLSocket) -> Any:
    certificate = tls.getpeercert(binary_form=True)
    context: Any = tls.context
    if certificate is None:
        raise ssl.SSLCertVerificationError(1, "the other side showed no certificate")
    return context.accept(certificate, tls.server_hostname)


def _show(context: ssl.SSLContext, certificate_path: Path, key_path: Path) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate_path, key_path)
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a resumed session would skip the look at the certificate
