"""Looks at everything that this node needs, or at the way to another one, and says for each part what was found and
what to do."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from swarm.checks import Check, Examined, Finding, home, machine, membership, voice, wyoming
from swarm.errors import MycoswarmError

if TYPE_CHECKING:
    from swarm.config import Config
    from swarm.identity import Identity
    from swarm.roster_on_disk import KeptTrust
    from swarm.swarm_view import NodeView

CHECKS: Mapping[str, Check] = {
    "configuration": machine.configuration,
    "node": machine.node,
    "microphone": voice.microphone,
    "speaker": voice.speaker,
    "wake words": voice.wake_words,
    "engines": voice.engines,
    "broker": home.broker,
    "home assistant": home.home_assistant,
    "port": machine.people_port,
    "language model": voice.language_model,
    "wyoming": wyoming.wyoming,
    "disk": machine.disk,
    "clock": machine.clock,
    "memory": machine.memory,
    "swarm": membership.swarm,
    "ledger": membership.ledger,
    "nodes": membership.nodes,
    "waiting": membership.waiting,
}
"""In the order in which they are shown; all run at once."""

DEADLINE_S = 20.0
"""For each check; the slowest honest one loads a speech model from a slow card."""


def examine(
    examined: Examined, *, checks: Mapping[str, Check] = CHECKS, deadline_s: float = DEADLINE_S
) -> list[Finding]:
    """What all checks found, in their order, after at most `deadline_s`.

    Each runs in a daemon thread: a sound driver that hangs must hang neither the others nor the end of the program.
    """
    answers: queue.SimpleQueue[tuple[str, list[Finding]]] = queue.SimpleQueue()
    for name, check in checks.items():
        threading.Thread(
            target=lambda name=name, check=check: answers.put((name, _look(name, check, examined))), daemon=True
        ).start()
    found: dict[str, list[Finding]] = {}
    ends = time.monotonic() + deadline_s
    while len(found) < len(checks):
        try:
            name, findings = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        found[name] = findings
    late = f"no result within {deadline_s:g} s"
    return [
        finding
        for name in checks
        for finding in found.get(name, [Finding(name, "fail", late, "run it again; a device or server hangs")])
    ]


def examine_between(config: Config, text: str) -> list[Finding]:
    """The layers between this machine and the node that a person calls so. Raises `MycoswarmError`.

    Works beside the running node or without one; with it, its addresses of the others are tried too.
    """
    from swarm.identity import FOLDER, open_identity
    from swarm.roster import find_member
    from swarm.roster_on_disk import KeptTrust, kept_nodes

    folder = config.state_dir / FOLDER
    kept = kept_nodes(config)
    identity = open_identity(folder)
    trust = KeptTrust(folder, identity.node_id)
    members = {each.node: each.name for each in kept}
    try:
        node = find_member(members, text)
    except MycoswarmError:
        gone = next((name for each, name in trust.revoked().items() if text in (each, name)), None)
        if gone is None:
            raise
        raise MycoswarmError(
            f"{gone} was revoked, or has left: no node of this swarm speaks with it",
            hint="let it leave, if it has not, and join with a new invitation",
        ) from None
    if node == identity.node_id:
        raise MycoswarmError("that is this machine itself", hint="look at it with: mycoswarm doctor")
    seen = {each.node: each for each in _seen_by_running_node(config)}
    views = {each.node: seen.get(each.node, each) for each in kept}
    return asyncio.run(_examine_between(config, node, identity, trust, views))


async def _examine_between(
    config: Config, node: str, identity: Identity, trust: KeptTrust, views: Mapping[str, NodeView]
) -> list[Finding]:
    from swarm.checks.bus_way import Hub, examine_bus
    from swarm.checks.way import Known, examine_way
    from swarm.interfaces import lan_interfaces
    from swarm.places import reachable
    from swarm.tls import TlsContexts

    view, section = views[node], config.swarm
    known = Known(node, view.name, reachable(view.addresses), view.roles)
    way = await examine_way(known, identity, trust, state_dir=config.state_dir, multicast=section.multicast)
    hubs = []
    for each in sorted(views.values(), key=lambda each: (each.node != node, not each.bus)):
        if "hub" not in each.roles:
            continue
        hosts = [host for host, _ in reachable(each.addresses)]
        if each.node == node:
            hosts += [host for host, _ in way.places]
        if each.here:
            hosts += [host for interface in lan_interfaces() for host in interface.addresses]
        port = each.bus_port or section.bus_port
        hubs.append(Hub(each.node, each.name, tuple((host, port) for host in dict.fromkeys(hosts))))
    contexts = TlsContexts(identity, trust)
    return [*way.findings, *await examine_bus(known.node, known.name, hubs, contexts, identity.node_id)]


def _seen_by_running_node(config: Config) -> list[NodeView]:
    from swarm.swarm_client import find_swarm_node

    try:
        return find_swarm_node(config.state_dir, timeout_s=DEADLINE_S).nodes()
    except MycoswarmError:
        return []


def _look(name: str, check: Check, examined: Examined) -> list[Finding]:
    try:
        return check(examined)
    except MycoswarmError as error:
        return [Finding(name, "fail", str(error), error.hint)]
    except Exception as error:  # noqa: BLE001 a check that breaks is a finding too, and must not take the others along
        return [Finding(name, "fail", f"the check itself failed: {error!r}", "please report it")]
