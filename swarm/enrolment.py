"""The enroller's side of joining: a port of its own that is open only while somebody may come.

It is served with the node's certificate and asks for none. Two ways lead in, both end in `Joined`: a token, or a code
that a person compares (`swarm.enrolment_messages`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from swarm.certificates import Authority, NodeId, id_of, is_signed
from swarm.config import ROLES
from swarm.enrolment_messages import (
    ASK_PATH,
    INFO_PATH,
    MAX_MESSAGE_BYTES,
    TOKEN_PATH,
    CodeAsk,
    CodeAsked,
    CodeReveal,
    CodeState,
    EnrolmentInfo,
    Joined,
    TokenJoin,
    code_of,
    is_committed,
    parse,
    plain_code,
    plain_name,
    proof_of_key,
)
from swarm.errors import MycoswarmError
from swarm.https_listener import HttpsListener, Limits, whole_requests
from swarm.identity import Identity
from swarm.node_api import Refused, errors_as_json, json_answer
from swarm.tls import enrolment_server_context
from swarm.tokens import (
    DEFAULT_VALID_S,
    Invitation,
    JoinToken,
    Redemption,
    load_invitations,
    save_invitations,
)
from swarm.trust import Trust

LIMITS = Limits(connections=48, connections_each=8, handshakes=48, request_s=5.0, idle_s=5.0, life_s=15.0)
"""A joiner needs one connection at a time, a tenth of a second each."""
MAX_REQUESTS = 8
"""Codes that wait for a person; few, for each is a chance to hit one by luck."""
MAX_REQUESTS_EACH = 2
"""From one address."""
REQUEST_VALID_S = 600.0
"""A person has this long to compare the codes."""
WAIT_S = 5.0
"""How long a question after the state of a request waits for a change; below `LIMITS.life_s`."""

_log = logging.getLogger(__name__)

Admit = Callable[[NodeId, str, tuple[str, ...]], Awaitable[None]]
"""Takes a new member, id, name and roles, into the roster; it is kept when this returns. May raise `MycoswarmError`."""

_TOKEN_REFUSED: dict[Redemption, tuple[str, str]] = {
    "unknown": ("this token does not open this swarm", "it was withdrawn or is of another enroller: make a new one"),
    "expired": ("this token has expired", "make a new one: mycoswarm invite"),
    "used": ("this token was used by another machine", "make one for each machine: mycoswarm invite"),
}


_WAITING = CodeState("waiting")


@dataclass
class _Request:
    """Somebody who asks to be let in by code."""

    ask: CodeAsk
    address: str
    nonce: bytes
    expires: float
    code: str = ""
    """Known once the joiner showed its nonce."""
    state: CodeState = _WAITING
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Pending:
    """A request as a person sees it."""

    code: str
    """Such as `123 456`; the joining machine must show the same."""
    name: str
    """What the machine calls itself; anybody can call itself anything."""
    node_id: NodeId
    address: str


class Enrolment:
    """Lets machines in. `run` serves; the other methods are what a person does at the enroller."""

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        *,
        name: str,
        nodes_port: int,
        admit: Admit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`identity` is an enroller's; `nodes_port` is told to those who joined. Raises `StorageError`."""
        self._identity = identity
        self._trust = trust
        self._name = name
        self._nodes_port = nodes_port
        self._admit = admit
        self._clock = clock
        self._invitations = load_invitations(identity.folder)
        self._changing = asyncio.Lock()
        self._requests: dict[str, _Request] = {}
        self._codes_until = 0.0
        self._changed = asyncio.Event()
        self._listener: HttpsListener | None = None
        self._shown_certificate = b""

    # ---- what a person does

    @property
    def port(self) -> int | None:
        """Where it listens now; None while nobody may come."""
        return None if self._listener is None else self._listener.port

    async def invite(self, *, valid_s: float = DEFAULT_VALID_S, addresses: Sequence[tuple[str, int]] = ()) -> JoinToken:
        """A token for one machine; `addresses` of the enrolment port go into it. Raises `MycoswarmError`."""
        async with self._changing:
            invitations, token = self._invitations.invite(
                pin=self._authority.certificate.pin,
                swarm_id=self._trust.swarm_id,
                valid_s=valid_s,
                addresses=addresses,
                now=self._clock(),
            )
            await asyncio.to_thread(save_invitations, self._identity.folder, invitations)
            self._invitations = invitations
        self._changed.set()
        return token

    def invitations(self) -> list[Invitation]:
        """Those that wait, and those that ended within the last day."""
        return list(self._invitations.without_old(self._clock()).all.values())

    async def withdraw(self, token_id: bytes | None) -> None:
        """Let nobody in with that token, or with any for None, from now on. Raises `StorageError`."""
        async with self._changing:
            self._invitations = self._invitations.withdraw(token_id)
            await asyncio.to_thread(save_invitations, self._identity.folder, self._invitations)
        self._changed.set()

    def accept_codes(self, valid_s: float = REQUEST_VALID_S) -> None:
        """Let machines ask by code for so long; 0 ends it."""
        self._codes_until = self._clock() + valid_s
        self._changed.set()

    def pending(self) -> list[Pending]:
        """Who asks, oldest first."""
        return [
            Pending(each.code, plain_name(each.ask.name), id_of(each.ask.public_key), each.address)
            for each in self._waiting()
        ]

    async def approve(self, code: str) -> Pending:
        """Let in the machine that shows `code`. Raises `MycoswarmError` when none does, `StorageError`."""
        request, pending = self._asking_with(code)
        joined = await self._let_in(request.ask.public_key, request.ask.name, request.ask.roles)
        request.state = CodeState("approved", joined)
        request.changed.set()
        return pending

    def refuse(self, code: str) -> Pending:
        """Tell the machine that shows `code` no. Raises `MycoswarmError` when none does."""
        request, pending = self._asking_with(code)
        request.state = CodeState("refused")
        request.changed.set()
        return pending

    # ---- serving

    async def run(self, host: str, port: int) -> None:
        """Open the port whenever somebody may come and close it when not, until cancelled.

        `host` and `port` as for `HttpsListener.start`. A port that cannot be had is said in the log and tried again
        at the next change.
        """
        try:
            while True:
                self._changed.clear()
                open_until = self._open_until()
                if open_until is not None and self._listener is None:
                    await self._open(host, port)
                elif open_until is None and self._listener is not None:
                    await self._close()
                wait_s = None if open_until is None else max(0.0, open_until - self._clock())
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if wait_s is None else min(wait_s, 60.0)):  # clocks are set too
                        await self._changed.wait()
        finally:
            await self._close()

    def _open_until(self) -> float | None:
        now = self._clock()
        self._forget_old_requests()
        asked = [each.expires for each in self._requests.values()]
        ends = [self._invitations.open_until(now) or 0.0, self._codes_until, *asked]
        return max((end for end in ends if now < end), default=None)

    async def _open(self, host: str, port: int) -> None:
        app = web.Application(middlewares=[errors_as_json, whole_requests], client_max_size=MAX_MESSAGE_BYTES)
        app.add_routes(
            [
                web.get(INFO_PATH, self._info),
                web.post(TOKEN_PATH, self._join_by_token),
                web.post(ASK_PATH, self._ask),
                web.post(f"{ASK_PATH}/{{request_id}}", self._reveal),
                web.get(f"{ASK_PATH}/{{request_id}}", self._state),
            ]
        )
        try:
            certificate = await asyncio.to_thread(self._identity.renew_enrolment, now=self._clock())
            self._shown_certificate = ssl.PEM_cert_to_DER_cert(certificate.pem)  # joiners sign for what they were shown
            context = enrolment_server_context(self._identity.enrolment_path, self._identity.key_path)
            listener = HttpsListener(app, lambda: context, LIMITS)
            await listener.start(host, port)
        except MycoswarmError as error:
            _log.error("nobody can join: %s", error.for_log())
            return
        self._listener = listener
        _log.info("the enrolment port is open: %d", listener.port)

    async def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
            _log.info("the enrolment port is closed")

    # ---- what joiners ask

    async def _info(self, request: web.Request) -> web.Response:
        by_code = self._clock() < self._codes_until
        return json_answer(
            EnrolmentInfo(self._trust.swarm_id, plain_name(self._name), self._authority.certificate.pem, by_code)
        )

    async def _join_by_token(self, request: web.Request) -> web.Response:
        asked = parse(await request.read(), TokenJoin)
        self._require_own_key(asked.public_key, asked.signature, asked.token_id)
        node_id = id_of(asked.public_key)
        if self._trust.is_revoked(node_id):
            raise Refused(403, "this node was revoked", hint="mycoswarm leave there makes it a new one")
        async with self._changing:
            invitations, redemption = self._invitations.redeem(asked.token_id, asked.secret, node_id, self._clock())
            if redemption != "granted":
                message, hint = _TOKEN_REFUSED[redemption]
                raise Refused(403, message, hint=hint)
            # Kept before the certificate exists: after a crash the token is used, and this node may ask again.
            await asyncio.to_thread(save_invitations, self._identity.folder, invitations)
            self._invitations = invitations
        self._changed.set()
        return json_answer(await self._let_in(asked.public_key, asked.name, asked.roles))

    async def _ask(self, request: web.Request) -> web.Response:
        asked = parse(await request.read(), CodeAsk)
        self._require_own_key(asked.public_key, asked.signature, asked.commitment)
        if self._trust.is_revoked(id_of(asked.public_key)):
            raise Refused(403, "this node was revoked", hint="mycoswarm leave there makes it a new one")
        if self._clock() >= self._codes_until:
            raise Refused(403, "nobody here waits for a code", hint="a person has to allow it: mycoswarm approve")
        self._forget_old_requests()
        address = request.remote or ""
        same = [id_ for id_, each in self._requests.items() if each.ask.public_key == asked.public_key]
        for id_ in same:
            del self._requests[id_]  # it asks anew, with another code
        from_there = sum(each.address == address for each in self._requests.values())
        if len(self._requests) >= MAX_REQUESTS or from_there >= MAX_REQUESTS_EACH:
            raise Refused(
                503, "too many machines ask to be let in", hint="refuse those that are not yours", retry_after_s=60
            )
        request_id = secrets.token_urlsafe(16)
        nonce = secrets.token_bytes(32)
        self._requests[request_id] = _Request(asked, address, nonce, self._clock() + REQUEST_VALID_S)
        return json_answer(CodeAsked(request_id, nonce))

    async def _reveal(self, request: web.Request) -> web.Response:
        asking = self._request_of(request)
        nonce = parse(await request.read(), CodeReveal).nonce
        if asking.code or not is_committed(asking.ask.commitment, nonce, asking.ask.public_key):
            del self._requests[request.match_info["request_id"]]
            raise Refused(400, "the nonce is not the one that was promised", hint="ask again")
        asking.code = code_of(
            server_certificate=self._shown_certificate,
            authority_pin=self._authority.certificate.pin,
            swarm_id=self._trust.swarm_id,
            joiner=asking.ask.public_key,
            nonces=(nonce, asking.nonce),
        )
        name = plain_name(asking.ask.name)
        _log.info("%s at %s asks to be let in; it must show the code %s", name, asking.address, asking.code)
        return json_answer(asking.state)

    async def _state(self, request: web.Request) -> web.Response:
        asking = self._request_of(request)
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await asking.changed.wait()
        return json_answer(asking.state)

    # ---- how it is done

    @property
    def _authority(self) -> Authority:
        authority = self._identity.authority
        if authority is None:
            raise MycoswarmError("this node is no enroller", hint="only a hub that a person marked so admits others")
        return authority

    def _waiting(self) -> list[_Request]:
        now = self._clock()
        return [
            each
            for each in self._requests.values()
            if each.code and each.state.state == "waiting" and now < each.expires
        ]

    def _asking_with(self, code: str) -> tuple[_Request, Pending]:
        for request, pending in zip(self._waiting(), self.pending(), strict=True):
            if plain_code(request.code) == plain_code(code):
                return request, pending
        raise MycoswarmError(
            f"no machine that asks here has the code {code:.20}",
            hint="if the joining machine shows it, another one stands between the two: do not let it in",
        )

    def _request_of(self, request: web.Request) -> _Request:
        found = self._requests.get(request.match_info["request_id"])
        if found is None or self._clock() >= found.expires:
            raise Refused(404, "the request is not known here any more", hint="ask again")
        return found

    def _forget_old_requests(self) -> None:
        now = self._clock()
        for request_id in [id_ for id_, each in self._requests.items() if now >= each.expires]:
            del self._requests[request_id]

    def _require_own_key(self, public_key: bytes, signature: bytes, about: bytes) -> None:
        if not is_signed(public_key, signature, proof_of_key(self._shown_certificate, public_key, about)):
            raise Refused(400, "the request is not signed by the key that it is for")

    async def _let_in(self, public_key: bytes, name: str, roles: tuple[str, ...]) -> Joined:
        await self._admit(id_of(public_key), plain_name(name), tuple(each for each in roles if each in ROLES))
        certificate = self._authority.issue(public_key, now=self._clock())
        _log.info("%s joined as %s", plain_name(name), certificate.node_id)
        bundle = "".join(each.pem for each in self._trust.bundle().current.values())
        return Joined(certificate.pem, bundle, self._identity.node_id, self._nodes_port)
