"""The roster of a machine on which no node runs, as the command line reads and changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from swarm.certificates import Bundle, NodeId, bundle_of
from swarm.config import Config
from swarm.errors import MycoswarmError
from swarm.identity import FOLDER, open_identity
from swarm.ledger.operation import decode_body
from swarm.ledger.roster import Roster, resolve
from swarm.ledger.storage import open_storage
from swarm.private_file import claimed
from swarm.roster import LEDGER, find_member, introduced, is_enroller, open_roster
from swarm.swarm_view import NodeView


def kept_nodes(config: Config, *, none_is_fine: bool = False) -> list[NodeView]:
    """Who belongs to the swarm. Raises `MycoswarmError` for a machine that belongs to none, unless `none_is_fine`."""
    folder = config.state_dir / FOLDER
    authorities = introduced(folder)
    if not authorities:
        if none_is_fine:
            return []
        _require_swarm(folder)
    own = open_identity(folder).node_id
    # Beside the node, should one be starting: nothing is written.
    members = _read(folder / LEDGER, authorities[0].swarm_id).members
    here = [] if own in members else [NodeView(own, config.node.name, here=True)]
    known = [
        NodeView(node, member.name or node, member.roles, admits=member.may_enrol, here=node == own)
        for node, member in members.items()
    ]
    return here + sorted(known, key=lambda each: (not each.here, each.name, each.node))


async def revoke_on_disk(config: Config, text: str) -> tuple[str, str]:
    """Revoke the member that a person calls so; its name and id. Raises `MycoswarmError`."""
    folder = config.state_dir / FOLDER
    _require_swarm(folder)
    with claimed(config.state_dir):
        identity = open_identity(folder)
        async with open_roster(identity) as roster:
            if not is_enroller(roster, identity.node_id):
                raise MycoswarmError(
                    "this machine admits no others, and so revokes none", hint="run it on one that does"
                )
            node = find_member(roster.members(), text)
            if node == identity.node_id:
                raise MycoswarmError("that is this machine itself", hint="mycoswarm leave takes it out of the swarm")
            name = roster.members()[node]
            await roster.revoke(node)
            return name, node


class KeptTrust:
    """`Trust` as the disk has it now, read beside the running node: nothing is written, and it changes no more."""

    def __init__(self, folder: Path, own: NodeId) -> None:
        """Raises `MycoswarmError` for a machine that belongs to no swarm, `LedgerError`, `StorageError`."""
        _require_swarm(folder)
        self._introduction = introduced(folder)
        self._own = own
        self.swarm_id = self._introduction[0].swarm_id
        self._roster = _read(folder / LEDGER, self.swarm_id)
        known = self._roster.bundle
        if own not in self._roster.admitted:
            known = bundle_of((*self._introduction, *known.current.values()), tuple(known.retired.values()))
        self._bundle = known

    def bundle(self) -> Bundle:
        """See `Trust`."""
        return self._bundle

    def is_revoked(self, node_id: NodeId) -> bool:
        """See `Trust`."""
        return self._roster.is_revoked(node_id)

    def is_member(self, node_id: NodeId) -> bool:
        """See `Trust`."""
        is_introduced = node_id == self._own or any(each.enroller == node_id for each in self._introduction)
        return node_id in self._roster.members or (
            is_introduced and self._own not in self._roster.admitted and not self.is_revoked(node_id)
        )

    def revoked(self) -> Mapping[NodeId, str]:
        """Names of those who were revoked or have left, by id."""
        return {node: member.name for node, member in self._roster.admitted.items() if self._roster.is_revoked(node)}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See `Trust`: there will be no change."""
        return lambda: None


def _read(path: Path, swarm_id: str) -> Roster:
    """Raises `LedgerError`, `MalformedMessage`."""
    if not path.exists():  # this machine joined, and nobody could be asked since
        return Roster()
    storage = open_storage(path, swarm_id, reader=True)
    try:
        operations = [
            decode_body(log, sequence, body)
            for log, head in storage.heads().items()
            if log.lane == "roster"
            for sequence, body in storage.each_body(head, 1, head.position)
        ]
    finally:
        storage.close()
    return resolve(swarm_id, operations)


def _require_swarm(folder: Path) -> None:
    if not introduced(folder):
        raise MycoswarmError(
            "this machine belongs to no swarm", hint="mycoswarm init begins one, mycoswarm join joins one"
        )
