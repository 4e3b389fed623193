"""What a person sets of this machine's own satellite while it runs, and how it is: kept through restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from edge.service import Satellite
from edge.wake_word import MicroWakeDetector
from swarm.config import WAKE_WORDS, SatelliteSection
from swarm.errors import MycoswarmError, StorageError
from swarm.node_state import SatelliteView
from swarm.store import Store

MUTED, WAKE_WORDS_SET, SENSITIVITY = "muted", "wake_words", "sensitivity"

log = logging.getLogger("swarm.node")


class SatelliteSettings:
    """`restore` before the satellite runs. Setting something raises `MycoswarmError`: `StorageError` when it counts
    until the next restart only."""

    def __init__(
        self,
        satellite: Satellite,
        section: SatelliteSection,
        store: Store,
        *,
        woken_by: Callable[[tuple[str, ...]], None],
    ) -> None:
        """`woken_by` hears which words wake it from now on."""
        self._satellite = satellite
        self._store = store
        self._woken_by = woken_by
        self._configured = section.wake_words
        self._words = section.wake_words
        self._sensitivity = section.sensitivity

    def view(self) -> SatelliteView:
        """How it is, for people."""
        satellite = self._satellite
        return SatelliteView(
            phase=satellite.phase,
            microphone=satellite.has_microphone,
            speaker=satellite.has_speaker,
            muted=satellite.muted,
            volume=satellite.volume,
            wake_word=_named(self._words),
            wake_words=self._choices(),
            sensitivity=round(100 * self._sensitivity),
        )

    async def restore(self) -> None:
        """As it was before."""
        if await self._kept(MUTED):
            log.info("the microphone is muted, as it was before; mycoswarm unmute listens again")
            self._satellite.set_muted(True)
        words, sensitivity = await self._kept(WAKE_WORDS_SET), await self._kept(SENSITIVITY)
        if words not in [choice.split(", ") for choice in self._choices()]:
            words = list(self._words)
        if not isinstance(sensitivity, int | float) or not 0 <= sensitivity <= 1:
            sensitivity = self._sensitivity
        if (tuple(words), sensitivity) != (self._words, self._sensitivity):
            await self._listen_for(tuple(words), sensitivity)

    async def set_muted(self, muted: bool) -> None:
        """Whether the microphone is listened to."""
        self._satellite.set_muted(muted)
        await self._store.set_setting(MUTED, muted)

    async def set_volume(self, percent: int) -> None:
        """Of playback, 0 to 100; the hub keeps it."""
        self._satellite.set_volume(percent)

    async def set_wake_word(self, choice: str) -> None:
        """One of the view's `wake_words`."""
        if choice not in self._choices():
            raise MycoswarmError(f'"{choice:.80}" is no wake word', hint=f"there are: {'; '.join(self._choices())}")
        words = tuple(choice.split(", "))
        await self._listen_for(words, self._sensitivity)
        await self._store.set_setting(WAKE_WORDS_SET, list(words))

    async def set_sensitivity(self, percent: int) -> None:
        """0 wakes rarely, 100 wakes easily."""
        await self._listen_for(self._words, percent / 100)
        await self._store.set_setting(SENSITIVITY, percent / 100)

    async def _listen_for(self, words: tuple[str, ...], sensitivity: float) -> None:
        detector = await asyncio.to_thread(MicroWakeDetector, words, sensitivity)
        self._satellite.listen_for(detector)
        self._words, self._sensitivity = words, sensitivity
        self._woken_by(words)

    def _choices(self) -> tuple[str, ...]:
        """Each word alone, and those of the configuration together."""
        return (*((_named(self._configured),) if len(self._configured) != 1 else ()), *WAKE_WORDS)

    async def _kept(self, key: str) -> Any:
        try:
            return await self._store.setting(key)
        except StorageError as error:
            log.error("the setting %s is not known: %s", key, error)
            return None


def _named(words: tuple[str, ...]) -> str:
    return ", ".join(words)
