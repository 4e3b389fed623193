"""A running node: its services, how they are put together, and how they end."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from edge.recorded import RecordingResult, run_recording
from edge.service import Satellite, satellite_of_this_machine
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from gpu_node.engines import ENGINES as ADDED_ENGINES
from hub.conversation import Conversation
from hub.home.registry import Home
from hub.home.virtual_flat import VirtualFlat
from hub.intent import Context
from hub.live_understanding import LiveUnderstanding
from hub.people_port import Node as NodeFace
from hub.people_port import Say, SpokenAnswer, build_app
from hub.people_port import start as start_people_port
from hub.recordings import Recordings
from hub.timers import Timers
from hub.voice import VoiceHub
from swarm import __version__
from swarm.audio import duration_s, read_wav, write_wav
from swarm.broker import Broker
from swarm.bus import Bus
from swarm.client import BrokerStatus, NodeAddress, Status, announce_node, withdraw_node
from swarm.config import Config
from swarm.engine import Generator, Synthesizer, Transcriber
from swarm.engines import ENGINES, build
from swarm.engines.arpabet import pronounce
from swarm.engines.espeak import EspeakSynthesizer
from swarm.errors import AudioError, EngineUnavailable, MycoswarmError, StorageError
from swarm.first_words import FirstWords
from swarm.messages import Trace
from swarm.store import Store
from swarm.trace import TraceRecorder

ANSWER_GRACE_S = 60.0
"""Longer than the language model may take, for devices and speech."""
RETURN_S = 10.0
"""After the node's start: satellites try every five seconds to come back."""
MUTED = "muted"
VOLUME = "volume."

log = logging.getLogger(__name__)


