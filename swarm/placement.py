"""Which node gets a task, and why. Pure and fast: it runs for every task over every node.

What a node cannot or may not do is filtered; the rest is ordered by the predicted time to the finished answer::

    total = waiting for a slot + loading a cold model + reading the input + writing the answer + the way there

all from speeds that the nodes measured on real runs (`swarm.capability.Speed`). A model is never swapped silently: what
stands in for the wanted one is tried only when nobody can serve that, only if the routing table allows it by name, and
`Choice.instead_of` says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from swarm.capability import PROTOCOL, REMOTE_S, Capability, Member, at_least
from swarm.task import PRIORITIES, Priority, Privacy, SizeClass

KNOWN_PART = 0.9
"""How much of a conversation's input is its beginning, which a node may still have in memory: all but the last turn."""
SUSPECT_S = 30.0
"""What it costs to send a task to a node that may be dead: anybody else who can do it first."""
LAST_SLOT_S = 5.0
"""What it costs when a task that can wait takes a node's last free slot: somebody may soon speak."""

Refusal = Literal[
    "dead", "protocol", "privacy", "not_offered", "other_model", "too_small", "no_slots", "avoided", "too_late"
]
_WHY_NOT: dict[Refusal, str] = {
    "dead": "is not there",
    "protocol": "speaks another version",
    "privacy": "may not see tasks marked {privacy}",
    "not_offered": "does not {kind}",
    "other_model": "has other models than {model}",
    "too_small": "has only smaller models than {size}",
    "no_slots": "has no slot for it at all",
    "avoided": "{note}",
    "too_late": "would not begin before the deadline",
}
SentKey = tuple[str, str, str]
"""Node, kind and model."""


class PlacementTask(msgspec.Struct, frozen=True):
    """What placement needs to know of a task."""

    task: str
    kind: str
    model: str = ""
    """Exactly this one; empty takes any of `size`."""
    size: SizeClass = "any"
    fallback_models: tuple[str, ...] = ()
    fallback_size: SizeClass | None = None
    priority: Priority = "immediate"
    privacy: Privacy = "home"
    input_units: float = 0.0
    output_units: float = 0.0
    prefix: str = ""
    left_s: float = 60.0
    """Until its deadline."""


class Forecast(msgspec.Struct, frozen=True):
    """When a task would be finished by one model of one node, in parts; all in seconds."""

    node: str
    name: str
    model: str
    wait_s: float
    load_s: float
    read_s: float
    write_s: float
    penalty_s: float
    """No time, but what the choice would cost others; see `SUSPECT_S` and `LAST_SLOT_S`."""
    runs: int
    """On how many real runs it rests."""
    known_prefix: bool = False

    @property
    def finish_s(self) -> float:
        """The predicted time to the finished answer."""
        return self.wait_s + self.load_s + self.read_s + self.write_s


class Passed(msgspec.Struct, frozen=True):
    """A node that cannot take the task."""

    node: str
    name: str
    why: Refusal
    note: str = ""


class Choice(msgspec.Struct, frozen=True):
    """The node that gets the task."""

    node: str
    model: str
    finish_s: float
    instead_of: str
    """What was wanted when this is a fallback; else empty."""
    here: bool
    forecasts: tuple[Forecast, ...]
    """The chosen first, then by how good they are."""
    passed: tuple[Passed, ...]


class Nowhere(msgspec.Struct, frozen=True):
    """No node can take the task now."""

    offered: bool
    """Some node has the capability, but is busy, avoided, too late or not to be told."""
    passed: tuple[Passed, ...]


NOTHING_AVOIDED: Mapping[str, str] = {}
NOTHING_SENT: Mapping[SentKey, int] = {}


def choose_node(
    task: PlacementTask,
    members: Sequence[Member],
    now: float,
    *,
    avoid: Mapping[str, str] = NOTHING_AVOIDED,
    sent: Mapping[SentKey, int] = NOTHING_SENT,
) -> Choice | Nowhere:
    """The node where the answer is finished first.

    `avoid` maps nodes to the reason why this one task or this sender does without them now; `sent` counts the sender's
    own unfinished tasks, which a node's last beat may not tell yet. `now` is on the clock of `Member.heard_at`.
    """
    wanted: list[tuple[str, SizeClass, str]] = [(task.model, task.size, "")]
    wanted += [(model, "any", task.model) for model in task.fallback_models]
    if task.fallback_size is not None:
        wanted.append(("", task.fallback_size, f"a {task.size} model"))
    first_passed: tuple[Passed, ...] = ()
    for model, size, instead_of in wanted:
        forecasts, passed = _consider(task, model, size, members, now, avoid, sent)
        if forecasts:
            forecasts.sort(key=lambda item: item[0])
            best = forecasts[0][1]
            return Choice(
                node=best.node,
                model=best.model,
                finish_s=best.finish_s,
                instead_of=instead_of,
                here=forecasts[0][2],
                forecasts=tuple(item[1] for item in forecasts),
                passed=passed,
            )
        first_passed = first_passed or passed
    offered = any(each.why in ("avoided", "too_late", "privacy") for each in first_passed)
    return Nowhere(offered=offered, passed=first_passed)


