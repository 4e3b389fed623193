"""Whether a new version is any good: run at each start by mycoswarm-health.service, as root.

What counts is that the machine does again what it did before the update, which was written down when the update was
let in (`works.json`): the node runs, belongs to its swarm, offers the same kinds of work, answers a question, and hears
if it heard. What is somebody else's fault is not held against the new version: a hub that is off, a switch without
power. A version that has proved itself is never given up again.
"""

from __future__ import annotations

import glob
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from provisioning.slots.layout import is_slotted
from provisioning.slots.node import NodeSlots, give_up, this_node
from provisioning.slots.partition import replace_file
from swarm.errors import MycoswarmError, StorageError

if TYPE_CHECKING:
    from swarm.swarm_client import SwarmClient
    from swarm.swarm_view import NodeView

CONFIG = Path("/etc/mycoswarm/config.toml")
PATIENCE_S = 300.0
"""From the start of the check, which comes after the node's own start, until a version is given up."""
BOOT_S = 180.0
"""How long the boot partition may be out of reach."""
LOOK_EVERY_S = 5.0
ANSWER_S = 30.0
CONNECT_S = 1.0
MAX_PLACES = 16
"""Of other nodes that are knocked at."""
QUESTION = "what time is it"
DATA_LOST = Path("/run/mycoswarm-data-lost")
FRAMES_S = 0.5
"""A microphone in use delivers in this time."""


class Works(msgspec.Struct, frozen=True):
    """What the machine does at a moment."""

    runs: bool = False
    """The node answers on this machine."""
    why_not: str = ""
    failed_units: tuple[str, ...] = ()
    no_data: str = ""
    """Why the machine goes on with its data in memory (the initramfs says so)."""
    member: bool = False
    """It takes part in a swarm."""
    network: bool = False
    """It has an address of the LAN."""
    peers: int = 0
    """Other nodes that it hears."""
    knocked: bool = False
    """A node that it does not hear takes connections at its nodes' port."""
    offers: tuple[str, ...] = ()
    """Kinds of tasks that it can do."""
    answers: bool | None = None
    """A question was answered; None: there is nobody to ask here."""
    hears: bool = False
    """A microphone delivers."""


def missing(before: Works, now: Works) -> list[str]:
    """What a new version should do and does not, each for people. `before`: what the old one did."""
    found = _failed(now)
    if now.no_data:
        found.append(f"the data partition cannot be used: {now.no_data}")
    if not now.runs:
        return [f"the node does not answer: {now.why_not}", *found]
    if before.member and not now.member:
        found.append("the node does not take part in its swarm any more")
    if before.network and not now.network:
        found.append("there is no network any more")
    if before.peers and not now.peers and now.network and now.knocked:
        found.append("other nodes are there, and it does not hear them any more")
    lost = sorted(set(before.offers) - set(now.offers))
    if lost:
        found.append(f"it cannot do this any more: {', '.join(lost)}")
    if now.answers is False and before.answers is not False:
        found.append(f'the question "{QUESTION}" gets no answer')
    if before.hears and not now.hears:
        found.append("the microphone is not heard any more")
    return found


def _failed(now: Works) -> list[str]:
    return [f"failed: {', '.join(now.failed_units)}"] if now.failed_units else []


def look(config: Path = CONFIG, *, asound: Path = Path("/proc/asound")) -> Works:
    """What the machine does now; takes up to a minute when much is broken. Never raises `MycoswarmError`."""
    # Here and below: a start of a version that has proved itself, which is nearly each, needs none of it.
    from swarm.config import load_config
    from swarm.interfaces import lan_interfaces
    from swarm.swarm_client import find_swarm_node

    state = Works(
        failed_units=_failed_units(), no_data=_no_data(), network=bool(lan_interfaces()), hears=_hears(asound)
    )
    try:
        node = find_swarm_node(load_config(config).state_dir, timeout_s=ANSWER_S)
        status = node.status()
        views = node.nodes()
    except MycoswarmError as error:
        return msgspec.structs.replace(state, why_not=error.for_log())
    others = [each for each in views if not each.here and each.state != "revoked"]
    alive = [each for each in others if each.state == "alive"]
    offers = {each.kind for view in views if view.here for each in view.capabilities}
    return msgspec.structs.replace(
        state,
        runs=True,
        member=any(each.here for each in views) and bool(_swarm_id(node)),
        peers=len(alive),
        knocked=not alive and _knock(others),
        offers=tuple(sorted(offers)),
        answers=_answers(node) if {"hub", "edge"} & set(status.roles) else None,
    )