async def run_node(config: Config, *, demo_home: bool = False) -> None:
    """Run until SIGTERM or SIGINT, then end everything. Raises `MycoswarmError` when the node cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _running(config) as node:
        await node.serve(stop, demo_home=demo_home)


@asynccontextmanager
async def _running(config: Config) -> AsyncIterator[_Node]:
    """Everything that is opened at the start and closed at the end, in reverse."""
    async with AsyncExitStack() as closing:
        try:
            config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the state folder {config.state_dir}: {error.strerror}",
                hint="set node.state_dir in the configuration to a folder that this user can write",
            ) from error
        closing.enter_context(_claimed(config.state_dir))
        store = Store(config.state_dir / "mycoswarm.db")
        await store.open()
        closing.push_async_callback(store.close)
        broker = Broker(config.bus, config.state_dir)
        await broker.start()
        closing.push_async_callback(broker.close)
        espeak = EspeakSynthesizer()
        closing.push_async_callback(espeak.close)
        synthesizer = _synthesizer(config) or espeak
        transcriber = _transcriber(config) or build(
            ENGINES[0], pronounce=lambda words, language: pronounce(espeak, words, language="en-us")
        )
        generator = _generator(config)
        for engine in (synthesizer, transcriber, generator):
            if engine is not None:
                closing.push_async_callback(engine.close)
        node = _Node(config, store, broker, transcriber, synthesizer, generator)
        runner, node.url = await start_people_port(
            build_app(node.face(), ask_timeout_s=config.language_model.timeout_s + ANSWER_GRACE_S),
            port=config.people.port,
        )
        closing.push_async_callback(runner.cleanup)
        closing.push_async_callback(node.end_sessions)
        try:
            announce_node(config.state_dir, NodeAddress(node.url, os.getpid()))
        except OSError as error:
            raise StorageError(
                f"cannot write the node's address into {config.state_dir}: {error.strerror}",
                hint="free some space, or make the folder writable by the user that runs mycoswarm",
            ) from error
        closing.callback(withdraw_node, config.state_dir)
        yield node


@contextmanager
def _claimed(state_dir: Path) -> Iterator[None]:
    """The state folder belongs to this node until the block ends; the kernel sees to that, also when it is killed."""
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"another mycoswarm node keeps its state in {state_dir}",
                hint="end that one first, or give this one a folder of its own: node.state_dir in the configuration",
            ) from error
        yield
    finally:
        os.close(folder)


class _Node:
    def __init__(
        self,
        config: Config,
        store: Store,
        broker: Broker,
        transcriber: Transcriber,
        synthesizer: Synthesizer,
        generator: Generator | None,
    ) -> None:
        self.url = ""
        self._config = config
        self._store = store
        self._broker = broker
        self._transcriber = transcriber
        self._synthesizer = synthesizer
        self._generator = generator
        self._model: str | None = None
        self._started = time.monotonic()
        self._bus = Bus(broker.address, config.node.name)
        self._home = Home(self._bus, config.bus)
        self._timers = Timers(store)
        self._recordings = Recordings(config.state_dir / "recordings", config.recording)
        self._understanding = LiveUnderstanding(
            self._home,
            language=config.node.language,
            wake_phrases=[word.replace("_", " ") for word in config.satellite.wake_words],
        )
        self._voice = VoiceHub(
            node=config.node.name,
            conversation=lambda: self._conversation,
            judge=self._understanding.judge,
            transcriber=transcriber,
            synthesizer=synthesizer,
            keep_trace=store.save_trace,
            keep_audio=self._keep_audio if config.recording.enabled else None,
            keep_volume=self._keep_volume,
            kept_volume=self._kept_volume,
            wake_words=config.satellite.wake_words,
        )
        self._conversation = Conversation(
            understanding=self._understanding,
            home=self._home,
            timers=self._timers,
            satellites=self._voice,
            generator=generator,
            model_timeout_s=config.language_model.timeout_s,
        )
        self._satellite: Satellite | None = None

    async def serve(self, stop: asyncio.Event, *, demo_home: bool) -> None:
        """Run all services until `stop`; an error in one ends the node, so that its supervisor starts it anew."""
        self._satellite = self._own_satellite()
        await self._restore_settings()
        async with asyncio.TaskGroup() as services:
            tasks = [
                services.create_task(self._bus.run(), name="bus"),
                services.create_task(self._understanding.run(self._transcriber), name="understanding"),
                services.create_task(self._timers.run(self._announce), name="timers"),
                services.create_task(self._recordings.run(), name="recordings"),
                services.create_task(self._look_for_model(), name="language model"),
                services.create_task(self._spare_the_collector(), name="garbage collector"),
            ]
            if self._satellite is not None:
                tasks.append(services.create_task(self._satellite.run(), name="satellite"))
            log.info("the node %s is up: %s", self._config.node.name, self.url)
            if demo_home:
                flat = VirtualFlat(self._broker.address, prefix=self._config.bus.discovery_prefix)
                tasks.append(services.create_task(flat.run(), name="virtual flat"))
                words = FirstWords(self._config, self._synthesizer, self.url, ask=self._ask_audio)
                tasks.append(services.create_task(self._introduce(flat, words), name="first words"))
            await stop.wait()
            log.info("ending")
            for task in tasks:
                task.cancel()

    async def end_sessions(self) -> None:
        """Part from all satellites."""
        await self._voice.close()

    # ---- what the people's port shows

    def face(self) -> NodeFace:
        """The node as the people's port sees it."""
        return NodeFace(
            language=self._config.node.language,
            status=self._status,
            ask=self._ask,
            ask_audio=self._ask_audio,
            traces=self._store,
            entities=lambda: [(entity, self._home.state(entity.id)) for entity in self._home.entities.values()],
            timers=self._timers.all,
            set_muted=self._set_muted,
            voice=self._voice.handle,
        )

    def _status(self) -> Status:
        engines = {"transcriber": self._transcriber.name, "synthesizer": self._synthesizer.name}
        if self._generator is not None:
            engines["generator"] = self._generator.name
        return Status(
            version=__version__,
            node=self._config.node.name,
            url=self.url,
            roles=("hub", "edge") if self._satellite is not None else ("hub",),
            uptime_s=round(time.monotonic() - self._started, 1),
            broker=BrokerStatus(self._broker.address.kind, self._bus.connected),
            engines=engines,
            satellites=self._voice.connected,
            language_model=self._model,
            entities=len(self._home.entities),
        )

    async def _ask(self, text: str, *, context: Context, say: Say) -> Trace:
        recorder = TraceRecorder(uuid.uuid4().hex, node=self._config.node.name, source="text")
        recorder.mark("transcript")
        recorder.note(transcript=text)
        answer = await self._conversation.answer(text, context=context, recorder=recorder)
        try:
            async for sentence in answer.sentences:
                await say(sentence)
        except ConnectionError:
            recorder.note(outcome="cancelled")
            raise
        finally:
            await answer.close()
            await self._store.save_trace(recorder.trace())
        return recorder.trace()

    async def _ask_audio(self, wav: bytes, wake: bool) -> SpokenAnswer:
        pcm = await asyncio.to_thread(read_wav, wav)
        section = self._config.satellite
        result = await run_recording(
            pcm,
            url=f"{self.url.replace('http', 'ws', 1)}/api/voice",
            name=f"recording-{uuid.uuid4().hex[:8]}",
            detector=MicroWakeDetector(section.wake_words, section.sensitivity) if wake else None,
            vad=SileroVoiceActivity(),
            timeout_s=duration_s(pcm) + self._config.language_model.timeout_s + ANSWER_GRACE_S,
            area=section.area or None,
            language=self._config.node.language,
        )
        return SpokenAnswer(await self._trace_of(result), _wav_of(result))

    async def _trace_of(self, result: RecordingResult) -> Trace:
        """The trace of the last thing the recording said; raises `AudioError` when it said nothing to us."""
        if result.outcome == "wake_not_heard":
            phrases = " or ".join(f'"{word.replace("_", " ")}"' for word in self._config.satellite.wake_words)
            raise AudioError(
                f"no wake word was heard in the recording: {phrases} wakes this node",
                hint="--no-wake takes the whole recording for the question",
            )
        found = [await self._voice.trace_of(each, timeout_s=5.0) for each in result.utterance_ids]
        traces = [trace for trace in found if trace is not None]
        # The recording may end before it answers what it was asked back: then the question is what came of it.
        heard = [trace for trace in traces if trace.transcript or trace.outcome not in ("nothing_said", "cancelled")]
        trace = next(reversed(heard or traces), None)
        if trace is None:
            raise MycoswarmError(
                f"the recording got no answer ({result.outcome.replace('_', ' ')})", hint="mycoswarm doctor tells why"
            )
        return trace

    async def _set_muted(self, muted: bool) -> None:
        if self._satellite is None:
            raise MycoswarmError(
                "this node has no microphone and no speaker of its own",
                hint="satellite.microphone and satellite.speaker in the configuration are both none",
            )
        self._satellite.set_muted(muted)
        await self._store.set_setting(MUTED, muted)

    # ---- services

    def _own_satellite(self) -> Satellite | None:
        section = self._config.satellite
        if section.microphone == "none" and section.speaker == "none":
            return None
        try:
            return satellite_of_this_machine(self._config, url=f"{self.url.replace('http', 'ws', 1)}/api/voice")
        except EngineUnavailable as error:
            log.error("this machine cannot be a satellite: %s", error.for_person())
            return None

    async def _restore_settings(self) -> None:
        if self._satellite is not None and await self._setting(MUTED):
            log.info("the microphone is muted, as it was before; mycoswarm unmute listens again")
            self._satellite.set_muted(True)

    async def _kept_volume(self, satellite: str) -> int | None:
        volume = await self._setting(VOLUME + satellite)
        own = self._config.satellite.volume if satellite == self._config.node.name else None
        return volume if isinstance(volume, int) else own

    async def _setting(self, key: str) -> Any:
        try:
            return await self._store.setting(key)
        except StorageError as error:
            log.error("the setting %s is not known: %s", key, error)
            return None

    async def _announce(self, satellite: str, text: str) -> bool:
        """A timer that ended while the node was away is not told to a house whose satellites are not back yet."""
        left_s = self._started + RETURN_S - time.monotonic()
        if left_s > 0:
            await self._voice.wait_connected(satellite, timeout_s=left_s)
        return await self._voice.announce(satellite, text)

    async def _keep_volume(self, satellite: str, percent: int) -> None:
        with suppress(StorageError):  # said in the log; the volume is set all the same
            await self._store.set_setting(VOLUME + satellite, percent)

    async def _keep_audio(self, utterance_id: str, pcm: bytes) -> None:
        await self._recordings.save(utterance_id, pcm)

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

    async def _introduce(self, flat: VirtualFlat, words: FirstWords) -> None:
        try:
            async with asyncio.timeout(30.0):
                await flat.ready.wait()
                await self._home.settled()
                await self._understanding.ready.wait()
        except TimeoutError:
            log.error("the virtual flat did not come up within 30 s; mycoswarm doctor tells why")
            return
        await words.speak()


def _synthesizer(config: Config) -> Synthesizer | None:
    return _added("piper", voice_path=config.speech.piper_voice) if config.speech.piper_voice else None


def _transcriber(config: Config) -> Transcriber | None:
    return _added("faster-whisper", model_dir=config.speech.whisper_model) if config.speech.whisper_model else None


def _generator(config: Config) -> Generator | None:
    section = config.language_model
    return _added("ollama", url=section.url, model=section.model) if section.url else None


def _added(name: str, **settings: Any) -> Any:
    """An engine that a person added; without it the node speaks and hears with what came with the package."""
    manifest = next(each for each in ADDED_ENGINES if each.name == name)
    try:
        return build(manifest, **settings)
    except EngineUnavailable as error:
        log.error("%s cannot be used: %s", name, error.for_person())
        return None


def _wav_of(result: RecordingResult) -> bytes:
    return write_wav(result.reply_pcm, result.reply_rate) if result.reply_pcm else b""
