"""Where the satellite's audio comes from: a microphone, a recording, raw pcm on standard input.

All yield 16 kHz pcm in frames of 20 ms (640 bytes); `frames()` may be called again after it ended or failed.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import IO, Any, Protocol

from edge.echo import EchoCanceller
from edge.sound_device import (
    DeviceFormat,
    close_stream,
    find_device,
    first_channel,
    in_sound_thread,
    look_again,
    open_stream,
    sound_library,
)
from swarm.audio import Resampler
from swarm.engine import RATE
from swarm.errors import AudioDeviceError, AudioError

FRAME_S = 0.02
FRAME_BYTES = 2 * round(RATE * FRAME_S)


class AudioSource(Protocol):
    """A stream of 16 kHz pcm."""

    name: str
    lost_frames: int
    """How many frames of 20 ms were thrown away because nobody took them in time."""
    burst_frames: int
    """How many frames may be kept to be delivered at once. Waking up costs more than listening for a wake word does:
    80 ms at a time need half the processor of 20 ms. May be set at any time; starts as 1."""
    is_device: bool
    """What it delivers is heard now, whenever it is opened: while a person wants it muted it is closed."""

    def frames(self) -> AsyncGenerator[bytes, None]:
        """Frames of 640 bytes. Ends when there is no more; raises `AudioError`."""


class Microphone:
    """A sound device. `device` is `auto` or a part of its name."""

    QUEUE_FRAMES = 100
    """Two seconds; when the event loop is stuck for longer, the oldest frames are dropped and counted."""
    SILENT_AFTER_S = 2.0
    """A device that delivers nothing for this long is gone."""
    is_device = True

    def __init__(self, device: str = "auto", *, echo: EchoCanceller | None = None) -> None:
        """`echo` takes out of it what this machine's own speaker plays."""
        self._echo = echo
        self.name = f"microphone ({device})"
        self.lost_frames = 0
        self.burst_frames = 1
        self._device = device

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Opens the device; raises `AudioDeviceError` when there is none, or when it is unplugged."""
        capture = _Capture(self.QUEUE_FRAMES, self._echo)
        stream, device = await in_sound_thread(lambda: self._open(capture), "the microphone")
        self.name = device.name
        try:
            lost_before = self.lost_frames
            while True:
                capture.burst_frames = self.burst_frames
                try:
                    frame = capture.take() or await asyncio.wait_for(capture.next_frame(), self.SILENT_AFTER_S)
                except TimeoutError:
                    frame = b""
                if not frame:
                    raise AudioDeviceError(
                        f'the microphone "{device.name}" went away', hint="plug it in again; it is looked for"
                    )
                self.lost_frames = lost_before + capture.lost_frames
                yield frame
        finally:
            await close_stream(stream)

    def _open(self, capture: _Capture) -> tuple[Any, DeviceFormat]:
        sound = sound_library()
        look_again()
        device = find_device(self._device, "input", RATE)
        capture.convert_from(device)
        try:
            stream = open_stream(
                sound.RawInputStream(
                    samplerate=device.rate,
                    blocksize=round(device.rate * FRAME_S),
                    device=device.index,
                    channels=device.channels,
                    dtype="int16",
                    callback=lambda data, _frames, _time, _status: capture.put(bytes(data)),
                    finished_callback=capture.end,
                )
            )
        except sound.PortAudioError as error:
            raise AudioDeviceError(
                f'the microphone "{device.name}" cannot be opened: {error}', hint="is another program using it?"
            ) from error
        return stream, device


class _Capture:
    """A bounded queue from the sound device's thread to the event loop."""

    def __init__(self, max_frames: int, echo: EchoCanceller | None = None) -> None:
        self._echo = echo
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._frames: deque[bytes] = deque()
        self._max_frames = max_frames
        self._wake_pending = False
        self._ended = False
        self._resampler: Resampler | None = None
        self._channels = 1
        self._rest = b""
        self.lost_frames = 0
        self.burst_frames = 1

    def convert_from(self, device: DeviceFormat) -> None:
        """Say how the device delivers; called before it starts."""
        self._channels = device.channels
        self._resampler = Resampler(device.rate, RATE) if device.rate != RATE else None
        if self._echo is not None:
            self._echo.begin()

    def put(self, data: bytes) -> None:
        """On the device's thread."""
        if self._channels > 1:
            data = first_channel(data, self._channels)
        if self._resampler is not None:
            data = self._resampler.feed(data)
        data = self._rest + data
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        for start in range(0, whole, FRAME_BYTES):
            if len(self._frames) >= self._max_frames:
                self._frames.popleft()
                self.lost_frames += 1
            frame = data[start : start + FRAME_BYTES]
            self._frames.append(frame if self._echo is None else self._echo.cleaned(frame))
        if len(self._frames) >= self.burst_frames:
            self._wake()

    def end(self) -> None:
        """On the device's thread: it stopped."""
        self._ended = True
        self._wake()

    def take(self) -> bytes:
        """The next frame; empty when there is none now."""
        try:
            return self._frames.popleft()
        except IndexError:
            return b""

    async def next_frame(self) -> bytes:
        """The next frame, waited for; empty when the device stopped."""
        while not (frame := self.take()):
            if self._ended:
                return b""
            self._ready.clear()
            self._wake_pending = False
            if len(self._frames) < self.burst_frames and not self._ended:
                await self._ready.wait()
        return frame

    def _wake(self) -> None:
        if self._wake_pending:
            return
        self._wake_pending = True
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the loop was closed while the device was still running
            self._ended = True


