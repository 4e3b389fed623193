"""The running node's client for updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode

from swarm.client import NodeClient, find_address
from swarm.swarm_view import KEY_HEADER
from swarm.updates.view import NodeUpdate, Offered

ANSWER_S = 300.0
"""A bundle is written to the disk and checked before it is answered."""


class UpdatesClient(NodeClient):
    """Every method raises `NodeUnreachable`, or `MycoswarmError` with what the node says is wrong."""

    def updates(self) -> list[NodeUpdate]:
        """How each node of the swarm stands."""
        return self._call("GET", "/api/updates", list[NodeUpdate])

    def offer(self, bundle: BinaryIO, *, only: Sequence[str]) -> Offered:
        """Give the node a bundle that it checks and offers to the swarm."""
        query = urlencode([("only", each) for each in only])
        return self._call("POST", f"/api/updates?{query}", Offered, bundle)

    def roll_back(self, node: str) -> NodeUpdate:
        """Have a node go back to the version before."""
        return self._call("POST", f"/api/updates/nodes/{quote(node, safe='')}/rollback", NodeUpdate, b"")


def find_updates(state_dir: Path) -> UpdatesClient:
    """The running node's client. Raises `NodeUnreachable`."""
    address = find_address(state_dir)
    return UpdatesClient(address.url, timeout_s=ANSWER_S, headers={KEY_HEADER: address.key} if address.key else None)