def explain(task: PlacementTask, decision: Choice | Nowhere) -> tuple[str, ...]:
    """The reasons, one line a node, for people."""
    lines = []
    if isinstance(decision, Choice):
        for number, each in enumerate(decision.forecasts):
            verb = "chosen" if number == 0 else "slower" if each.penalty_s == 0 else "spared"
            lines.append(f"{each.name}: {verb}, {_parts(each)}")
        if decision.instead_of:
            lines.append(f"nobody can serve {decision.instead_of}: {decision.model} stands in for it, as allowed")
    for passed in decision.passed:
        why = _WHY_NOT[passed.why].format(
            privacy=task.privacy, kind=task.kind, model=task.model, size=task.size, note=passed.note
        )
        lines.append(f"{passed.name}: {why}")
    return tuple(lines) or ("no node is known",)


def _parts(forecast: Forecast) -> str:
    known = ", knows the conversation" if forecast.known_prefix else ""
    parts = [f"{forecast.model} in {forecast.finish_s:.2f} s (read {forecast.read_s:.2f}{known}"]
    parts.append(f"write {forecast.write_s:.2f}")
    if forecast.wait_s:
        parts.append(f"wait {forecast.wait_s:.2f}")
    if forecast.load_s:
        parts.append(f"load {forecast.load_s:.2f}")
    measured = f"measured on {forecast.runs} runs" if forecast.runs else "a guess, nothing measured yet"
    return ", ".join(parts) + f"; {measured})"


_Order = tuple[float, float, int]


def _consider(
    task: PlacementTask,
    model: str,
    size: SizeClass,
    members: Sequence[Member],
    now: float,
    avoid: Mapping[str, str],
    sent: Mapping[SentKey, int],
) -> tuple[list[tuple[_Order, Forecast, bool]], tuple[Passed, ...]]:
    found: list[tuple[_Order, Forecast, bool]] = []
    passed: list[Passed] = []
    for member in members:
        node = member.node
        why: Refusal = "not_offered"
        if member.state == "dead":
            passed.append(Passed(node, member.name, "dead"))
            continue
        if member.protocol != PROTOCOL:
            passed.append(Passed(node, member.name, "protocol"))
            continue
        best: tuple[_Order, Forecast, bool] | None = None
        for capability in member.capabilities:
            if capability.kind != task.kind:
                continue
            if model and capability.model != model:
                why = "other_model" if why == "not_offered" else why
                continue
            if size != "any" and not at_least(capability.size, size):
                why = "too_small" if why == "not_offered" else why
                continue
            if capability.slots == 0:
                why = "no_slots"
                continue
            if task.privacy not in member.accepts and not member.here:
                why = "privacy"
                continue
            if node in avoid:
                why = "avoided"
                continue
            entry = _forecast(task, member, capability, now, sent.get((node, task.kind, capability.model), 0))
            if entry[1].wait_s + entry[1].load_s > task.left_s:
                why = "too_late"
            elif best is None or entry[0] < best[0]:
                best = entry
        if best is not None:
            found.append(best)
        else:
            passed.append(Passed(node, member.name, why, avoid.get(node, "")))
    return found, tuple(passed)


def _forecast(
    task: PlacementTask, member: Member, capability: Capability, now: float, own: int
) -> tuple[_Order, Forecast, bool]:
    speed = capability.speed
    told = capability.running + capability.waiting
    busy = max(told, own)
    wait_s = penalty_s = 0.0
    if busy >= capability.slots:
        rank = PRIORITIES.index(task.priority)
        backlog_s = capability.backlog_s[rank] if rank < len(capability.backlog_s) else 0.0
        # What the node told is as old as its beat; what it cannot know yet is what this sender sent since.
        aged_s = max(backlog_s - max(now - member.heard_at, 0.0), 0.0) if not member.here else backlog_s
        unknown = busy - max(told, capability.slots - 1)
        wait_s = aged_s + max(unknown, 0) * speed.run_s() / capability.slots
    known = bool(task.prefix) and task.prefix in capability.prefixes
    read_s = speed.read_s(task.input_units, known_part=KNOWN_PART if known else 0.0)
    if not member.here:
        read_s += REMOTE_S
    write_s = speed.write_s(task.output_units)
    load_s = 0.0 if capability.warm else speed.load_s
    if member.state == "suspect":
        penalty_s = SUSPECT_S
    if task.priority != "immediate" and busy + 1 >= capability.slots:
        penalty_s += LAST_SLOT_S
    total = wait_s + load_s + read_s + write_s
    forecast = Forecast(
        node=member.node,
        name=member.name,
        model=capability.model,
        wait_s=wait_s,
        load_s=load_s,
        read_s=read_s,
        write_s=write_s,
        penalty_s=penalty_s,
        runs=speed.runs,
        known_prefix=known,
    )
    # Equal nodes share: the less busy first, then each task has an order of its own, the same on every node.
    shuffled = zlib.crc32(member.node.encode(), zlib.crc32(task.task.encode()))
    return (round(total + penalty_s, 3), busy / capability.slots, shuffled), forecast, member.here