class RecordingSource:
    """16 kHz pcm from memory (`swarm.audio.read_wav` reads files).

    `paced`: each frame comes when a microphone would have captured it, by `clock`; else as fast as it is taken.
    `then_silence`: digital silence follows without end, so that what was said last can be understood. `begin`: nothing
    comes before it is set.
    """

    is_device = False

    def __init__(
        self,
        pcm: bytes,
        *,
        paced: bool = True,
        then_silence: bool = False,
        begin: asyncio.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = "recording"
        self.lost_frames = 0
        self.burst_frames = 1
        self.exhausted = asyncio.Event()
        """Set when the last frame of the recording itself was taken."""
        self._pcm = pcm
        self._paced = paced
        self._then_silence = then_silence
        self._begin = begin
        self._clock = clock

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The recording, its last frame filled up with silence."""
        if self._begin is not None:
            await self._begin.wait()
        started = self._clock()
        number = 0
        while number * FRAME_BYTES < len(self._pcm) or self._then_silence:
            burst = range(number, number + self.burst_frames)
            number = burst.stop
            # Without pacing everybody else still gets a turn.
            await asyncio.sleep(max(0.0, started + number * FRAME_S - self._clock()) if self._paced else 0)
            for start in (frame * FRAME_BYTES for frame in burst):
                yield self._pcm[start : start + FRAME_BYTES].ljust(FRAME_BYTES, b"\0")
                if start + FRAME_BYTES >= len(self._pcm):
                    self.exhausted.set()
        self.exhausted.set()


class StreamSource:
    """Raw 16 kHz pcm from an open file: a pipe such as standard input, or a regular file.

    It is taken no faster than real time (plus 5 %, so that a writer whose clock is fast never builds up a backlog).
    """

    PACE = 1.05
    is_device = False

    def __init__(self, file: IO[bytes], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = str(getattr(file, "name", "stream"))
        self.lost_frames = 0
        self.burst_frames = 1
        self._file = file
        self._clock = clock

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Until the writer closes its end; a last part of a frame is dropped."""
        next_at, in_burst = self._clock(), 0
        async for frame in self._raw_frames():
            in_burst += 1
            if in_burst >= self.burst_frames:
                if (wait_s := next_at - self._clock()) > 0:
                    await asyncio.sleep(wait_s)
                else:
                    next_at = self._clock()
                next_at += in_burst * FRAME_S / self.PACE
                in_burst = 0
            yield frame

    async def _raw_frames(self) -> AsyncGenerator[bytes, None]:
        try:
            regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        except (OSError, ValueError) as error:
            raise AudioError(f"{self.name} cannot be read: {error}") from error
        if regular:
            while len(frame := self._file.read(FRAME_BYTES)) == FRAME_BYTES:
                yield frame
            return
        reader = asyncio.StreamReader(limit=8 * FRAME_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._file
        )
        try:
            while True:
                try:
                    yield await reader.readexactly(FRAME_BYTES)
                except asyncio.IncompleteReadError:
                    return
        finally:
            transport.close()
