"""Which node gets a task, and why. Pure and fast: it runs for every task over every node.

What a node cannot or may not do is filtered; the rest is ordered by the predicted time to the finished answer::

    total = waiting for a slot + loading a cold model + reading the input + writing the answer + the way there

all from speeds that the nodes measured on real runs (`swarm.capability.Speed`). How long question and answer are is the
task's matter and not a node's: what a task does not say is taken from the runs of all nodes that could take it.

A node whose speed nobody knows is believed to be no faster than the known ones. So that it can show what it is, it gets
one task as soon as that is worth a risk (see `TRY_FROM_S`), and from then on it is judged by what it took.

A model is never swapped silently: what stands in for the wanted one is tried only when nobody can serve that, only if
the routing table allows it by name, and `Choice.instead_of` says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from swarm.capability import OVERHEAD_S, PROTOCOL, REMOTE_S, Capability, Member, at_least, in_words
from swarm.task import PRIORITIES, Priority, Privacy, SizeClass

KNOWN_PART = 0.9
"""How much of a conversation's input is its beginning, which a node may still have in memory: all but the last turn."""
SUSPECT_S = 30.0
"""What it costs to send a task to a node that may be dead: anybody else who can do it first."""
LAST_SLOT_S = 5.0
"""What it costs when a task that can wait takes a node's last free slot: somebody may soon speak."""
TRY_FROM_S = 1.0
"""A node of unknown speed gets a task for which somebody waits only when the best known node would take longer: what
is answered within a second is not risked. Tasks that can wait may always be used for it."""
TRIES = 3
"""So often a node may fail at being measured; then it gets no more tasks for that."""
SHARE_RUNS = 5
"""A node's typical question and answer count as much as its runs, up to so many."""

