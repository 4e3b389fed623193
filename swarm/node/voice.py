"""The voice assistant of a node: hub, home automation, timers, this machine's own satellite."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from aiohttp import web

from edge.home_assistant import HomeAssistantHub
from edge.service import Satellite, satellite_of_this_machine
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from hub.answers import wording
from hub.conversation import Conversation
from hub.deeds import Deeds
from hub.home.birth import Birth
from hub.home.flat_on_bus import FlatOnBus
from hub.home.home_assistant import HomeAssistant
from hub.home.labels import Labels, OwnLabels, SharedLabels
from hub.home.labels_api import LabelsApi
from hub.home.registry import Home
from hub.home.virtual_flat import VirtualFlat
from hub.home.zigbee2mqtt import Zigbee2Mqtt
from hub.ledger_timers import LedgerTimers
from hub.live_understanding import LiveUnderstanding
from hub.people_port import Node as NodeFace
from hub.policy import Policy
from hub.recordings import Recordings
from hub.saying import MEDIA, Saying
from hub.timers import Timers
from hub.voice import VoiceHub
from swarm.announcement import Announcement, Report, Until, Whom
from swarm.client import Status
from swarm.config import Config, wanted_roles
from swarm.enrolled_bus import HOME
from swarm.enrolled_node import EnrolledNode
from swarm.errors import EngineUnavailable, MycoswarmError, StorageError
from swarm.first_words import FirstWords
from swarm.messages import Trace
from swarm.node.announcing import Announcing
from swarm.node.asking import ANSWER_GRACE_S, Asking
from swarm.node.automations import Automations
from swarm.node.engines import Engines, with_swarm, with_wyoming
from swarm.node.home_bus import HomeBus
from swarm.node.hub_line import SatellitesHub
from swarm.node.rules import NodeRules
from swarm.node.satellite_settings import SatelliteSettings
from swarm.store import Store
from swarm.voice_routes import ListenReport

RETURN_S = 10.0
"""After the node's start: satellites try every five seconds to come back."""
LOOK_AGAIN_S = 1.0
"""In that time, how often it is asked whether the satellite came back to another hub."""
FIRST_HUB_S = 10.0
"""From the start on, how long a satellite looks for a hub before it prepares to do without one."""
MAX_TOLD_TRACES = 16
VOLUME = "volume."

log = logging.getLogger("swarm.node")

Service = tuple[str, Coroutine[Any, Any, None]]
"""What runs until it is cancelled, and its name."""


@asynccontextmanager
async def voice_node(
    config: Config,
    bus: HomeBus,
    engines: Engines,
    enrolled: EnrolledNode | None,
) -> AsyncIterator[VoiceNode]:
    """The assistant with its database, which is closed at the end. In a swarm it hears, speaks and answers with other
    machines' engines too, and all hubs have the same timers. Raises `MycoswarmError`."""
    local = engines
    if enrolled is not None:
        engines = with_swarm(engines, enrolled.peer, once_more=_once_more)
    engines = with_wyoming(engines, local, config, once_more=_once_more)
    store = Store(config.state_dir / "mycoswarm.db")
    await store.open()
    try:
        yield VoiceNode(config, store, _timers(store, enrolled), bus, engines, enrolled)
    finally:
        await store.close()


def _once_more(sentence: str, language: str) -> str:
    return wording(language).talk.once_more(sentence)


def _timers(store: Store, enrolled: EnrolledNode | None) -> Timers:
    if enrolled is None:
        return Timers(store)
    shared = LedgerTimers(enrolled.roster.ledger, enrolled.peer.members, before=store)
    return Timers(shared, sharing=shared)


