"""How fast a transfer may go: below what voice needs, and not at all while somebody speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

RATE_BYTES_S = 8_000_000
"""64 Mbit/s: a bundle of 330 MB in 41 s, and a third of a Raspberry Pi's core for TLS and SHA-256."""
LOOK_EVERY_S = 0.25
"""How often it is looked whether it is quiet again."""


class Pace:
    """One for all transfers that come to a node, so that together they keep to the rate."""

    def __init__(self, speaking: Callable[[], bool], *, rate_bytes_s: float = RATE_BYTES_S) -> None:
        """`speaking`: an utterance is under way, at this node's satellite or at one that it serves."""
        self.speaking = speaking
        self._rate = rate_bytes_s
        self._free_at = 0.0

    async def wait(self, size: int) -> None:
        """Until it is quiet and so many bytes may come."""
        loop = asyncio.get_running_loop()
        while self.speaking():  # noqa: ASYNC110 nothing tells that an utterance has ended at all satellites
            await asyncio.sleep(LOOK_EVERY_S)
        begins = max(loop.time(), self._free_at)
        self._free_at = begins + size / self._rate
        await asyncio.sleep(begins - loop.time())
