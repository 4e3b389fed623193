"""What is said unasked at satellites, and what became of it: a timer that ended, "dinner is ready", a doorbell's sound.

One mechanism for timers, people, rules and automations. `hub.voice` says it at the satellites that are connected to it,
`swarm.node.announcing` at those of the whole swarm. While a person speaks to a satellite it waits there. A muted
satellite plays it: muted is the microphone.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MAX_TEXT = 1_000
"""Characters; more than a minute of speech."""
MAX_SOUND_S = 60.0
MAX_RATE = 48_000
MAX_SOUND_BYTES = round(MAX_SOUND_S * MAX_RATE) * 2
MAX_NAMES = 64
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class Announcement(msgspec.Struct, frozen=True):
    """`text`, which the hub speaks; with a `sound`, that is played, and `text` only says for people what it is."""

    text: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    sound: Annotated[bytes, msgspec.Meta(max_length=MAX_SOUND_BYTES)] = b""
    """16-bit signed little-endian mono."""
    rate: Annotated[int, msgspec.Meta(ge=4_000, le=MAX_RATE)] = 16_000
    """Samples a second of `sound`."""
    chime: bool = True
    """Play a chime before it."""
    volume: Percent | None = None
    """For this alone; None: as loud as the satellite is set."""
    interrupt: bool = False
    """Stop what is being spoken, and come before what waits. It still waits while a person speaks."""
    language: Annotated[str, msgspec.Meta(max_length=35)] = ""
    """Of `text`; empty: the satellite's."""


class Whom(msgspec.Struct, frozen=True):
    """Which satellites; as it comes, all."""

    satellite: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """The one of exactly this name."""
    names: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_NAMES)] = ()
    """Those that are called so, or that stand in a room that is called so, whatever the case."""
    but: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_NAMES)] = ()
    """None that is called so, or stands in a room that is."""

    def means(self, satellite: str, area: str) -> bool:
        """Whether the satellite, which stands in `area`, is one of them."""
        if self.satellite:
            return satellite == self.satellite
        own = {_folded(satellite), _folded(area)} - {""}
        return (not self.names or not own.isdisjoint(map(_folded, self.names))) and own.isdisjoint(
            map(_folded, self.but)
        )

    def missed(self, reports: tuple[Report, ...]) -> tuple[str, ...]:
        """Names that no satellite answers to."""
        wanted = (self.satellite,) if self.satellite else self.names
        found = {_folded(each.satellite) for each in reports} | {_folded(each.area) for each in reports}
        return tuple(name for name in wanted if _folded(name) not in found)


Outcome = Literal["played", "stopped", "waits", "full", "failed"]
"""`played` to its end; `stopped` by a person or by what interrupted it; `waits`: sent, or behind what is being spoken,
and nothing more is known yet; `full`: too much waits there already; `failed`: it could not be spoken or sent."""
Until = Literal["sent", "played"]
"""How long to wait for the outcome: until the satellite has it, or until it was heard."""


class Report(msgspec.Struct, frozen=True, order=True):
    """What became of an announcement at one satellite."""

    satellite: str
    area: str
    outcome: Outcome

    @property
    def told(self) -> bool:
        """The satellite has it, or will when its turn comes."""
        return self.outcome in ("played", "stopped", "waits")


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
