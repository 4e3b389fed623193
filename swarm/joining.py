"""The joiner's side of enrolment: find out who the enroller is, then ask it for a certificate.

Nothing of value is sent before the enroller is known: by the token's pin, or, when a person compares codes, only the
public key and a commitment go out and the certificate is kept only if the person says that the codes are the same.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from swarm.certificates import (
    NODE_LIFE_S,
    AuthorityCertificate,
    BadCertificate,
    NodeCertificate,
    NodeId,
    parse_authority,
    parse_bundle,
    parse_node_certificate,
)
from swarm.egress import is_lan
from swarm.enrolment_messages import (
    ASK_PATH,
    INFO_PATH,
    MAX_JOINED_BYTES,
    TOKEN_PATH,
    CodeAsk,
    CodeAsked,
    CodeReveal,
    CodeState,
    EnrolmentInfo,
    Joined,
    MessageT,
    TokenJoin,
    code_of,
    commitment_of,
    parse,
    plain_name,
    proof_of_key,
)
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.identity import Identity
from swarm.peer_session import Address, AddressResolver, PeerRefused, read_bounded, refusal_of
from swarm.roster import introduce
from swarm.tls import joining_context
from swarm.tokens import JoinToken

CONNECT_S = 3.0
ANSWER_S = 10.0
"""For one answer; the question after a code's state is answered after five seconds at most."""

Confirm = Callable[[str, str], Awaitable[bool]]
"""Shows a person the code and the enroller's name, and says whether the enroller shows the same code."""


class JoinFailed(MycoswarmError):
    """This node was not let in; nothing was changed."""


@dataclass(frozen=True)
class Admission:
    """What joining brought, all of it checked."""

    certificate: NodeCertificate
    authorities: tuple[AuthorityCertificate, ...]
    enroller: NodeId
    nodes: tuple[Address, ...]
    """The enroller's nodes' port, if it has one: the first peer to ask."""

    @property
    def told_time(self) -> float:
        """What the enroller's clock said when it issued the certificate, seconds since 1970. It is as good as the pin
        or the code that proved the enroller. Joining itself asks no clock, so a wrong one can be set by it."""
        return self.certificate.not_after - NODE_LIFE_S


async def join_by_token(
    identity: Identity,
    token: JoinToken,
    *,
    name: str,
    roles: tuple[str, ...] = (),
    addresses: Sequence[Address] = (),
) -> Admission:
    """Join with a token; `addresses` of enrolment ports found by discovery are tried before those in the token.

    Raises `JoinFailed`.
    """
    tried: list[str] = []
    for address in dict.fromkeys((*addresses, *token.addresses)):
        try:
            async with _enroller_at(address) as enroller:
                if enroller.authority.pin != token.pin or enroller.info.swarm_id != token.swarm_id:
                    raise JoinFailed(
                        f"the machine at {address[0]} is not the one that made this token",
                        hint="the secret was not sent",
                    )
                about = proof_of_key(enroller.certificate, identity.public_key, token.id)
                asked = TokenJoin(token.id, token.secret, identity.public_key, name[:64], identity.sign(about), roles)
                return enroller.checked(await enroller.post(TOKEN_PATH, asked, Joined), identity)
        except PeerRefused as error:
            # The enroller that the pin names has spoken: no other address has another answer.
            raise JoinFailed(f"the enroller says: {error}", hint=error.hint) from error
        except MycoswarmError as error:
            tried.append(str(error))
    if not tried:
        raise JoinFailed(
            "no enroller is found", hint="is the machine that made the token on, in this network, and the token unused?"
        )
    raise JoinFailed("; ".join(tried)[:500], hint="make a new token on a machine that is on: mycoswarm invite")


async def join_by_code(
    identity: Identity, address: Address, *, name: str, roles: tuple[str, ...] = (), confirm: Confirm
) -> Admission:
    """Ask the enroller at `address` to let this node in, while a person compares the codes on both machines.

    Returns when the person approved there *and* `confirm` said yes here. Raises `JoinFailed`.
    """
    try:
        async with _enroller_at(address) as enroller:
            nonce = secrets.token_bytes(32)
            commitment = commitment_of(nonce, identity.public_key)
            proof = proof_of_key(enroller.certificate, identity.public_key, commitment)
            ask = CodeAsk(identity.public_key, name[:64], commitment, identity.sign(proof), roles)
            asked = await enroller.post(ASK_PATH, ask, CodeAsked)
            path = f"{ASK_PATH}/{asked.request_id}"
            code = code_of(
                server_certificate=enroller.certificate,
                authority_pin=enroller.authority.pin,
                swarm_id=enroller.info.swarm_id,
                joiner=identity.public_key,
                nonces=(nonce, asked.nonce),
            )
            await enroller.post(path, CodeReveal(nonce), CodeState)
            confirming = asyncio.ensure_future(confirm(code, plain_name(enroller.info.name)))
            try:
                joined = await _approval(enroller, path, confirming)
                if not await confirming:
                    raise JoinFailed("the codes are not the same", hint="another machine stands between the two")
            finally:
                confirming.cancel()
                with suppress(asyncio.CancelledError):
                    await confirming
            return enroller.checked(joined, identity)
    except PeerRefused as error:
        raise JoinFailed(f"the enroller says: {error}", hint=error.hint) from error


