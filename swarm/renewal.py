"""Certificates renew themselves: at half of their life, at each start, and when their issuer is an authority no more.

The enroller knows the key by the connection that the question comes over, so the question has no content; it signs the
same key again if the node is still a member. An enroller renews its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from aiohttp import web

from swarm.certificates import BadCertificate, parse_node_certificate, renewal_due
from swarm.enrolment_messages import Pem
from swarm.errors import MycoswarmError
from swarm.identity import Identity
from swarm.node_api import RENEW_PATH, Refused, asking_node, json_answer
from swarm.peer_session import Peers
from swarm.trust import Trust

ANSWER_S = 10.0
LOOK_EVERY_S = 60.0
"""Clocks are set and laptops sleep, so the time is looked at again instead of waiting once for three days."""
TRY_AGAIN_S = (60.0, 900.0)
"""First and longest pause after no enroller could be asked; doubled each time. There are three days to find one."""

_log = logging.getLogger(__name__)


class Renewed(msgspec.Struct, frozen=True):
    """The new certificate."""

    certificate: Pem


def renewal_routes(
    identity: Identity, trust: Trust, *, clock: Callable[[], float] = time.time
) -> list[web.AbstractRouteDef]:
    """What an enroller adds to its nodes' port; on a node that is none the answer is 404."""

    async def renew(request: web.Request) -> web.Response:
        if identity.authority is None:
            raise Refused(404, "this node is no enroller")
        peer = asking_node(request)
        if not trust.is_member(peer.node_id):
            raise Refused(403, f"{peer.node_id} is not in the roster of this enroller", hint="let it join again")
        certificate = identity.authority.issue(peer.certificate.public_key, now=clock())
        return json_answer(Renewed(certificate.pem))

    return [web.post(RENEW_PATH, renew)]


class Renewal:
    """Keeps this node's certificate fresh."""

    def __init__(
        self, identity: Identity, trust: Trust, peers: Peers, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._identity = identity
        self._trust = trust
        self._peers = peers
        self._clock = clock

    async def run(self) -> None:
        """Renew when it is due, until cancelled."""
        changed = asyncio.Event()
        unsubscribe = self._trust.subscribe(changed.set)
        loop = asyncio.get_running_loop()
        due = True  # a board that wakes with an old clock cannot tell whether it is
        pause_s, next_try = TRY_AGAIN_S[0], loop.time()
        bundle = self._trust.bundle()
        try:
            while True:
                if self._trust.bundle() is not bundle:  # perhaps one more to ask
                    bundle, pause_s, next_try = self._trust.bundle(), TRY_AGAIN_S[0], loop.time()
                if (due or self._is_due()) and loop.time() >= next_try:
                    due = not await self._try()
                    pause_s = min(2 * pause_s, TRY_AGAIN_S[1]) if due else TRY_AGAIN_S[0]
                    next_try = loop.time() + pause_s
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await changed.wait()
                changed.clear()
        finally:
            unsubscribe()

    async def renew(self) -> None:
        """Get a new certificate now. Raises `MycoswarmError` when no enroller gives one, `StorageError`."""
        own = self._identity.authority
        if own is not None and own.certificate.authority_id in self._trust.bundle().current:
            issued = own.issue(self._identity.public_key, now=self._clock())
            await asyncio.to_thread(self._identity.install, issued)
            return
        failures: list[str] = []
        authorities = list(self._trust.bundle().current.values())
        random.shuffle(authorities)
        for authority in authorities:
            try:
                reply = await self._peers[authority.enroller].call(
                    "POST", RENEW_PATH, reply=Renewed, timeout_s=ANSWER_S
                )
                certificate = parse_node_certificate(reply.certificate)
                if not authority.issued(certificate) or certificate.swarm_id != self._trust.swarm_id:
                    raise BadCertificate(f"{authority.enroller} gave a certificate that it did not sign")
            except (MycoswarmError, TimeoutError) as error:
                failures.append(str(error) or f"{authority.enroller} did not answer")
                continue
            await asyncio.to_thread(self._identity.install, certificate)
            return
        raise MycoswarmError(
            f"no enroller renewed this node's certificate: {'; '.join(failures)[:500] or 'there is none'}",
            hint="one of the enrollers must be on within the next days",
        )

    def _is_due(self) -> bool:
        certificate = self._identity.certificate
        return certificate is not None and renewal_due(certificate, self._trust.bundle(), self._clock())

    async def _try(self) -> bool:
        try:
            await self.renew()
        except MycoswarmError as error:
            (_log.warning if self._is_due() else _log.info)("%s", error)
            return False
        _log.info("the certificate of this node is new")
        return True
