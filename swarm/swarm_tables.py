"""Nodes, invitations and tasks as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swarm.capability import Capability
from swarm.swarm_view import InvitationView, NodeView
from swarm.tables import plain_table, printable
from swarm.task import TaskStatus

SHORT = 8
"""Characters of an id in a table."""


def nodes_table(nodes: Iterable[NodeView]) -> str:
    """Who belongs to the swarm, and how each is."""
    rows = [
        (
            f"{node.name}{' (here)' if node.here else ''}",
            node.node,
            " ".join(
                (*node.roles, *(["admits"] if node.admits else []), *(["bus"] if node.bus else []), *_served(node))
            ),
            node.tier,
            "\n".join(node.addresses[:2]),
            node.state,
            "" if node.seen_s is None else "now" if node.here else f"{node.seen_s:.0f} s ago",
            "\n".join(_capability(each) for each in node.capabilities),
        )
        for node in nodes
    ]
    return plain_table(rows, ("name", "id", "roles", "tier", "address", "state", "seen", "does"))


def invitations_table(invitations: Iterable[InvitationView]) -> str:
    """Invitations, without their tokens."""
    rows = [
        (
            each.id,
            "used" if each.used_by else "expired" if each.left_s <= 0 else "waits",
            each.used_by,
            "" if each.used_by or each.left_s <= 0 else f"{each.left_s // 60}:{each.left_s % 60:02}",
        )
        for each in invitations
    ]
    return plain_table(rows, ("id", "state", "by", "left"), right=("left",))


def tasks_table(tasks: Iterable[TaskStatus], names: Mapping[str, str]) -> str:
    """Tasks, one a line; `names` by node id."""
    rows = [
        (
            task.task[:SHORT],
            task.type,
            task.state,
            names.get(task.node, task.node),
            task.model,
            task.priority,
            f"{task.took_s:.2f}",
            f"{task.age_s:.0f}",
            task.error,
        )
        for task in tasks
    ]
    headers = ("task", "type", "state", "node", "model", "priority", "took s", "age s", "error")
    return plain_table(rows, headers, right=("took s", "age s"))


def why_text(task: TaskStatus, names: Mapping[str, str]) -> str:
    """One task with placement's reasons."""
    facts = {
        "task": task.task,
        "type": f"{task.type}, {task.priority}",
        "state": task.state,
        "node": names.get(task.node, task.node),
        "model": task.model,
        "took": f"{task.took_s:.3f} s",
        "failed tries": str(task.attempts) if task.attempts else "",
        "error": task.error,
        "hint": task.hint,
    }
    about = plain_table([(key, value) for key, value in facts.items() if value])
    return "\n".join((about, "", *(printable(line) for line in task.why)))


def _served(node: NodeView) -> tuple[str, ...]:
    if not node.served_by:
        return ()
    return ("(alone)",) if node.served_by == node.name else (f"(at {node.served_by})",)


def _capability(offered: Capability) -> str:
    load = f" {offered.running}/{offered.slots}" if offered.running else ""
    waits = f" +{offered.waiting}" if offered.waiting else ""
    speed = offered.speed
    written = (
        f", {1 / speed.output_s:.0f} tokens/s" if offered.kind == "generate" and speed.runs and speed.output_s else ""
    )
    cold = "" if offered.warm else ", cold"
    return f"{offered.kind} {offered.model}{load}{waits}{written}{cold}"