def settle(identity: Identity, admission: Admission) -> None:
    """Belong to the swarm from now on: keep its authorities and the certificate. Raises `StorageError`."""
    introduce(identity.folder, admission.authorities)
    identity.install(admission.certificate)


async def _approval(enroller: _Enroller, path: str, confirming: asyncio.Future[bool]) -> Joined:
    while True:
        if confirming.done() and not confirming.result():
            raise JoinFailed("the codes are not the same", hint="another machine stands between the two")
        state = await enroller.get(path, CodeState)
        if state.state == "refused":
            raise JoinFailed("a person at the enroller refused this node")
        if state.joined is not None:
            return state.joined


# ---- the enroller


class _Enroller:
    """The machine at an address, as far as it proved who it is."""

    def __init__(self, http: aiohttp.ClientSession, address: Address, info: EnrolmentInfo, certificate: bytes) -> None:
        self.info = info
        self.certificate = certificate
        """DER, as TLS showed it and will have to show it again."""
        self.authority = _signer(info, certificate)
        self._http = http
        self._host = address[0]

    async def post(self, path: str, message: msgspec.Struct, kind: type[MessageT]) -> MessageT:
        """Ask; raises `PeerRefused`, `JoinFailed`."""
        return await _ask(self._http, "POST", path, kind, data=msgspec.json.encode(message))

    async def get(self, path: str, kind: type[MessageT]) -> MessageT:
        """Ask; raises `PeerRefused`, `JoinFailed`."""
        return await _ask(self._http, "GET", path, kind)

    def checked(self, joined: Joined, identity: Identity) -> Admission:
        """What the enroller gave, if it is what it should be. Raises `JoinFailed`."""
        try:
            certificate = parse_node_certificate(joined.certificate)
            authorities = parse_bundle(joined.bundle)
        except BadCertificate as error:
            raise JoinFailed(f"the enroller gave a certificate that cannot be used: {error}") from error
        in_order = (
            certificate.public_key == identity.public_key
            and certificate.swarm_id == self.info.swarm_id
            and self.authority.issued(certificate)
            and self.authority in authorities
            and all(each.swarm_id == self.info.swarm_id for each in authorities)
        )
        if not in_order:
            raise JoinFailed("the enroller gave a certificate that is not for this node and swarm")
        nodes = ((self._host, joined.nodes_port),) if joined.nodes_port else ()
        return Admission(certificate, authorities, parse_node_certificate(self.certificate).node_id, nodes)


@asynccontextmanager
async def _enroller_at(address: Address) -> AsyncIterator[_Enroller]:
    if not is_lan(address[0]):
        raise JoinFailed(f"{address[0]} is outside the LAN, and nothing leaves the LAN")
    context = joining_context()
    async with aiohttp.ClientSession(
        base_url=URL.build(scheme="https", host="enroller"),
        connector=aiohttp.TCPConnector(
            ssl=context, resolver=AddressResolver(lambda: [address]), force_close=True, limit=2
        ),
        timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as http:
        info = await _ask(http, "GET", INFO_PATH, EnrolmentInfo)
        assert context.server_certificate is not None
        yield _Enroller(http, address, info, context.server_certificate)


def _signer(info: EnrolmentInfo, certificate: bytes) -> AuthorityCertificate:
    """The authority that the enroller claims, which must have signed what TLS showed. Raises `JoinFailed`."""
    try:
        authority, node = parse_authority(info.authority), parse_node_certificate(certificate)
    except BadCertificate as error:
        raise JoinFailed(f"the machine there is no enroller: {error}") from error
    if not authority.issued(node) or not (authority.swarm_id == node.swarm_id == info.swarm_id):
        raise JoinFailed("the machine there is no enroller: its certificates do not belong together")
    if authority.enroller != node.node_id:
        raise JoinFailed("the machine there is no enroller: it shows another one's authority")
    return authority


async def _ask(http: aiohttp.ClientSession, method: str, path: str, kind: type[MessageT], data: Any = None) -> MessageT:
    try:
        async with http.request(method, path, data=data, allow_redirects=False) as response:
            body = await read_bounded(response, MAX_JOINED_BYTES)
            if response.status != 200:
                raise refusal_of(response, body)
    except TimeoutError as error:
        raise JoinFailed(f"no answer within {ANSWER_S:g} s") from error
    except aiohttp.ClientError as error:
        raise JoinFailed(f"cannot ask the enroller: {error}", hint="is it on, and does somebody wait there?") from error
    try:
        return parse(body, kind, limit=MAX_JOINED_BYTES)
    except MalformedMessage as error:
        raise JoinFailed(f"the machine there is no enroller: {error}") from error
