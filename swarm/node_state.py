"""What a node says on the bus for people to see: how its satellite is, what it can be set to, what just happened.

`NodeState` is retained and said anew with every change, `NodeEvent` is said once. Beside them stand the node's presence
(`swarm.presence`), whose Last Will says whether all this still counts, and its health (`swarm.health`). Home Assistant
reads these very messages, so nothing of them is told a second time for it.

What was said in the home travels here only when a person wants that (`bus.announce_words`): everything that is
connected to the broker can read it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from swarm.errors import MalformedMessage
from swarm.hardware import MAX_GPUS

MAX_BYTES = 8 * 1024
MAX_WORDS = 255
"""Characters of a text; Home Assistant takes no longer state."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_WORDS)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Phase = Literal["idle", "listening", "thinking", "speaking", "muted"]
EventType = Literal["wake", "not_understood"]


class SatelliteView(msgspec.Struct, frozen=True):
    """The node's own microphone and speaker."""

    phase: Phase
    microphone: bool
    """It has one, so it can be muted, and woken by a word."""
    speaker: bool
    muted: bool = False
    volume: Percent = 0
    wake_word: Text = ""
    """One of `wake_words`."""
    wake_words: Annotated[tuple[Text, ...], msgspec.Meta(max_length=16)] = ()
    sensitivity: Percent = 50


class SystemView(msgspec.Struct, frozen=True):
    """The image that a node runs, and the one that is offered to it. Nobody installs anything by the bus."""

    version: Text
    latest: Text
    """The same, when nothing else is offered."""
    in_progress: bool = False
    percent: Percent | None = None
    summary: Text = ""
    """Why it is not installed, or what it waits for."""


class NodeState(msgspec.Struct, frozen=True):
    """One node as people see it."""

    name: Text
    version: Text
    """Of the package."""
    area: Text = ""
    assistant: bool = False
    """It answers people: it is a hub or a satellite, and not only a worker."""
    satellite: SatelliteView | None = None
    """None on a node without microphone and speaker."""
    latency_ms: float | None = None
    """Median of the last utterances, from the end of speech to the first sound of the answer; None before any."""
    model: Text | None = None
    """What is in memory; None: nothing."""
    words: bool = False
    """It tells `transcript` and `answer`."""
    transcript: Text | None = None
    answer: Text | None = None
    gpus: Annotated[int, msgspec.Meta(ge=0, le=MAX_GPUS)] = 0
    """How many its health tells of."""
    temperature: bool = False
    """Its health tells one."""
    system: SystemView | None = None
    """None on a node that runs no image."""


class NodeEvent(msgspec.Struct, frozen=True):
    """Something happened at a node."""

    event_type: EventType
    """`wake`: its wake word was heard. `not_understood`: it was asked what no intent and no language model handled."""
    wake_word: Text = ""
    text: Text = ""
    """What was asked, where `NodeState.words` is set."""


def lasting(state: NodeState) -> NodeState:
    """What there is to see, without how it is right now."""
    satellite = state.satellite
    if satellite is not None:
        satellite = msgspec.structs.replace(
            satellite, phase="idle", muted=False, volume=0, wake_word="", sensitivity=50
        )
    system = SystemView("", "") if state.system is not None else None
    return msgspec.structs.replace(
        state, satellite=satellite, latency_ms=None, model=None, transcript=None, answer=None, system=system
    )


def shortened(text: str) -> str:
    """At most `MAX_WORDS` characters of it."""
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 1] + "…"


def encode_state(state: NodeState) -> bytes:
    """The bus message."""
    return _encoder.encode(state)


def encode_event(event: NodeEvent) -> bytes:
    """The bus message."""
    return _encoder.encode(event)


def decode_state(data: bytes) -> NodeState:
    """Parse another node's; raises `MalformedMessage`."""
    if len(data) > MAX_BYTES:
        raise MalformedMessage(f"a node's state of {len(data)} bytes exceeds the limit of {MAX_BYTES}")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a node's state: {error}") from error


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(NodeState)
