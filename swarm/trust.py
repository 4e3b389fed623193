"""Whom this node believes: the swarm's authorities, its members, and who was revoked.

`judge` is the one decision about a certificate; TLS, requests and open connections all ask it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from swarm.certificates import RENEWABLE_AFTER_END_S, Bundle, NodeCertificate, NodeId

MAX_MEMBERS = 4_096
"""Beyond, no more are admitted."""


class Trust(Protocol):
    """What a node knows of its swarm. Every method answers from memory."""

    @property
    def swarm_id(self) -> str:
        """The swarm's id."""

    def bundle(self) -> Bundle:
        """Its authorities; the same object until they change."""

    def is_revoked(self, node_id: NodeId) -> bool:
        """Whether the node was revoked or has left: nothing of it is accepted, for good."""

    def is_member(self, node_id: NodeId) -> bool:
        """Whether the roster has it. A node admitted a moment ago may not have reached this roster yet: a valid
        certificate is enough to speak; what outlives the certificate (renewal) needs membership."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed`, in the event loop, after each change; returns what ends that."""


Standing = Literal[
    "admitted", "renew_only", "other_swarm", "revoked", "unknown_authority", "not_yet_valid", "expired", "not_itself"
]
"""`renew_only`: a member whose certificate ended while it was off. `not_itself`: another node than the expected one."""

REASONS: dict[Standing, str] = {
    "renew_only": "its certificate has ended; it may only renew it",
    "other_swarm": "it belongs to another swarm",
    "revoked": "it was revoked",
    "unknown_authority": "no enroller of this swarm admitted it",
    "not_yet_valid": "its certificate is not valid yet: one of the two clocks is wrong",
    "expired": "its certificate has ended, or one of the two clocks is wrong",
    "not_itself": "it is another node than the one expected there",
}


def judge(certificate: NodeCertificate, trust: Trust, now: float) -> Standing:
    """How the owner of a certificate, whose signature was verified against the bundle, stands with us at `now`."""
    bundle = trust.bundle()
    member = trust.is_member(certificate.node_id)
    if certificate.swarm_id != trust.swarm_id:
        return "other_swarm"
    if trust.is_revoked(certificate.node_id):
        return "revoked"
    if certificate.issuer not in bundle.current and not (certificate.issuer in bundle.retired and member):
        return "unknown_authority"
    if now < certificate.not_before:
        return "not_yet_valid"
    if now >= certificate.not_after:
        return "renew_only" if member and now < certificate.not_after + RENEWABLE_AFTER_END_S else "expired"
    return "admitted"