class VoiceNode:
    """`begin`, then run all `services`; `end_sessions` before the people's port closes."""

    def __init__(
        self,
        config: Config,
        store: Store,
        timers: Timers,
        bus: HomeBus,
        engines: Engines,
        enrolled: EnrolledNode | None,
    ) -> None:
        self.url = ""
        """Of the people's port, once it listens."""
        self.settings: SatelliteSettings | None = None
        """Of this machine's own satellite, once begun; None where there is none."""
        self.on_trace: list[Callable[[Trace], None]] = []
        """Called with each finished trace."""
        self.store = store
        self._config = config
        self._bus = bus
        self._engines = engines
        if engines.transcriber is None:
            raise ValueError("a voice assistant hears")
        transcriber = self._transcriber = engines.transcriber
        synthesizer = engines.synthesizer
        self._generator = engines.generator
        self._model: str | None = None
        self._started = time.monotonic()
        self._home = Home(bus.bus, config.bus, why_down=lambda: bus.why_waiting)
        self.birth = Birth(bus.bus, prefix=config.bus.discovery_prefix, speaks=lambda: bus.owns(HOME))
        bus.on_gained(lambda role: self.birth.again() if role == HOME else None)
        section = config.home_assistant
        self._hass = HomeAssistant(self._home, section) if section.url else None
        own_labels = OwnLabels(store)
        shared = SharedLabels(enrolled.roster.ledger, own_labels) if enrolled is not None else None
        self._labels = Labels(self._home, shared or own_labels)
        self._zigbee = [Zigbee2Mqtt(self._home, bus.bus, base) for base in config.bus.zigbee2mqtt]
        self._timers = timers
        self._recordings = Recordings(config.state_dir / "recordings", config.recording)
        self._understanding = LiveUnderstanding(
            self._home,
            language=config.node.language,
            wake_phrases=[word.replace("_", " ") for word in config.satellite.wake_words],
            rooms=lambda: self._voice.place_names,
        )
        self._hub = SatellitesHub(config, enrolled, url=lambda: self.url)
        self.asking = Asking(
            config,
            conversation=lambda: self._conversation,
            voice=lambda: self._voice,
            keep_trace=self.keep_trace,
            connector=self._hub.connector,
            goes_elsewhere=lambda: self._hub.is_elsewhere,
        )
        """Questions by text and by recording."""
        timeout_s = config.language_model.timeout_s + ANSWER_GRACE_S
        self._automations = Automations(config, bus, ask=self.asking.ask, ask_timeout_s=timeout_s)
        self.on_trace.append(self._automations.finished)
        self._voice = VoiceHub(
            node=config.node.name,
            conversation=lambda: self._conversation,
            judge=self._understanding.judge,
            transcriber=transcriber,
            synthesizer=synthesizer,
            keep_trace=self.keep_trace,
            keep_audio=self._keep_audio if config.recording.enabled else None,
            keep_volume=self._keep_volume,
            kept_volume=self._kept_volume,
            wake_words=config.satellite.wake_words,
            happened=self._automations.happened,
        )
        self._announcing = Announcing(self._voice, enrolled)
        self._deeds = Deeds(self._home)
        self._policy = Policy(config.policy)
        self._rules = NodeRules(
            config,
            store,
            self._home,
            bus,
            self._understanding,
            enrolled,
            conversation=lambda: self._conversation,
            announcing=lambda: self._announcing,
        )
        self._conversation = Conversation(
            understanding=self._understanding,
            home=self._home,
            timers=self._timers,
            satellites=self._voice,
            policy=self._policy,
            deeds=self._deeds,
            rules=self._rules.rules,
            announce=self._announcing.begin,
            generator=engines.generator,
            model_timeout_s=config.language_model.timeout_s,
        )
        self.saying = Saying(self._announcing.say, config.state_dir / MEDIA, lambda: self._voice.places)
        """Announcements of people and their programs."""
        self._enrolled = enrolled
        if enrolled is not None:
            enrolled.voice.door = self
        self._told_traces: asyncio.Queue[Trace] = asyncio.Queue(MAX_TOLD_TRACES)
        self._satellite: Satellite | None = None
        self._home_assistant: HomeAssistantHub | None = None

    async def begin(self) -> None:
        """Once the people's port listens: find this machine's microphone and speaker, and the settings of before."""
        self._satellite = await self._own_satellite()
        if self._satellite is not None:
            section = self._config.satellite
            self.settings = SatelliteSettings(self._satellite, section, self.store, woken_by=self._woken_by)
            await self.settings.restore()
        await self._labels.open()

    def services(self, *, demo_home: bool) -> list[Service]:
        """All that runs; an error in one ends the node, so that its supervisor starts it anew."""
        services: list[Service] = [
            ("birth message", self.birth.run()),
            *(("zigbee2mqtt", each.run()) for each in self._zigbee),
            *([("home assistant", self._hass.run())] if self._hass else []),
            ("understanding", self._understand()),
            ("timers", self._timers.run(self._announce)),
            ("rules", self._rules.run()),
            ("recordings", self._recordings.run()),
            ("language model", self._look_for_model()),
            ("traces of hubs", self._keep_told_traces()),
            ("garbage collector", self._spare_the_collector()),
        ]
        if self._satellite is not None:
            services.append(("satellite", self._satellite.run()))
            if self._config.satellite.board != "none":
                from edge.board import BOARDS, serve_board  # few machines have one

                board = BOARDS[self._config.satellite.board]
                services.append(("sound board", serve_board(board, self._satellite, self._set_muted)))
        if self._config.mqtt_api.enabled and "hub" in wanted_roles(self._config):
            automations = self._automations.run(
                saying=self.saying, announcing=self._announcing, timers=self._timers, voice=self._voice
            )
            services.append(("automations", automations))
        if self._config.wyoming.services:
            services.append(("wyoming", self._wyoming_services()))
        services += self._wyoming_satellites()
        if self._config.wyoming.satellite and self._satellite is None:
            log.error("wyoming.satellite is on, and this machine is no satellite: it has no microphone and no speaker")
        if self._satellite is not None and self._home_assistant is not None:
            services.append(("Home Assistant's satellite", self._serve_home_assistant()))
        if demo_home:
            prefix, broker = self._config.bus.discovery_prefix, self._bus.own_broker
            flat = VirtualFlat(broker, prefix=prefix) if broker else FlatOnBus(self._bus.bus, prefix=prefix)
            words = FirstWords(self._config, self._engines.synthesizer, self.url, ask=self.asking.ask_audio)
            services += [("virtual flat", flat.run()), ("first words", self._introduce(flat, words))]
        return services

    async def keep_trace(self, trace: Trace) -> None:
        """An utterance is over: tell who follows, and keep what happened to it."""
        for told in self.on_trace:
            told(trace)
        await self.store.save_trace(trace)

    @property
    def satellite(self) -> Satellite | None:
        """This machine's own, once begun."""
        return self._satellite

    def is_of_another(self, trace: Trace) -> bool:
        """Whether the satellite of another machine was served, which shows it as its own."""
        return bool(self._voice.machine_of(trace.satellite))

    async def identify(self) -> bool:
        """Have this machine's satellite say which one it is; False when it could not be told to."""
        name = self._config.node.name
        return await self._announcing.announce(name, wording(self._config.node.language).talk.identify(name))

    @property
    def speaking(self) -> bool:
        """An utterance is under way, at this machine's own satellite or at one that this hub serves."""
        own = self._satellite
        return self._voice.speaking or (own is not None and own.phase not in ("idle", "muted"))

    @property
    def roles(self) -> tuple[str, ...]:
        """What it is found to be."""
        return ("hub", "edge") if self._satellite is not None else ("hub",)

    async def end_sessions(self) -> None:
        """Part from all satellites."""
        await self._voice.close()

    # ---- satellites and hubs of other machines

    @property
    def open(self) -> bool:
        """See `swarm.voice_routes.Door`: it understands the home's commands by now."""
        return self._understanding.ready.is_set()

    async def serve(self, request: web.Request, node: str) -> web.StreamResponse:
        """See `swarm.voice_routes.Door`."""
        return await self._voice.handle(request, node=node)

    async def announce_here(self, announcement: Announcement, whom: Whom, until: Until) -> tuple[Report, ...]:
        """See `swarm.voice_routes.Door`."""
        return await self._voice.announce(announcement, whom, until=until)

    async def listen_here(self, whom: Whom) -> tuple[ListenReport, ...]:
        """See `swarm.voice_routes.Door`."""
        return await self._voice.listen(whom)

    def _hub_name(self) -> str:
        if self._home_assistant is not None and self._home_assistant.connected:
            return "Home Assistant"
        return self._hub.name()

    def _take_told_trace(self, trace: Trace) -> None:
        with suppress(asyncio.QueueFull):  # a disk that hangs: traces are for diagnosis, speech goes on
            self._told_traces.put_nowait(trace)

    async def _keep_told_traces(self) -> None:
        while True:
            await self.keep_trace(await self._told_traces.get())

    # ---- what the people's port shows

    def face(self, status: Callable[[], Status]) -> NodeFace:
        """The node as the people's port sees it."""
        return NodeFace(
            language=self._config.node.language,
            status=status,
            ask=self.asking.ask,
            ask_audio=self.asking.ask_audio,
            traces=self.store,
            entities=lambda: [(entity, self._home.state(entity.id)) for entity in self._home.entities.values()],
            timers=self._timers.all,
            set_muted=self._set_muted,
            voice=self._voice.handle,
        )

    def routes(self) -> list[web.RouteDef]:
        """What the people's port has beside."""
        return [*LabelsApi(self._labels).routes(), *self._rules.routes()]

    def add_to(self, status: Status) -> Status:
        """The status with what only the assistant knows."""
        return msgspec.structs.replace(
            status,
            satellites=self._voice.connected,
            language_model=self._model,
            hub=self._hub_name() if self._satellite is not None else "",
            entities=len(self._home.entities),
        )

    async def _set_muted(self, muted: bool) -> None:
        if self.settings is None:
            raise MycoswarmError(
                "this node has no microphone and no speaker of its own",
                hint="satellite.microphone and satellite.speaker in the configuration are both none",
            )
        await self.settings.set_muted(muted)

    # ---- services

    async def _own_satellite(self) -> Satellite | None:
        section = self._config.satellite
        if section.microphone == "none" and section.speaker == "none":
            return None
        hub = self._hub.connector(is_own=True)
        if self._config.wyoming.satellite:
            from swarm.node.wyoming import home_assistant_hub  # most nodes have none

            hub = self._home_assistant = home_assistant_hub(self._config, hub, self._paused_by_home_assistant)
        try:
            # It imports NumPy and loads models, for seconds on a small board, which joins its swarm meanwhile.
            return await asyncio.to_thread(
                satellite_of_this_machine,
                self._config,
                hub,
                keep_trace=self._take_told_trace if self._hub.is_elsewhere else None,
            )
        except EngineUnavailable as error:
            log.error("this machine cannot be a satellite: %s", error.for_log())
            return None

    def _paused_by_home_assistant(self, paused: bool) -> None:
        if self._satellite is not None:
            self._satellite.set_muted(paused, by="Home Assistant")

    async def _serve_home_assistant(self) -> None:
        from swarm.node.wyoming import serve_home_assistant

        assert self._home_assistant is not None
        await serve_home_assistant(self._config, self._home_assistant, self._enrolled)

    def _wyoming_satellites(self) -> list[Service]:
        if not self._config.wyoming.satellites:
            return []
        from edge.remote_satellite import RemoteSatellite  # most nodes have none

        section = self._config.satellite
        return [
            (
                f"satellite {other.name}",
                RemoteSatellite(
                    other.url,
                    hub=self._hub.connector(),
                    name=other.name,
                    area=other.area,
                    language=self._config.node.language,
                    detector=lambda: MicroWakeDetector(section.wake_words, section.sensitivity),
                    vad=SileroVoiceActivity,
                ).run(),
            )
            for other in self._config.wyoming.satellites
        ]

    async def _wyoming_services(self) -> None:
        from swarm.node.wyoming import WyomingServices  # most nodes have none

        await WyomingServices(
            self._config,
            transcriber=self._transcriber,
            synthesizer=self._engines.synthesizer,
            conversation=lambda: self._conversation,
            finished=self.keep_trace,
            enrolled=self._enrolled,
        ).run()

    def _woken_by(self, wake_words: tuple[str, ...]) -> None:
        self._understanding.expect([word.replace("_", " ") for word in wake_words])

    async def _kept_volume(self, satellite: str) -> int | None:
        volume = await self._setting(VOLUME + satellite)
        own = self._config.satellite.volume if satellite == self._config.node.name else None
        return volume if isinstance(volume, int) else own

    async def _setting(self, key: str) -> Any:
        try:
            return await self.store.setting(key)
        except StorageError as error:
            log.error("the setting %s is not known: %s", key, error)
            return None

    async def _announce(self, satellite: str, text: str) -> bool:
        """A timer that ended while the node was away is not told to a house whose satellites are not back yet."""
        while not await self._announcing.announce(satellite, text):
            left_s = self._started + RETURN_S - time.monotonic()
            if left_s <= 0:
                return False
            await self._voice.wait_connected(satellite, timeout_s=min(left_s, LOOK_AGAIN_S))
        return True

    async def _keep_volume(self, satellite: str, percent: int) -> None:
        with suppress(StorageError):  # said in the log; the volume is set all the same
            await self.store.set_setting(VOLUME + satellite, percent)

    async def _keep_audio(self, utterance_id: str, pcm: bytes) -> None:
        await self._recordings.save(utterance_id, pcm)

    async def _understand(self) -> None:
        """Reading a language's sentences keeps a small board busy for seconds: a satellite finds its hub first."""
        if self._hub.is_elsewhere and self._satellite is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_HUB_S):
                    await self._hub.found.wait()
        await self._understanding.run(self._transcriber)

    async def _look_for_model(self) -> None:
        """Know which language model is there, so that status and the first question need not wait to find out."""
        while self._generator is not None:
            found = await self._generator.available()
            if found != self._model:
                log.info("language model: %s", found or "none")
            self._model = found
            await asyncio.sleep(15.0)

    async def _spare_the_collector(self) -> None:
        """The sentences of a language are 60,000 objects that stay. Walking over them again and again would stop the
        node for 40 ms, in the middle of an answer too, and for longer at its end."""
        await self._understanding.ready.wait()
        gc.freeze()

    async def _introduce(self, flat: VirtualFlat | FlatOnBus, words: FirstWords) -> None:
        try:
            async with asyncio.timeout(30.0):
                await flat.ready.wait()
                await self._home.settled()
                await self._understanding.ready.wait()
        except TimeoutError:
            log.error("the virtual flat did not come up within 30 s; mycoswarm doctor tells why")
            return
        await words.speak()