def prove(
    slots: NodeSlots,
    *,
    look_now: Callable[[], Works] = look,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Keep the version that runs, or go back to the other one: whether it stays. Raises `MycoswarmError`."""
    _when_readable(slots, clock() + BOOT_S, clock, sleep)
    if not slots.on_trial():
        return True
    before, ends = read_works(slots.update_folder), clock() + patience_s
    while lacks := missing(before, look_now()):
        if clock() >= ends:
            reason = "; ".join(lacks)
            print(f"this version is no good, going back: {reason}", flush=True)
            return not give_up(slots, reason)
        print(f"not yet: {'; '.join(lacks)}", flush=True)
        sleep(LOOK_EVERY_S)
    slots.mark_good(slots.current)
    slots.settle()  # writes down that it was confirmed
    slots.publish()
    print("this version is good and stays", flush=True)
    return True


def keep_what_works(folder: Path) -> None:
    """Before an update: what the new version must be able to do. Raises `MycoswarmError`."""
    try:
        replace_file(folder / "works.json", msgspec.json.encode(look()))
    except OSError as error:
        raise MycoswarmError(f"cannot write into {folder}: {error.strerror or error}", hint="is /data full?") from error


def read_works(folder: Path) -> Works:
    """What `keep_what_works` found; nothing, if it never did."""
    try:
        return msgspec.json.decode((folder / "works.json").read_bytes(), type=Works)
    except (OSError, msgspec.DecodeError):
        return Works()


def main() -> int:
    """The exit code: 0 also where this start is no good and the machine goes down; 1 when even that failed."""
    if not is_slotted():
        print("this machine has no slots: nothing to decide")
        return 0
    try:
        prove(this_node())
    except MycoswarmError as error:
        print(error.for_log(), file=sys.stderr)
        return 1
    return 0


def _when_readable(slots: NodeSlots, ends: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """The boot partition may come late: its device appears when it does, and the automount gives up before."""
    while True:
        try:
            slots.settle()
            slots.publish()
            return
        except StorageError as error:
            if clock() >= ends:
                raise
            print(f"not yet: {error}", flush=True)
        sleep(LOOK_EVERY_S)


# ---- looking


def _swarm_id(node: SwarmClient) -> str:
    try:
        return node.swarm().swarm_id
    except MycoswarmError:
        return ""


def _answers(node: SwarmClient) -> bool:
    from swarm.client import Answer

    try:
        return any(isinstance(said, Answer) and bool(said.answer.strip()) for said in node.ask(QUESTION))
    except MycoswarmError:
        return False


def _knock(others: list[NodeView]) -> bool:
    """Whether somebody takes connections where another node should: then it is there, and it is we who fail."""
    places = [place for each in others for place in each.addresses][:MAX_PLACES]
    for place in places:
        host, _, port = place.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S):
                return True
        except (OSError, ValueError):
            continue
    return False


def _failed_units() -> tuple[str, ...]:
    """Units of ours that failed, but for the one that asks."""
    command = ["systemctl", "list-units", "--state=failed", "--output=json", "mycoswarm*"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        names = [str(unit["unit"]) for unit in json.loads(done.stdout or b"[]")]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return ()
    return tuple(name for name in names if not name.startswith("mycoswarm-health"))


def _no_data() -> str:
    try:
        return DATA_LOST.read_text().strip()[:200]
    except OSError:
        return ""


def _hears(asound: Path) -> bool:
    """Whether some program gets sound from a microphone: the position of a capture stream moves on."""
    before = _positions(asound)
    if not before:
        return False
    time.sleep(FRAMES_S)
    return any(position > before.get(path, position) for path, position in _positions(asound).items())


def _positions(asound: Path) -> dict[str, int]:
    """Frames so far, by capture stream that runs (Linux, Documentation/sound/designs/procfile.rst)."""
    found = {}
    for path in glob.glob(str(asound / "card*/pcm*c/sub*/status")):  # noqa: PTH207 the paths serve as names only
        try:
            text = Path(path).read_text()
        except OSError:
            continue
        position = re.search(r"^hw_ptr\s*:\s*(\d+)$", text, re.MULTILINE)
        if position and re.search(r"^state:\s*RUNNING$", text, re.MULTILINE):
            found[path] = int(position[1])
    return found


if __name__ == "__main__":
    raise SystemExit(main())
