"""A Wyoming satellite of others at a hub of ours: its microphone and speaker are behind a connection, everything else
(endpointing, follow-ups, announcements, moving to another hub) is a satellite like this machine's own.

The protocol is that of wyoming-satellite (github.com/rhasspy/wyoming-satellite), with us in Home Assistant's place: we
connect and say `run-satellite`; it says `run-pipeline`, from the stage `asr` when it heard a wake word by itself, from
`wake` when we are to listen for one, and streams its microphone until it is told the transcript or an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from wyoming.asr import Transcribe, Transcript
from wyoming.error import Error
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.tts import Synthesize
from wyoming.vad import VoiceStarted, VoiceStopped
from wyoming.wake import Detection as Detected

from edge import satellite as machine
from edge.endpointing import SpeechBegan
from edge.line import Connector
from edge.remote_devices import Link, RemoteMicrophone, RemoteSpeaker
from edge.service import Happening, Satellite
from swarm.engine import Detection, VoiceActivityDetector, WakeDetector
from swarm.errors import EngineError, MycoswarmError
from swarm.messages import NoReply, SpeechEnded, Transcribed
from swarm.wyoming.audio import PcmReader
from swarm.wyoming.events import read_event, text_in, write_event
from swarm.wyoming.others import OtherService

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 10.0
PING_S, SILENT_S = 2.0, 5.0
"""As Home Assistant does: a satellite that answered pings and then says nothing for so long is gone."""
MAX_STAGE = 100

log = logging.getLogger(__name__)


class RemoteSatellite:
    """The satellite at `url` (`tcp://host:port`), answered by the hub that `hub` leads to. `run` until cancelled."""

    def __init__(
        self,
        url: str,
        *,
        hub: Connector,
        name: str,
        area: str,
        language: str,
        detector: Callable[[], WakeDetector],
        vad: Callable[[], VoiceActivityDetector],
        volume: int = 100,
    ) -> None:
        self._service = OtherService(url)
        self._hub = hub
        self._name = name
        self._area = area
        self._language = language
        self._detector = detector
        self._vad = vad
        self._volume = volume

    async def run(self) -> None:
        """Connect, and again whenever the connection breaks."""
        retry_s, complained = FIRST_RETRY_S, False
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._serve()
            except* (MycoswarmError, OSError, EOFError) as errors:
                why = _first(errors)
                log.log(
                    logging.DEBUG if complained else logging.WARNING,
                    "no connection with the Wyoming satellite %s (%s): %s; trying again",
                    self._name,
                    self._service.url,
                    why,
                )
                complained = True
            if asyncio.get_running_loop().time() - began > LAST_RETRY_S:
                retry_s, complained = FIRST_RETRY_S, False
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def _serve(self) -> None:
        reader, writer = await self._service.connect()
        link = Link(reader, writer)
        try:
            await _Session(self._name, link, self._satellite_over).run()
        finally:
            with suppress(OSError):
                await write_event(PauseSatellite().event(), writer, timeout_s=0.5)
            writer.transport.abort()

    def _satellite_over(self, session: _Session) -> Satellite:
        return Satellite(
            hub=self._hub,
            name=self._name,
            source=session.microphone,
            sink=session.speaker,
            detector=_WhileAsked(self._detector(), session),
            vad=self._vad(),
            area=self._area or None,
            language=self._language,
            volume=self._volume,
            watch=session.saw,
            may_follow_up=lambda: not session.wakes_itself,
        )


class _Session:
    """One connection."""

    def __init__(self, name: str, link: Link, satellite: Callable[[_Session], Satellite]) -> None:
        self.wakes_itself = False
        """It listens for its wake word, and streams only after it."""
        self.microphone = RemoteMicrophone(name, self._listening)
        self.speaker = RemoteSpeaker(name, link)
        self._name = name
        self._link = link
        self._streaming = False
        """It waits to hear what it said, and streams until then."""
        self._restarting = False
        self._satellite = satellite(self)

    async def run(self) -> None:
        """Until it breaks. Raises a group of `MycoswarmError`, `OSError`, `EOFError`."""
        self._link.post(Describe().event())
        self._link.post(RunSatellite().event())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._satellite.run())
            group.create_task(self._link.write())
            group.create_task(self._ping())
            group.create_task(self._read())

    def _listening(self) -> bool:
        return self._satellite.phase == "listening"

    # ---- what it says

    async def _read(self) -> None:
        reader = PcmReader()
        answers_pings = known = False
        while True:
            try:
                async with asyncio.timeout(SILENT_S if answers_pings else None):
                    event = await read_event(self._link.reader)
            except TimeoutError:
                raise EngineError("it went silent") from None
            if event is None:
                raise EngineError("it hung up; is another program connected to it?")
            if not known:
                known = True
                log.info("the Wyoming satellite %s is connected", self._name)
            answers_pings = answers_pings or event.type == "pong"
            match event.type:
                case "ping":
                    self._link.post(Pong(text_in(event, "text", limit=1_000)).event())
                case "run-pipeline":
                    self._run_pipeline(text_in(event, "start_stage", limit=MAX_STAGE))
                case "audio-chunk":
                    self.microphone.put(reader.feed(event))
                case "audio-stop":
                    self.microphone.put(reader.finish())
                    self.microphone.stop()
                case "played":
                    self.speaker.played.set()

    def _run_pipeline(self, start_stage: str | None) -> None:
        if start_stage == "wake":
            self.wakes_itself = False
        elif start_stage == "asr":
            self.wakes_itself = True
            self._restarting = True
            try:
                self._satellite.listen()
            finally:
                self._restarting = False

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self._link.post(Ping().event())

    # ---- what it is told

    def saw(self, happening: Happening) -> None:
        """Everything that happens to the satellite; what the other end has to know is sent."""
        match happening:
            case machine.BeginUtterance():
                self._streaming = True
                if happening.wake_word:
                    self._link.post(Detected(happening.wake_word).event())
                self._link.post(Transcribe(language=None).event())
            case SpeechBegan():
                self._link.post(VoiceStarted().event())
            case machine.EndUtterance() if not self._restarting:
                self._link.post(VoiceStopped().event())
                if happening.reason in ("nothing_said", "cancelled"):
                    self._end_stream("nothing was said")
            case Transcribed() if self._streaming:
                self._streaming = False
                self._link.post(Transcript(happening.text).event())
            case SpeechEnded() if happening.text:
                self._link.post(Synthesize(happening.text).event())
            case NoReply():
                self._end_stream("there is no answer")
            case machine.PlayCue(cue="error"):
                self._end_stream("the hub does not answer")

    def _end_stream(self, why: str) -> None:
        """Let it stop to stream, and listen for its wake word again."""
        if self._streaming:
            self._streaming = False
            self._link.post(Error(text=why, code="stt-no-text-recognized").event())


class _WhileAsked:
    """A `WakeDetector` for satellites that have none."""

    def __init__(self, detector: WakeDetector, session: _Session) -> None:
        self._detector = detector
        self._session = session

    def process(self, pcm: bytes) -> Detection | None:
        """See `WakeDetector`."""
        return None if self._session.wakes_itself else self._detector.process(pcm)

    def reset(self) -> None:
        """See `WakeDetector`."""
        self._detector.reset()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
