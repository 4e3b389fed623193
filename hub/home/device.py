"""One device as it is now: its state and availability from its own messages, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from hub.home.component import Plan, Publication
from hub.home.discovery import DiscoveredEntity
from hub.home.entity import Entity, State
from hub.home.templates import Message, NoValue

_log = logging.getLogger(__name__)


class Line(Protocol):
    """The way to devices that are reached otherwise than over the bus."""

    @property
    def connected(self) -> bool:
        """Whether something could be sent now."""

    async def send(self, publication: Publication) -> None:
        """Tell a device; `topic` is its command topic. Raises `BusError`."""


@dataclass(eq=False)
class Wait:
    """Somebody waits for a device to do something."""

    plan: Plan
    before: State
    """How the device was when it was asked."""
    done: asyncio.Future[None]


@dataclass(eq=False)
class Device:
    """A device in the registry."""

    discovered: DiscoveredEntity
    entity: Entity
    source: str = ""
    """Who knows of it (`Home.set_source`); empty: it announced itself by discovery."""
    line: Line | None = None
    """How it is reached; None: over the bus."""
    key: str = ""
    """Which component of its announcement it is."""
    state: State = field(default_factory=State)
    waits: list[Wait] = field(default_factory=list)
    _heard_at: float | None = None
    _says: dict[int, bool] = field(default_factory=dict)
    """What was last heard on each of the topics of its availability; the last one heard stands last."""

    def topics(self) -> tuple[str, ...]:
        """All topics on which it tells something."""
        readers = (reader.topic for reader in self.discovered.component.readers)
        watches = (watch.topic for watch in self.discovered.availability.watches)
        return tuple(dict.fromkeys((*readers, *watches)))

    def hears_events(self, topic: str) -> bool:
        """Whether each message on this topic is something that happens, not how things are."""
        return any(reader.topic == topic and reader.of_events for reader in self.discovered.component.readers)

    def hear(self, topic: str, message: Message, now: float, *, of_events: bool = False) -> None:
        """Take in a message on one of its topics. `of_events`: by the readers of events, else by all others."""
        for index, watch in enumerate(self.discovered.availability.watches):
            if watch.topic == topic and not of_events:
                try:
                    says = watch.says(message)
                except NoValue as error:
                    _log.debug("%s on %s: %s", self.entity.id, topic, error)
                    continue
                self._says.pop(index, None)
                self._says[index] = says
        heard = False
        for reader in self.discovered.component.readers:
            if reader.topic == topic and reader.of_events == of_events:
                try:
                    self.state = reader.read(self.state, message)
                except NoValue as error:
                    _log.debug("%s on %s: %s", self.entity.id, topic, error)
                    continue
                heard = True
        if heard:
            self._heard_at = now
            for wait in self.waits:
                if (
                    wait.plan.reached is not None
                    and not wait.done.done()
                    and wait.plan.reached(wait.before, self.state)
                ):
                    wait.done.set_result(None)

    def is_available(self) -> bool:
        """Whether it is there, by its own word. A device that has a topic for that is not there before it says so."""
        availability = self.discovered.availability
        if not availability.watches:
            return True
        if availability.mode == "latest":
            return bool(self._says) and next(reversed(self._says.values()))
        each = [self._says.get(index, watch.presumed) for index, watch in enumerate(availability.watches)]
        return all(each) if availability.mode == "all" else any(each)

    def is_stale(self, now: float) -> bool:
        """Whether its last reading is too old to mean anything."""
        limit = self.discovered.expire_after_s
        return bool(limit) and (self._heard_at is None or now - self._heard_at > limit)

    def state_at(self, now: float) -> State:
        """How it is, as far as it said. Some tell only that something began: a door bell, a motion."""
        limit = self.discovered.component.off_after_s
        if limit and self.state.value == "on" and self._heard_at is not None and now - self._heard_at > limit:
            return msgspec.structs.replace(self.state, value="off")
        return self.state

    def take_over(self, previous: Device) -> None:
        """Keep what was known of the device before it announced itself anew."""
        self.state, self.waits, self._heard_at = previous.state, previous.waits, previous._heard_at
        if self.discovered.availability.watches == previous.discovered.availability.watches:
            self._says = previous._says

    def assume(self, plan: Plan) -> None:
        """Take as set what the device was told and never reports."""
        assumed = {name: value for name, value in msgspec.structs.asdict(plan.assumed).items() if value is not None}
        assumed.pop("available", None)
        self.state = msgspec.structs.replace(self.state, **assumed)
