"""Checks of this machine's part in a swarm: certificate, ledger, the other nodes. The bus is in
`swarm.checks.home`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from swarm.certificates import RENEW_BEFORE_END_S
from swarm.checks import Examined, Finding
from swarm.config import Config
from swarm.identity import FOLDER, open_identity
from swarm.swarm_view import NodeView

DAY_S = 86_400.0
CLIENT_S = 5.0


def swarm(examined: Examined) -> list[Finding]:
    """Does this machine belong to a swarm, and for how long does its certificate count?"""
    if not _belongs(examined.config):
        return [Finding("swarm", "ok", "this machine works alone")]
    certificate = open_identity(examined.config.state_dir / FOLDER).certificate
    if certificate is None:
        to_do = "let it join again: mycoswarm leave, then mycoswarm join"
        return [Finding("swarm", "fail", "this machine belongs to a swarm and has no certificate", to_do)]
    left_s = certificate.not_after - time.time()
    found = f"{certificate.swarm_id}; the certificate ends in {left_s / DAY_S:.1f} days"
    if left_s <= 0:
        to_do = "start the node while a machine is on that admits others; and look at the clock"
        ended = f"{certificate.swarm_id}; the certificate ended {-left_s / DAY_S:.1f} days ago"
        return [Finding("swarm", "fail", ended, to_do)]
    if left_s < RENEW_BEFORE_END_S - DAY_S:
        to_do = "it should have been renewed: is the node running, and a machine on that admits others?"
        return [Finding("swarm", "warn", found, to_do)]
    return [Finding("swarm", "ok", found)]


def ledger(examined: Examined) -> list[Finding]:
    """Is every operation that is kept here what its author signed?"""
    from swarm.ledger.storage import open_storage
    from swarm.roster import LEDGER, introduced

    folder = examined.config.state_dir / FOLDER
    if not _belongs(examined.config):
        return []
    if not (folder / LEDGER).exists():
        return [Finding("ledger", "warn", "none yet", "start the node: it gets the ledger from the others")]
    storage = open_storage(folder / LEDGER, introduced(folder)[0].swarm_id, reader=True)
    try:
        count = storage.check_all()
    finally:
        storage.close()
    return [Finding("ledger", "ok", f"{count} operation{'' if count == 1 else 's'}, each as it was signed")]


def waiting(examined: Examined) -> list[Finding]:
    """Does a machine wait to be let in that this one could let in?"""
    import asyncio

    folder = examined.config.state_dir / FOLDER
    if not _belongs(examined.config) or open_identity(folder).authority is None:
        return []
    from swarm.waiting import waiting_machines

    found = asyncio.run(waiting_machines(examined.config))
    said = "; ".join(f"{each.name} at {each.address}" for each in found)
    return [Finding("waiting", "warn", f"not in the swarm yet: {said}", "mycoswarm approve")] if found else []


def nodes(examined: Examined) -> list[Finding]:
    """Are the other machines there?"""
    from swarm.swarm_client import find_swarm_node

    if not _belongs(examined.config) or examined.node is None:
        return []
    others = [each for each in find_swarm_node(examined.config.state_dir, timeout_s=CLIENT_S).nodes() if not each.here]
    if not others:
        return [Finding("nodes", "ok", "no other machine has joined yet: mycoswarm invite")]
    missing = [each for each in others if each.state != "alive"]
    found = f"{len(others) - len(missing)} of {len(others)} others are there"
    if missing:
        to_do = f"switch them on, or find out what is between: mycoswarm doctor {missing[0].name}"
        return [Finding("nodes", "warn", f"{found}; not {_names(missing)}", to_do)]
    return [Finding("nodes", "ok", found)]


def _belongs(config: Config) -> bool:
    from swarm.roster import introduced

    return bool(introduced(config.state_dir / FOLDER))


def _names(some: Sequence[NodeView]) -> str:
    return ", ".join(each.name for each in some[:8])
