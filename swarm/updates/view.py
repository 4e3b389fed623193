"""One node's update as people's programs see it, and in words. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from swarm.updates.shared import Offer, Report
from swarm.updates.slots import Way

Step = Literal["none", "waiting", "fetching", "installing", "restarting", "good", "failed"]


class Live(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says of itself when it is asked, and that changes by the second."""

    fetching: bool = False
    percent: int | None = None
    busy: str = ""
    """Why it should not be taken away now."""
    trouble: str = ""
    """What is in its way and may pass."""


class NodeUpdate(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one node stands."""

    node: str
    name: str
    alive: bool
    here: bool = False
    """It is the node that was asked."""
    way: Way = "checkout"
    version: str = ""
    """What it runs; empty while it never said."""
    slot: str = ""
    compatible: str = ""
    offered: str = ""
    """The version that it is to run; empty: none is offered to it."""
    step: Step = "none"
    percent: int | None = None
    reason: str = ""
    """Why it waits, or failed."""


class Offered(msgspec.Struct, frozen=True):
    """A bundle was taken."""

    version: str
    compatible: str
    size: int
    nodes: tuple[str, ...]
    """Names of the nodes that will install it."""


def step_of(report: Report, offer: Offer | None, live: Live | None, waits: str) -> tuple[Step, int | None, str]:
    """Which step a node is at, percent of it, and the reason. `live` is None for a node that could not be asked."""
    if offer is None:
        return "none", None, ""
    live = live or Live()
    if report.state in ("good", "failed", "restarting"):
        return report.state, None, report.reason
    if report.state == "installing":
        return "installing", live.percent, ""
    if live.trouble:
        return "waiting", None, live.trouble
    if live.fetching:
        return "fetching", live.percent, ""
    return "waiting", None, waits


def in_words(update: NodeUpdate) -> str:
    """The state, for a terminal."""
    if update.step == "none":
        return _BY_OTHERS.get(update.way, "") if update.version else "not known"
    percent = f" {update.percent} %" if update.percent is not None else ""
    reason = f": {update.reason}" if update.reason else ""
    return f"{update.step}{percent}{reason}"


_BY_OTHERS = {
    "package": "a package, there: sudo apt install ./mycoswarm_VERSION_ARCH.deb",
    "checkout": "run from source code: update that",
}
