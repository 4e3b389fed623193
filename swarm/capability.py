"""What a node offers right now, how fast it did it lately, and a node as placement sees it. Pure values."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from swarm.task import PRIORITIES, SIZES, Name, Privacy, Seconds, SizeClass

PROTOCOL = 1
"""Of the link between nodes; a node of another number gets no task."""
LATEST_WEIGHT = 0.2
"""Weight of the latest run in a decaying average: five runs back still count a third. Heat and other load show up
within a few runs, one odd run does not turn placement around."""
OVERHEAD_S = 0.01
"""What any run costs before its input is read."""
REMOTE_S = 0.002
"""What the way to another node costs: between two equal nodes a task stays where it is."""

UNITS = {
    "generate": ("tokens", "tokens"),
    "embed": ("tokens", "vectors"),
    "transcribe": ("seconds of audio", "tokens"),
    "synthesize": ("characters", "seconds of audio"),
}
"""Units of input and output of the kinds that come with the package. Answers are measured by their content, not by the
pieces in which they come: engines cut differently, and what one took must tell something of what others will take."""
CHARACTERS_PER_TOKEN = 4.0
BYTES_PER_SECOND = 32_000.0
"""Of 16-bit audio at 16 kHz; that of other rates counts a little more or less."""

Positive = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class Run(msgspec.Struct, frozen=True):
    """What one real run took."""

    input_units: float
    output_units: float
    """Of the whole answer; see `answer_units`."""
    first_s: float
    """From the start in a slot to the first piece."""
    total_s: float
    cold: bool = False
    """The model was not in memory at the start."""
    first_units: float = 1.0
    """Of the first piece."""
    whole: bool = True
    """It came to its end; one that was stopped tells how fast it was, not how long its answer would have been."""


class Speed(msgspec.Struct, frozen=True):
    """Decaying averages over real runs of one model on one node. Seconds add up, so seconds are what is averaged."""

    input_s: Positive = 0.001
    """For a unit of input (prefill)."""
    output_s: Positive = 0.05
    """For a unit of output (decode)."""
    load_s: Positive = 5.0
    """To get a cold model into memory."""
    input_units: Positive = 100.0
    """Of a typical request, for those that do not say."""
    output_units: Positive = 100.0
    """Of a typical answer."""
    runs: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many runs went into it; with none it is a guess."""

    def after(self, run: Run) -> Speed:
        """The averages with one more run; the first run replaces the guess."""
        weight = max(LATEST_WEIGHT, 1.0 / (self.runs + 1))

        def average(old: float, new: float) -> float:
            return min(1e6, old + weight * (max(new, 0.0) - old))

        input_units = run.input_units or self.input_units
        read_s = run.first_s - OVERHEAD_S
        load_s, input_s = self.load_s, self.input_s
        if run.cold:  # it cannot be told what of the wait was loading: what reading usually takes is taken off
            load_s = average(load_s, read_s - input_units * input_s)
        elif input_units:
            input_s = average(input_s, read_s / input_units)
        output_s = self.output_s
        rest = run.output_units - run.first_units  # the first piece came with `first_s`
        if rest > 0:
            output_s = average(output_s, (run.total_s - run.first_s) / rest)
        elif self.runs == 0 and run.whole:
            output_s = 0.0  # all came at once: reading was the work
        return Speed(
            input_s=input_s,
            output_s=output_s,
            load_s=load_s,
            input_units=average(self.input_units, input_units),
            output_units=average(self.output_units, run.output_units) if run.whole else self.output_units,
            runs=self.runs + 1,
        )

    def read_s(self, input_units: float, *, known_part: float = 0.0) -> float:
        """Seconds until the first piece from a warm model; 0 units stand for a typical request, `known_part` (0 to 1)
        of the input is in the model's memory already."""
        return OVERHEAD_S + (input_units or self.input_units) * (1.0 - known_part) * self.input_s

    def write_s(self, output_units: float) -> float:
        """Seconds from the first piece to the last; 0 units stand for a typical answer."""
        return (output_units or self.output_units) * self.output_s

    def run_s(self, input_units: float = 0.0, output_units: float = 0.0) -> float:
        """Seconds in a slot of a warm model."""
        return self.read_s(input_units) + self.write_s(output_units)


class Capability(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of task that a node offers now, by one model."""

    kind: Name
    """`generate`, `transcribe`, `synthesize`, `embed`, …"""
    model: Name
    size: SizeClass = "any"
    speed: Speed = Speed()
    slots: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 1
    """Tasks that run at once."""
    running: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    waiting: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    backlog_s: Annotated[tuple[Seconds, ...], msgspec.Meta(max_length=len(PRIORITIES))] = ()
    """For a new task of each of `PRIORITIES`: seconds until it gets a slot, as the node believes. Missing ones are
    0."""
    warm: bool = True
    """The model is in memory."""
    prefixes: Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] = ()
    """Conversations whose beginning is in the model's memory."""
    fruitless: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Runs since the last that told its speed: it failed at them, or was stopped early."""


MemberState = Literal["alive", "suspect", "dead"]


class Member(msgspec.Struct, frozen=True):
    """A node as placement sees it."""

    node: str
    """Its id."""
    name: str
    """For people; two nodes may have the same."""
    state: MemberState = "alive"
    capabilities: tuple[Capability, ...] = ()
    roles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """`host:port` of its nodes' port, the likeliest first."""
    accepts: tuple[Privacy, ...] = ("home", "shared")
    """Privacy labels of what it may be given."""
    protocol: int = PROTOCOL
    tier: str = ""
    """See `swarm.tier`; empty while it is not known."""
    bus_port: int = 0
    """Of a hub, where nodes reach its broker; 0: it has none for them."""
    home_broker: bool = False
    """That broker is the home's own."""
    carries_bus: bool = False
    """That broker is the bus now."""
    served_by: str = ""
    """Of a satellite that is no hub: the id of the hub that serves it, its own where it works alone."""
    heard_at: float = 0.0
    """When it spoke last, on the same clock as `now`."""
    here: bool = False
    """It is this very node."""


def in_words(kind: str) -> str:
    """What a node does that has a capability of this kind, as a verb for people."""
    return "answer questions" if kind == "ask" else kind


def answer_units(text: str, audio: bytes) -> float:
    """How much of an answer one piece is, in `UNITS`; what is neither text nor audio counts as one."""
    return len(text) / CHARACTERS_PER_TOKEN + len(audio) / BYTES_PER_SECOND or 1.0


def at_least(size: SizeClass, wanted: SizeClass) -> bool:
    """Whether a model of this size class serves where `wanted` is asked for; one of unknown size counts as tiny."""
    return max(SIZES.index(size), _TINY) >= SIZES.index(wanted)


_TINY = SIZES.index("tiny")
