"""Where the satellite's sound goes: a speaker, a recording, nowhere. One thing is played at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from edge.echo import EchoCanceller
from edge.sound_device import (
    close_stream,
    find_device,
    first_channel,
    in_sound_thread,
    look_again,
    open_stream,
    sound_library,
)
from swarm.audio import Resampler, duration_s, resampled
from swarm.engine import RATE
from swarm.errors import AudioDeviceError

FirstSample = Callable[[float], None]
"""Called on the event loop with the monotonic time at which the first sample was handed to the device."""


class AudioSink(Protocol):
    """Plays one stream of pcm after the other: `start`, `write` as often as there is more, then `drain` or `stop`."""

    name: str

    async def start(self, rate: int, on_first_sample: FirstSample) -> None:
        """Prepare for pcm in `rate`; raises `AudioDeviceError`."""

    async def write(self, pcm: bytes) -> None:
        """Hand over the next piece; waits while enough is buffered. Raises `AudioDeviceError`."""

    async def drain(self) -> None:
        """Wait until the last sample was played. Raises `AudioDeviceError`."""

    def stop(self) -> None:
        """Be quiet at once and forget what is buffered."""

    async def close(self) -> None:
        """Give the device back."""


class CollectingSink:
    """Keeps what is played, up to `MAX_S`; with `paced` it takes the time that a speaker would, else none."""

    MAX_S = 600.0

    def __init__(self, *, paced: bool = False) -> None:
        self.name = "recording"
        self.played: list[tuple[int, bytearray]] = []
        """Rate and pcm of each thing that was played."""
        self._paced = paced
        self._on_first_sample: FirstSample | None = None
        self._ends_at = 0.0

    def pcm(self, rate: int) -> bytes:
        """Everything that was played, one after the other, in one rate."""
        return b"".join(resampled(bytes(pcm), own_rate, rate) for own_rate, pcm in self.played)

    async def start(self, rate: int, on_first_sample: FirstSample) -> None:
        """See `AudioSink`."""
        self.played.append((rate, bytearray()))
        self._on_first_sample = on_first_sample

    async def write(self, pcm: bytes) -> None:
        """See `AudioSink`."""
        now = time.monotonic()
        if self._on_first_sample is not None and pcm:
            self._on_first_sample(now)
            self._on_first_sample, self._ends_at = None, now
        rate, kept = self.played[-1]
        if sum(duration_s(pcm, rate) for rate, pcm in self.played) < self.MAX_S:
            kept += pcm
        self._ends_at = max(self._ends_at, now) + duration_s(pcm, rate)
        await self._wait_until(self._ends_at - Speaker.BUFFER_S)

    async def drain(self) -> None:
        """See `AudioSink`."""
        await self._wait_until(self._ends_at)

    def stop(self) -> None:
        """See `AudioSink`."""

    async def close(self) -> None:
        """See `AudioSink`."""

    async def _wait_until(self, at: float) -> None:
        if self._paced and (wait_s := at - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)


class NoSink:
    """Plays nothing, at once: a satellite without a speaker."""

    name = "none"

    def __init__(self) -> None:
        self._on_first_sample: FirstSample | None = None

    async def start(self, rate: int, on_first_sample: FirstSample) -> None:
        """See `AudioSink`."""
        self._on_first_sample = on_first_sample

    async def write(self, pcm: bytes) -> None:
        """See `AudioSink`."""
        if self._on_first_sample is not None and pcm:
            self._on_first_sample(time.monotonic())
            self._on_first_sample = None

    async def drain(self) -> None:
        """See `AudioSink`."""

    def stop(self) -> None:
        """See `AudioSink`."""

    async def close(self) -> None:
        """See `AudioSink`."""


class Speaker:
    """A sound device. `device` is `auto` or a part of its name.

    The device stays open for `LINGER_S` after the last sound: opening takes longer than an answer should.
    """

    BUFFER_S = 0.3
    """How much is handed over ahead: enough for a busy event loop, little enough for a volume change to be heard."""
    LATENCY_S = 0.04
    """Asked of PortAudio. Less makes gaps when Python is busy."""
    LINGER_S = 5.0

    def __init__(self, device: str = "auto", *, echo: EchoCanceller | None = None) -> None:
        """`echo` is told what is played."""
        self._echo = echo
        self.name = f"speaker ({device})"
        self._device = device
        self._output: _Output | None = None
        self._resampler: Resampler | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def start(self, rate: int, on_first_sample: FirstSample) -> None:
        """See `AudioSink`. Opens the device unless it is open and fits."""
        self._linger(stop=True)
        async with self._lock:
            if self._output is None or self._output.wanted_rate != rate or self._output.broken:
                await self._close_output()
                output = _Output(self.LATENCY_S, self._echo)
                await in_sound_thread(lambda: output.open(self._device, rate), "the speaker")
                self._output, self.name = output, output.name
        self._resampler = Resampler(rate, self._output.rate)
        self._output.begin(on_first_sample)

    async def write(self, pcm: bytes) -> None:
        """See `AudioSink`."""
        assert self._output is not None and self._resampler is not None, "write before start"
        await self._output.put(self._resampler.feed(pcm), self.BUFFER_S)

    async def drain(self) -> None:
        """See `AudioSink`."""
        assert self._output is not None and self._resampler is not None, "drain before start"
        await self._output.put(self._resampler.finish(), self.BUFFER_S)
        await self._output.drain()
        self._linger()

    def stop(self) -> None:
        """See `AudioSink`."""
        if self._output is not None:
            self._output.clear()
            self._linger()

    async def close(self) -> None:
        """See `AudioSink`."""
        self._linger(stop=True)
        async with self._lock:
            await self._close_output()

    def _linger(self, *, stop: bool = False) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if not stop:
            self._closing = asyncio.get_running_loop().call_later(self.LINGER_S, self._close_soon)

    def _close_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self.close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_output(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            await output.close()


class _Output:
    """One open PortAudio stream and the bytes it takes next."""

    def __init__(self, latency_s: float, echo: EchoCanceller | None) -> None:
        self._echo = echo
        self._loop = asyncio.get_running_loop()
        self._latency_s = latency_s
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._on_first_sample: FirstSample | None = None
        self._taken = asyncio.Event()
        self._stream: Any = None
        self._channels = 1
        self.broken = False
        self.name = ""
        self.rate = self.wanted_rate = 0

    def open(self, device_name: str, rate: int) -> None:
        """Blocks; raises `AudioDeviceError`."""
        sound = sound_library()
        look_again()
        # Microphone and speaker on one clock have one rate, and the microphone's is the one that matters.
        device = find_device(device_name, "output", rate if self._echo is None else RATE)
        self.name, self.rate, self.wanted_rate, self._channels = device.name, device.rate, rate, device.channels
        try:
            self._stream = open_stream(
                sound.RawOutputStream(
                    samplerate=device.rate,
                    device=device.index,
                    channels=device.channels,
                    dtype="int16",
                    latency=self._latency_s,
                    callback=self._fill,
                    finished_callback=self._finished,
                )
            )
        except sound.PortAudioError as error:
            raise AudioDeviceError(
                f'the speaker "{device.name}" cannot be opened: {error}', hint="is another program using it?"
            ) from error

    def begin(self, on_first_sample: FirstSample) -> None:
        """A new sound follows."""
        with self._lock:
            self._on_first_sample = on_first_sample

    async def put(self, pcm: bytes, ahead_s: float) -> None:
        """Append; returns once no more than `ahead_s` is buffered."""
        if self._channels == 2:
            pcm = _doubled(pcm)
        with self._lock:
            self._buffer += pcm
        await self._until_buffered(ahead_s)

    async def drain(self) -> None:
        """Returns when all was taken and the device's own buffer ran out."""
        await self._until_buffered(0.0)
        await asyncio.sleep(min(0.5, float(self._stream.latency)))

    def clear(self) -> None:
        """Forget what is buffered."""
        with self._lock:
            self._buffer.clear()
            self._on_first_sample = None

    async def close(self) -> None:
        """Give the device back."""
        self.clear()
        await close_stream(self._stream)

    async def _until_buffered(self, ahead_s: float) -> None:
        limit = round(ahead_s * self.rate) * 2 * self._channels
        while True:
            self._taken.clear()
            if self.broken:
                raise AudioDeviceError(f'the speaker "{self.name}" went away', hint="plug it in again")
            with self._lock:
                if len(self._buffer) <= limit:
                    return
            try:
                async with asyncio.timeout(2.0):
                    await self._taken.wait()
            except TimeoutError:
                self.broken = True

    def _fill(self, out: Any, _frames: int, _time: Any, _status: Any) -> None:
        """On the device's thread: hand over what there is, and silence for the rest."""
        with self._lock:
            piece = bytes(self._buffer[: len(out)])
            del self._buffer[: len(piece)]
            on_first_sample = self._on_first_sample if piece else None
            if piece:
                self._on_first_sample = None
        out[: len(piece)] = piece
        if len(piece) < len(out):
            out[len(piece) :] = bytes(len(out) - len(piece))
        if self._echo is not None:
            self._echo.played(bytes(out) if self._channels == 1 else first_channel(bytes(out), 2), self.rate)
        if piece:
            self._tell(self._taken.set)
        if on_first_sample is not None:
            at = time.monotonic()
            self._tell(lambda: on_first_sample(at))

    def _finished(self) -> None:
        """On the device's thread: the stream stopped, by us or because the device is gone."""
        self.broken = True
        self._tell(self._taken.set)

    def _tell(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop was closed while the device was still running
            self.broken = True


def _doubled(pcm: bytes) -> bytes:
    import numpy as np

    return np.repeat(np.frombuffer(pcm, dtype="<i2"), 2).tobytes()
