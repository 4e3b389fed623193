"""The commands that automations send, checked, and the answer to each."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from hub.people_port import MAX_TEXT
from hub.saying import SayRequest
from hub.timers import MAX_DURATION_S
from swarm.announcement import Name, Report
from swarm.errors import MalformedMessage
from swarm.voice_routes import ListenReport

MAX_COMMAND_BYTES = 16 * 1024
MAX_ID = 100

Id = Annotated[str, msgspec.Meta(max_length=MAX_ID)] | int
"""Comes back in the answer."""
Amount = Annotated[float, msgspec.Meta(ge=0, le=MAX_DURATION_S)]


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`ask`."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    area: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """The room that "turn on the light" means."""
    language: Annotated[str, msgspec.Meta(max_length=35)] = ""
    id: Id | None = None


class Say(SayRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`say`."""

    id: Id | None = None


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`listen`."""

    to: Name
    """A satellite, or the room that it stands in."""
    id: Id | None = None


class SetTimer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`timer/set`."""

    hours: Amount = 0
    minutes: Amount = 0
    seconds: Amount = 0
    name: Annotated[str, msgspec.Meta(max_length=40)] = ""
    to: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """The satellite at which it rings, or its room; empty: everywhere."""
    language: Annotated[str, msgspec.Meta(max_length=35)] = ""
    id: Id | None = None

    @property
    def duration_s(self) -> float:
        """All of it."""
        return self.hours * 3600 + self.minutes * 60 + self.seconds


class CancelTimer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`timer/cancel`."""

    timer: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """Its id, as the answer to `timer/set` told it."""
    name: Annotated[str, msgspec.Meta(max_length=40)] = ""
    all: bool = False
    id: Id | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of one command."""

    command: str
    """The end of the topic: `ask`, `timer/set`, …"""
    ok: bool
    id: Id | None = None
    error: str = ""
    hint: str = ""
    text: str = ""
    """The answer to `ask`."""
    intent: str = ""
    outcome: str = ""
    utterance_id: str = ""
    reports: tuple[Report, ...] | tuple[ListenReport, ...] = ()
    """Of `say` and `listen`, by satellite."""
    missed: tuple[str, ...] = ()
    timer: str = ""
    timers: tuple[str, ...] = ()
    """Ids of those that were cancelled."""


Command = TypeVar("Command", Ask, Say, Listen, SetTimer, CancelTimer)


class _OnlyId(msgspec.Struct, frozen=True):
    id: Id | None = None


def parse_command(payload: bytes, kind: type[Command]) -> Command:
    """Raises `MalformedMessage`. Where `text` is enough, the payload may be the bare text."""
    if len(payload) > MAX_COMMAND_BYTES:
        raise MalformedMessage(f"the command has {len(payload)} bytes, more than {MAX_COMMAND_BYTES}")
    try:
        if kind in (Ask, Say) and not payload.lstrip().startswith(b"{"):
            return msgspec.convert({"text": payload.decode().strip()}, kind)
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"this is no such command: {error}", hint="README.md shows what each takes") from error


def id_of(payload: bytes) -> Id | None:
    """The `id` of a command, also of one that is wrong in other ways."""
    try:
        return msgspec.json.decode(payload[:MAX_COMMAND_BYTES], type=_OnlyId).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
