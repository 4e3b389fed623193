"""Recordings of what was heard, to find out why it was misunderstood. Off unless a person says so."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import wave
from collections.abc import Callable
from pathlib import Path

from swarm.config import RecordingSection
from swarm.engine import RATE

EXPIRE_EVERY_S = 3600.0
"""How often what is older than `keep_days` is looked for."""

_log = logging.getLogger(__name__)


class Recordings:
    """WAV files named for their utterance in `folder`, bounded in size and age by `limits`."""

    def __init__(self, folder: Path, limits: RecordingSection, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._lock = asyncio.Lock()

    async def save(self, utterance_id: str, pcm: bytes) -> Path | None:
        """Keep the 16 kHz `pcm` of one utterance; None when recording is off or failed. Never raises."""
        if not self._limits.enabled or not pcm:
            return None
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", utterance_id):
            _log.warning("not recorded: %.80r is no name for a file", utterance_id)
            return None
        return await self._in_thread(lambda: self._write(utterance_id, pcm))

    async def run(self) -> None:
        """Delete what expired, now and every hour, until cancelled; also when recording was switched off since."""
        while True:
            await self._in_thread(lambda: self._prune(room_for=0))
            await asyncio.sleep(EXPIRE_EVERY_S)

    async def _in_thread(self, work: Callable[[], Path | None]) -> Path | None:
        async with self._lock:
            try:
                return await asyncio.to_thread(work)
            except OSError as error:
                _log.error("cannot keep recordings in %s: %s", self._folder, error)
                return None

    def _write(self, utterance_id: str, pcm: bytes) -> Path | None:
        if len(pcm) > self._max_bytes:
            _log.warning("not recorded: %s alone is larger than recording.max_mb", utterance_id)
            return None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prune(room_for=len(pcm))
        path = self._folder / f"{utterance_id}.wav"
        unfinished = path.with_suffix(".part")
        try:
            with (
                os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
                wave.open(file) as recording,
            ):
                recording.setnchannels(1)
                recording.setsampwidth(2)
                recording.setframerate(RATE)
                recording.writeframes(pcm)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return path

    def _prune(self, *, room_for: int) -> None:
        """Delete what expired, then the oldest until the rest and `room_for` bytes fit."""
        if not self._folder.is_dir():
            return
        files = sorted((file.stat().st_mtime, file) for file in self._folder.iterdir() if file.suffix in _OURS)
        total = sum(file.stat().st_size for _, file in files) + room_for
        expired_before = self._clock() - self._limits.keep_days * 86_400
        for modified, file in files:
            if modified >= expired_before and total <= self._max_bytes:
                break
            total -= file.stat().st_size
            file.unlink()

    @property
    def _max_bytes(self) -> int:
        return self._limits.max_mb * 1_000_000


_OURS = (".wav", ".part")
"""Anything else in the folder was put there by a person and is left alone."""