Refusal = Literal[
    "dead", "protocol", "privacy", "not_offered", "other_model", "too_small", "no_slots", "avoided", "too_late"
]
_WHY_NOT: dict[Refusal, str] = {
    "dead": "is not there",
    "protocol": "speaks another version",
    "privacy": "may not see tasks marked {privacy}",
    "not_offered": "does not {kind}",
    "other_model": "has other models than {model}",
    "too_small": "has no model that is known to be {size} or larger",
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
    trial: bool
    """It was chosen to learn how fast it is."""
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
    """The node where the answer is finished first; now and then one that may be that node, to learn whether it is.

    `avoid` maps nodes to the reason why this one task or this sender does without them now; `sent` counts the sender's
    own unfinished tasks, which a node's last beat may not tell yet. `now` is on the clock of `Member.heard_at`.
    """
    wanted: list[tuple[str, SizeClass, str]] = [(task.model, task.size, "")]
    wanted += [(model, "any", task.model) for model in task.fallback_models]
    if task.fallback_size is not None:
        wanted.append(("", task.fallback_size, f"a {task.size} model"))
    first_passed: tuple[Passed, ...] = ()
    for model, size, instead_of in wanted:
        forecasts, unknown, passed = _consider(task, model, size, members, now, avoid, sent)
        if forecasts:
            forecasts.sort(key=lambda item: item[0])
            trial = _trial(task, forecasts, unknown) if unknown else None
            if trial is not None:
                forecasts = [trial, *(each for each in forecasts if each[1].node != trial[1].node)]
            best = forecasts[0][1]
            return Choice(
                node=best.node,
                model=best.model,
                finish_s=best.finish_s,
                instead_of=instead_of,
                here=forecasts[0][2],
                trial=trial is not None,
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
        chosen = decision.forecasts[0]
        for each in decision.forecasts:
            if each is chosen:
                verb = "chosen to learn how fast it is" if decision.trial else "chosen"
            elif each.finish_s <= chosen.finish_s:
                verb = "spared" if each.penalty_s else "passed over this once" if decision.trial else "as fast"
            else:
                verb = "slower"
            lines.append(f"{each.name}: {verb}, {_parts(each)}")
        if decision.instead_of:
            lines.append(f"nobody can serve {decision.instead_of}: {decision.model} stands in for it, as allowed")
    for passed in decision.passed:
        why = _WHY_NOT[passed.why].format(
            privacy=task.privacy, kind=in_words(task.kind), model=task.model, size=task.size, note=passed.note
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
    runs = "1 run" if forecast.runs == 1 else f"{forecast.runs} runs"
    measured = f"measured on {runs}" if forecast.runs else "a guess, nothing measured yet"
    return ", ".join(parts) + f"; {measured})"


_Order = tuple[float, float, int]
_Entry = tuple[_Order, Forecast, bool]
"""With whether it is here."""


def _consider(
    task: PlacementTask,
    model: str,
    size: SizeClass,
    members: Sequence[Member],
    now: float,
    avoid: Mapping[str, str],
    sent: Mapping[SentKey, int],
) -> tuple[list[_Entry], list[_Entry], tuple[Passed, ...]]:
    """The best model of each node that can take the task; all idle ones of unknown speed; the nodes that cannot."""
    able: list[tuple[Member, list[Capability]]] = []
    passed: list[Passed] = []
    some_known = some_unknown = False
    for member in members:
        node = member.node
        why: Refusal = "not_offered"
        if member.state == "dead":
            passed.append(Passed(node, member.name, "dead"))
            continue
        if member.protocol != PROTOCOL:
            passed.append(Passed(node, member.name, "protocol"))
            continue
        fit: list[Capability] = []
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
            fit.append(capability)
            if capability.speed.runs:
                some_known = True
            else:
                some_unknown = True
        if fit:
            able.append((member, fit))
        else:
            passed.append(Passed(node, member.name, why, avoid.get(node, "")))
    input_units, output_units = _lengths(task, able)
    floor_s = _floor_s(able, input_units, output_units) if some_known and some_unknown else 0.0
    found: list[_Entry] = []
    unknown: list[_Entry] = []
    for member, fit in able:
        best: _Entry | None = None
        for capability in fit:
            own = sent.get((member.node, task.kind, capability.model), 0)
            entry = _forecast(task, member, capability, now, own, (input_units, output_units, floor_s))
            if entry[1].wait_s + entry[1].load_s > task.left_s:
                continue
            if best is None or entry[0] < best[0]:
                best = entry
            if floor_s and _may_be_tried(member, capability, own):
                unknown.append(entry)
        if best is not None:
            found.append(best)
        else:
            passed.append(Passed(member.node, member.name, "too_late"))
    return found, unknown, tuple(passed)


def _lengths(task: PlacementTask, able: list[tuple[Member, list[Capability]]]) -> tuple[float, float]:
    """How long this task's input and answer will likely be: as it says, else as those of all candidates were."""
    input_units, output_units = task.input_units, task.output_units
    if input_units and output_units:
        return input_units, output_units
    weights = inputs = outputs = 0.0
    for _, fit in able:
        for capability in fit:
            speed = capability.speed
            if speed.runs:
                weight = min(speed.runs, SHARE_RUNS)
                weights += weight
                inputs += weight * speed.input_units
                outputs += weight * speed.output_units
    if not weights:
        return input_units, output_units
    return input_units or inputs / weights, output_units or outputs / weights


def _floor_s(able: list[tuple[Member, list[Capability]]], input_units: float, output_units: float) -> float:
    """Faster than this nobody of unknown speed is believed to be: a little slower than the best known one when it has
    nothing else to do."""
    return OVERHEAD_S + min(
        capability.speed.run_s(input_units, output_units) + (0.0 if capability.warm else capability.speed.load_s)
        for _, fit in able
        for capability in fit
        if capability.speed.runs
    )


def _may_be_tried(member: Member, capability: Capability, own: int) -> bool:
    """Its speed is unknown, and nobody is about to learn it."""
    return (
        not capability.speed.runs
        and not capability.running
        and not capability.waiting
        and not own
        and capability.fruitless < TRIES
        and member.state == "alive"
    )


def _trial(task: PlacementTask, ordered: list[_Entry], unknown: list[_Entry]) -> _Entry | None:
    """The one of `unknown` that gets this task to learn how fast it is."""
    known_s = next((total_s for (total_s, _, _), forecast, _ in ordered if forecast.runs), 0.0)
    if known_s <= (TRY_FROM_S if task.priority == "immediate" else 0.0):
        return None
    return min((each for each in unknown if each[1].finish_s <= task.left_s), key=lambda each: each[0], default=None)


def _forecast(
    task: PlacementTask,
    member: Member,
    capability: Capability,
    now: float,
    own: int,
    lengths_and_floor: tuple[float, float, float],
) -> _Entry:
    input_units, output_units, floor_s = lengths_and_floor
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
        wait_s = aged_s + max(unknown, 0) * speed.run_s(input_units, output_units) / capability.slots
    known = bool(task.prefix) and task.prefix in capability.prefixes
    read_s = speed.read_s(input_units, known_part=KNOWN_PART if known else 0.0)
    if not member.here:
        read_s += REMOTE_S
    write_s = speed.write_s(output_units)
    load_s = 0.0 if capability.warm else speed.load_s
    if not speed.runs:
        write_s = max(write_s, floor_s - load_s - read_s)
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
