"""How this node is seen in the home: its own state on the bus and, where it speaks to the home, the discovery messages
for all nodes (`hub.seen`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from swarm import __version__
from swarm.bus import UNFIT_FOR_A_LEVEL
from swarm.bus_rules import presence_topic, state_topic
from swarm.config import Config
from swarm.enrolled_bus import HOME
from swarm.enrolled_node import EnrolledNode
from swarm.errors import BusError, MycoswarmError, StorageError
from swarm.hardware import Hardware
from swarm.hardware_probe import HardwareProbe, cpu_temperature
from swarm.health import Health, HealthWatch
from swarm.messages import Trace
from swarm.newest_version import numbers
from swarm.node.home_bus import HomeBus
from swarm.node_state import MAX_WORDS, NodeEvent, NodeState, SystemView, shortened
from swarm.own_state import OwnState
from swarm.peer import Peer
from swarm.updates.view import NodeUpdate

if TYPE_CHECKING:
    from hub.seen.discovery import Seen
    from hub.seen.publisher import Publisher, SwarmState
    from swarm.node.satellite_settings import SatelliteSettings
    from swarm.node.voice import VoiceNode

HARDWARE_EVERY_S = 60.0
RESTART_PAUSE_S = 60.0
"""After a start no restart is taken from the bus: whatever repeats it there must not keep the node from its work."""
IDENTIFY_S = 20.0
"""It waits for the end of an answer that is being spoken."""
UTTERANCES = 50
"""Whose latency is shown."""
MODELS = ("generate", "transcribe", "embed")
"""Kinds of tasks whose models people added."""
SEEN_AS = "seen_as"
"""Under which name this machine, while it belonged to no swarm, was shown last."""
FAREWELL_S = 2.0

log = logging.getLogger("swarm.node")


class SeenNode:
    """`services` run while the node does; `part` before it becomes another one."""

    def __init__(
        self,
        config: Config,
        bus: HomeBus,
        peer: Peer,
        enrolled: EnrolledNode | None,
        voice: VoiceNode | None,
        restart: Callable[[], None],
    ) -> None:
        """`restart` makes the node begin again. Subscribes at once."""
        self._config = config
        self._bus = bus
        self._peer = peer
        self._enrolled = enrolled
        self._voice = voice
        self._restart_node = restart
        self._started = time.monotonic()
        self._node = enrolled.node_id if enrolled else UNFIT_FOR_A_LEVEL.sub("_", config.node.name) or "node"
        self._latencies: deque[float] = deque(maxlen=UTTERANCES)
        self._words: tuple[str | None, str | None] = (None, None)
        self._has_temperature = cpu_temperature() is not None
        self._watch = HealthWatch() if enrolled is None else None
        self._hardware, self._look_at = Hardware(), 0.0
        self._probe = HardwareProbe(state_dir=config.state_dir)
        self._parted = False
        self._own = OwnState(
            bus.bus,
            self._node,
            look=None if config.bus.announce == "off" else self._look,
            commands=self._commands(),
            health=self._health if enrolled is None else None,
        )
        self._publisher = self._made_publisher(voice) if voice is not None else None

    def services(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """All that runs, once the voice assistant has begun."""
        services = [("own state", self._own.run())]
        if self._voice is not None:
            self._voice.on_trace.append(self._heard)
            if self._voice.satellite is not None:
                self._voice.satellite.follow(changed=self._own.changed, woken=self._woken)
        if self._publisher is not None:
            services.append(("discovery of nodes", self._publish(self._publisher)))
        return services

    async def part(self) -> None:
        """This machine leaves its swarm, or joins one: remove what was shown of it as far as it can. Others of the
        swarm do the rest."""
        self._parted = True
        with suppress(BusError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                if self._publisher is not None:  # of a worker the others remove first what reads its state
                    await self._publisher.forget(self._without_itself())
                    await self._own.forget()
        self._bus.bus.leave_nothing()

    # ---- what it says

    def _look(self) -> NodeState:
        settings = self._voice.settings if self._voice is not None else None
        models = {each.model for each in self._peer.worker.capabilities() if each.warm and each.kind in MODELS}
        hardware = self._enrolled.hardware if self._enrolled is not None else self._hardware
        words = self._config.bus.announce_words
        return NodeState(
            name=self._config.node.name[:MAX_WORDS],
            version=__version__,
            area=self._config.satellite.area[:MAX_WORDS] if settings is not None else "",
            assistant=self._voice is not None,
            satellite=settings.view() if settings is not None else None,
            latency_ms=self._latency(),
            model=shortened(", ".join(sorted(models))) or None,
            words=words,
            transcript=self._words[0] if words else None,
            answer=self._words[1] if words else None,
            gpus=len(hardware.gpus),
            temperature=self._has_temperature,
            system=system_view(self._enrolled.updates.api.own()) if self._enrolled is not None else None,
        )

    def _latency(self) -> float | None:
        if not self._latencies:
            return None
        from statistics import median  # a node without a voice does without

        return round(median(self._latencies), 1)

    def _heard(self, trace: Trace) -> None:
        if self._voice is None or self._voice.is_of_another(trace):
            return
        at = {mark.stage: mark.at_ms for mark in trace.marks}
        if trace.source == "voice" and "speech_end" in at and "first_audio" in at:
            self._latencies.append(at["first_audio"] - at["speech_end"])
        words = self._config.bus.announce_words
        if words and trace.source != "announcement" and trace.transcript:
            self._words = shortened(trace.transcript), shortened(trace.answer)
        if trace.outcome == "not_understood" and trace.source != "announcement":
            self._own.happened(NodeEvent("not_understood", text=shortened(trace.transcript) if words else ""))
        self._own.changed()

    def _woken(self, wake_word: str) -> None:
        self._own.happened(NodeEvent("wake", wake_word=wake_word))

    async def _health(self) -> Health:
        assert self._watch is not None
        if time.monotonic() >= self._look_at:
            self._hardware = await self._probe.look()
            self._look_at = time.monotonic() + HARDWARE_EVERY_S
        offered = self._peer.worker.capabilities()
        running, waiting = sum(each.running for each in offered), sum(each.waiting for each in offered)
        return self._watch.look(self._hardware, running=running, waiting=waiting)

    # ---- what may be set of it

    def _commands(self) -> Mapping[str, Callable[[str], Awaitable[None]]]:
        return {
            "mute": self._mute,
            "volume": self._set_volume,
            "wake_word": self._set_wake_word,
            "sensitivity": self._set_sensitivity,
            "identify": self._identify,
            "restart": self._restart,
        }

    async def _mute(self, payload: str) -> None:
        if payload not in ("ON", "OFF"):
            raise MycoswarmError(f"{payload!r:.80} is neither ON nor OFF")
        await self._settings.set_muted(payload == "ON")

    async def _set_volume(self, payload: str) -> None:
        await self._settings.set_volume(_percent(payload))

    async def _set_wake_word(self, payload: str) -> None:
        await self._settings.set_wake_word(payload)

    async def _set_sensitivity(self, payload: str) -> None:
        await self._settings.set_sensitivity(_percent(payload))

    async def _identify(self, payload: str) -> None:
        told = False
        with suppress(TimeoutError):
            async with asyncio.timeout(IDENTIFY_S):
                told = self._voice is not None and await self._voice.identify()
        if not told:
            raise MycoswarmError("this node's satellite cannot be told to say which one it is")

    async def _restart(self, payload: str) -> None:
        if time.monotonic() - self._started < RESTART_PAUSE_S:
            raise MycoswarmError(f"this node was started less than {RESTART_PAUSE_S:g} s ago: it goes on")
        log.info("restarting: somebody on the bus wants it")
        self._restart_node()

    @property
    def _settings(self) -> SatelliteSettings:
        if self._voice is None or self._voice.settings is None:
            raise MycoswarmError("this node has no microphone and no speaker")
        return self._voice.settings

    # ---- what it says of all nodes

    def _made_publisher(self, voice: VoiceNode) -> Publisher:
        from hub.seen.publisher import Publisher  # a node without a voice speaks for nobody else

        publisher = Publisher(
            self._bus.bus,
            voice.birth,
            prefix=self._config.bus.discovery_prefix,
            form=self._config.bus.announce,
            language=self._config.node.language,
            speaks=lambda: not self._parted and self._bus.owns(HOME),
            known=self._known,
            swarm=self._swarm if self._enrolled is not None else None,
        )
        self._bus.on_gained(lambda role: publisher.look_again() if role == HOME else None)
        return publisher

    async def _publish(self, publisher: Publisher) -> None:
        assert self._voice is not None
        store, alone = self._voice.store, self._node if self._enrolled is None else ""
        try:
            before = await store.setting(SEEN_AS)
            if isinstance(before, str) and before and before != alone:
                await self._forget_name(publisher, before)
            if before != alone:
                await store.set_setting(SEEN_AS, alone)
        except BusError as error:  # the next start tries again
            log.warning("what was shown of this machine under another name is there still: %s", error)
        except StorageError as error:
            log.error("what was shown of this machine under another name is not known: %s", error)
        await publisher.run()

    async def _forget_name(self, publisher: Publisher, before: str) -> None:
        await publisher.forget_name(before)
        if self._enrolled is None or self._enrolled.bus.hub == self._node:  # others may not
            for topic in (state_topic(before), presence_topic(before)):
                await self._bus.bus.publish(topic, b"", retain=True)

    def _known(self, states: Mapping[str, NodeState], shown: frozenset[str]) -> Seen:
        from hub.seen.discovery import Seen

        enrolled = self._enrolled
        if enrolled is None:
            own = frozenset({self._node})
            return Seen({node: state for node, state in states.items() if node in own}, members=own)
        roster = enrolled.roster
        members = frozenset(node for node in roster.members() if not roster.is_revoked(node))
        return Seen(
            states={node: state for node, state in states.items() if node in members},
            members=members,
            gone=frozenset(node for node in shown if roster.is_revoked(node)),
            swarm_id=roster.swarm_id,
            hubs=frozenset(node for node in members if "hub" in self._roles_of(node)),
        )

    def _without_itself(self) -> Seen:
        """What is left to show, once this node has parted."""
        from hub.seen.discovery import Seen

        enrolled, gone = self._enrolled, frozenset({self._node})
        if enrolled is None:
            return Seen({}, members=frozenset(), gone=gone)
        others = frozenset(enrolled.roster.members()) - gone
        hubs = frozenset(node for node in others if "hub" in self._roles_of(node))
        return Seen({}, members=others, gone=gone, swarm_id=enrolled.roster.swarm_id, hubs=hubs)

    def _roles_of(self, node: str) -> tuple[str, ...]:
        assert self._enrolled is not None
        if node == self._node:
            return self._peer.here().roles
        return (*self._enrolled.roster.roles(node), *self._peer.membership.roles(node))

    def _swarm(self, states: Mapping[str, NodeState]) -> SwarmState:
        from hub.seen.publisher import SwarmState

        assert self._enrolled is not None
        bus, members = self._enrolled.bus, self._peer.members()
        names = {member.node: member.name for member in members}
        alive = [member.node for member in members if member.here or member.state == "alive"]
        told = [bus.health(node) for node in alive]
        own = sum(each.running for each in self._peer.worker.capabilities())
        return SwarmState(
            nodes=len(alive),
            running=own + sum(health.running for health in told if health is not None),
            bus=shortened(names.get(bus.hub or "", "")),
            home=shortened(self._config.node.name),
            newest=max((__version__, *(state.version for state in states.values())), key=numbers),
        )


def system_view(update: NodeUpdate) -> SystemView | None:
    """The image of a node, for people; None for one that runs none."""
    if update.way != "slots" or not update.version:
        return None
    told = f"not installed: {update.reason}" if update.step == "failed" else update.reason
    return SystemView(
        shortened(update.version),
        shortened(update.offered or update.version),
        in_progress=update.step in ("fetching", "installing", "restarting"),
        percent=update.percent,
        summary=shortened(told),
    )


def _percent(payload: str) -> int:
    try:
        number = float(payload)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise MycoswarmError(f"{payload!r:.80} is no number from 0 to 100")
    return round(number)
