"""What may be written into the roster, decided when its turn to be written has come."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.certificates import (
    MAX_AUTHORITIES,
    AuthorityCertificate,
    BadCertificate,
    NodeId,
    is_node_id,
    parse_authority,
)
from swarm.ledger.errors import LedgerError, NotEntitled
from swarm.ledger.journal import Draft, Journal
from swarm.ledger.operation import encode_payload
from swarm.ledger.roster import ENROL, FORK, FOUND, REVOKE, Cut, Enrol, Member, Revoke
from swarm.ledger.run import Evidence, is_fork
from swarm.task import Privacy
from swarm.trust import MAX_MEMBERS


def founding(name: str, roles: Sequence[str], accepts: Sequence[Privacy], authority: str) -> Draft:
    """The founder's first word; `authority` (PEM) is the founding one."""

    def payload(journal: Journal) -> bytes:
        certificate = _parsed(authority)
        if journal.roster.founders:
            raise LedgerError(f"the swarm is founded already, by {min(journal.roster.founders)}")
        if certificate.authority_id != certificate.swarm_id or certificate.enroller != journal.node:
            raise NotEntitled(f"the authority {certificate.authority_id} does not found a swarm with this node")
        if certificate.swarm_id != journal.swarm_id:
            raise NotEntitled(f"the authority is of the swarm {certificate.swarm_id}, not of {journal.swarm_id}")
        return encode_payload(Enrol(journal.node, name, tuple(roles), tuple(accepts), authority))

    return Draft("roster", FOUND, payload)


def enrolment(node: NodeId, name: str, roles: Sequence[str], accepts: Sequence[Privacy]) -> Draft:
    """Let a node in, or change how it is called and what it may be given."""

    def payload(journal: Journal) -> bytes:
        _require_right(journal)
        if not is_node_id(node):
            raise LedgerError(f"{node:.40} is no node id")
        if journal.roster.is_revoked(node):
            raise NotEntitled(f"{node} was revoked, which is final", hint="mycoswarm leave there makes it a new node")
        known = journal.roster.members.get(node)
        if known is None and len(journal.roster.members) >= MAX_MEMBERS:
            raise LedgerError(f"the roster has {MAX_MEMBERS} members and takes no more")
        if known is not None and known.authorities and "hub" not in roles:
            raise LedgerError(f"{node} admits others, which only hubs do", hint="revoke it, and let it join anew")
        return encode_payload(Enrol(node, name, tuple(roles), tuple(accepts)))

    return Draft("roster", ENROL, payload)


def grant(node: NodeId, authority: str) -> Draft:
    """Let a hub admit others by its own authority (PEM)."""

    def payload(journal: Journal) -> bytes:
        _require_right(journal)
        member = _member(journal, node)
        if "hub" not in member.roles:
            raise NotEntitled(
                f"{member.name or node} is no hub ({', '.join(member.roles) or 'it has no role'}), "
                "and only hubs may admit others"
            )
        certificate = _parsed(authority)
        if (certificate.swarm_id, certificate.enroller) != (journal.swarm_id, node):
            raise LedgerError(f"the authority {certificate.authority_id} is not of {node} in this swarm")
        current = journal.roster.bundle.current
        if certificate.authority_id not in current and len(current) >= MAX_AUTHORITIES:
            raise LedgerError(f"there are {MAX_AUTHORITIES} authorities, and no more are honoured")
        return encode_payload(Enrol(node, member.name, member.roles, member.accepts, authority))

    return Draft("roster", ENROL, payload)


def revocation(node: NodeId, reason: str) -> Draft:
    """Believe a node no more."""

    def payload(journal: Journal) -> bytes:
        _require_right(journal)
        if journal.roster.is_revoked(node):
            raise LedgerError(f"{node} is revoked already")
        _member(journal, node)
        return encode_payload(Revoke(node, _cuts(journal, node), reason))

    return Draft("roster", REVOKE, payload)


def leaving() -> Draft:
    """This node's last word."""

    def payload(journal: Journal) -> bytes:
        journal.require_member()
        here = journal.own_log("roster")
        cuts = [each for each in _cuts(journal, journal.node) if (each.epoch, each.lane) != (here.epoch, here.lane)]
        cuts.append(Cut(here.epoch, here.lane, journal.next_sequence("roster")))
        return encode_payload(Revoke(journal.node, tuple(cuts), "left"))

    return Draft("roster", REVOKE, payload)


def fork(evidence: Evidence) -> Draft:
    """A node gave one number to two operations."""

    def payload(journal: Journal) -> bytes:
        journal.require_member()
        if not is_fork(evidence):
            raise LedgerError(f"that is no proof of a fork of the {evidence.one.log}")
        if journal.roster.forks.get(evidence.one.log, evidence.one.sequence + 1) <= evidence.one.sequence:
            raise LedgerError(f"the fork of the {evidence.one.log} is known")
        return encode_payload(evidence)

    return Draft("roster", FORK, payload)


def _cuts(journal: Journal, node: NodeId) -> tuple[Cut, ...]:
    return tuple(Cut(head.log.epoch, head.log.lane, head.position) for head in journal.logs_of(node))


def _require_right(journal: Journal) -> None:
    if not journal.require_member().may_enrol:
        raise NotEntitled(
            "this node may not change the roster", hint="do it at a hub that a person marked for it: mycoswarm nodes"
        )


def _member(journal: Journal, node: NodeId) -> Member:
    member = journal.roster.members.get(node)
    if member is None:
        raise LedgerError(f"{node:.40} is not in the roster")
    return member


def _parsed(authority: str) -> AuthorityCertificate:
    try:
        return parse_authority(authority)
    except BadCertificate as error:
        raise LedgerError(str(error)) from error
