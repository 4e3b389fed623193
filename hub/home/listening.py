"""Brings what devices tell on the bus to the devices that are known to tell it there.

A device's topic may have wildcards; a message is brought to it under that topic, and never from our own tree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hub.home.device import Device, Line
from hub.home.entity import State
from hub.home.options import OWN_TREE
from hub.home.templates import Message
from swarm.bus import Bus

MAX_STATE_BYTES = 64 * 1024
"""Of a state message; longer ones are ignored."""


class Listening:
    """Which devices hear which topics. A topic is subscribed to while somebody hears it."""

    def __init__(self, bus: Bus, clock: Callable[[], float], complain: Callable[[str, str], None]) -> None:
        """`complain` is given a topic and what is wrong with a message on it."""
        self._bus = bus
        self._clock = clock
        self._complain = complain
        self._listeners: dict[tuple[Line | None, str], list[Device]] = {}
        """By line and topic: what a device says on the bus is never taken for what a line says."""
        self._ends: dict[str, list[Callable[[], None]]] = {}
        self.told: list[Callable[[str, State, State], None]] = []
        """Called with an entity's id, its state before and its state after, when it told another one."""

    def add(self, device: Device) -> None:
        """Let it hear its topics from now on, first what the broker keeps of them."""
        for topic in device.topics():
            self._listeners.setdefault((device.line, topic), []).append(device)
            if device.line is not None:  # what it says comes by `hear_line`
                continue
            # Anew even when another device shares the topic: the broker then repeats what it retains for this one.
            before = self._ends.get(topic, [])
            self._ends[topic] = [self._bus.subscribe(topic, partial(self._on_message, topic, of_events=False))]
            if any(each.hears_events(topic) for each in self._listeners[None, topic]):
                on_event = partial(self._on_message, topic, of_events=True)
                self._ends[topic].append(self._bus.subscribe(topic, on_event, retained=False))
            for end in before:
                end()

    def remove(self, device: Device) -> None:
        """It hears nothing any more."""
        for topic in device.topics():
            place = device.line, topic
            self._listeners[place].remove(device)
            if not self._listeners[place]:
                del self._listeners[place]
                for end in self._ends.pop(topic, ()) if device.line is None else ():
                    end()

    def hear_line(self, line: Line, topic: str, payload: bytes, *, just_now: bool) -> None:
        """Take in what a line says on a topic of one of its devices; `just_now`: it may be an event."""
        self._tell(line, topic, payload, of_events=False)
        if just_now:
            self._tell(line, topic, payload, of_events=True)

    def _on_message(self, topic_filter: str, topic: str, payload: bytes, *, of_events: bool) -> None:
        if topic == topic_filter or topic.partition("/")[0] != OWN_TREE:
            self._tell(None, topic_filter, payload, of_events=of_events)

    def _tell(self, line: Line | None, topic: str, payload: bytes, *, of_events: bool) -> None:
        if len(payload) > MAX_STATE_BYTES:
            self._complain(topic, f"the state on {topic} has {len(payload)} bytes, more than {MAX_STATE_BYTES}")
            return
        try:
            message = Message(payload.decode())
        except UnicodeDecodeError:
            self._complain(topic, f"the state on {topic} is not UTF-8 text")
            return
        for device in self._listeners.get((line, topic), ()):
            before = device.state
            device.hear(topic, message, self._clock(), of_events=of_events)
            if device.state != before:
                for told in self.told:
                    told(device.entity.id, before, device.state)
