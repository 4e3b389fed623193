"""The running node's client for what concerns the swarm: its nodes, who may come, its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from swarm.client import NodeClient, find_address
from swarm.swarm_view import KEY_HEADER, CodesView, InvitationView, NodeView, PendingView, SwarmView, TokenView
from swarm.task import TaskStatus


class SwarmClient(NodeClient):
    """Every method raises `NodeUnreachable`, or `MycoswarmError` with what the node says is wrong."""

    def nodes(self) -> list[NodeView]:
        """All nodes of the swarm."""
        return self._call("GET", "/api/nodes", list[NodeView])

    def swarm(self) -> SwarmView:
        """The node's own part."""
        return self._call("GET", "/api/swarm", SwarmView)

    def begin(self) -> None:
        """This machine was enrolled: take part."""
        self._call("POST", "/api/swarm/begin", dict[str, Any], b"")

    def leave(self) -> None:
        """Belong to no swarm any more."""
        self._call("POST", "/api/swarm/leave", dict[str, Any], b"")

    def invite(self, valid_s: float) -> TokenView:
        """A join token for one machine."""
        return self._call("POST", "/api/swarm/invitations", TokenView, msgspec.json.encode({"valid_s": valid_s}))

    def invitations(self) -> list[InvitationView]:
        """Those that wait or ended lately."""
        return self._call("GET", "/api/swarm/invitations", list[InvitationView])

    def withdraw(self, invitation: str) -> int:
        """Withdraw one, or `all` that wait; how many."""
        path = f"/api/swarm/invitations/{quote(invitation, safe='')}"
        return int(self._call("DELETE", path, dict[str, int])["withdrawn"])

    def accept_codes(self) -> CodesView:
        """Let machines ask by code for ten minutes."""
        return self._call("POST", "/api/swarm/codes", CodesView, b"")

    def codes(self) -> CodesView:
        """Who asks now."""
        return self._call("GET", "/api/swarm/codes", CodesView)

    def decide(self, code: str, decision: Literal["approve", "refuse"]) -> PendingView:
        """Let the machine with this code in, or not."""
        return self._call("POST", f"/api/swarm/codes/{quote(code, safe='')}/{decision}", PendingView, b"")

    def revoke(self, node: str) -> NodeView:
        """Believe a node no more; `node` is its name, its id or the beginning of that."""
        return self._call("POST", f"/api/swarm/nodes/{quote(node, safe='')}/revoke", NodeView, b"")

    def grant(self, node: str) -> NodeView:
        """Let a hub admit machines too."""
        return self._call("POST", f"/api/swarm/nodes/{quote(node, safe='')}/grant", NodeView, b"")

    def tasks(self, limit: int) -> list[TaskStatus]:
        """The newest tasks that came in at this node."""
        return self._call("GET", f"/api/tasks?limit={limit}", list[TaskStatus])

    def task(self, task: str) -> TaskStatus:
        """One of them."""
        return self._call("GET", f"/api/tasks/{quote(task, safe='')}", TaskStatus)


def find_swarm_node(state_dir: Path, *, timeout_s: float) -> SwarmClient:
    """The running node's client. Raises `NodeUnreachable`."""
    address = find_address(state_dir)
    return SwarmClient(address.url, timeout_s=timeout_s, headers={KEY_HEADER: address.key} if address.key else None)
