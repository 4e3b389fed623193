"""Gets a file from whichever nodes have it.

One piece at a time, from one source until it fails: on a LAN one source fills the line, and which one is first is left
to chance, so that many nodes that want the same do not all ask the same. A source that is gone, has no such file or is
busy is left for a while; one that gave something else than was asked for is not asked again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from swarm.certificates import NodeId
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.peer_session import PeerRefused, PeerSession, read_bounded, refusal_of
from swarm.transfer.content import MAX_DIGESTS_BYTES, PIECE_BYTES, Content, Digests
from swarm.transfer.folder import ContentFolder
from swarm.transfer.pace import Pace
from swarm.transfer.serving import CONTENT_PATH

PIECE_S = 30.0
"""For one piece: 17 kB/s."""
LEAVE_S = 5.0
"""So long a source that failed is left; a busy one for as long as it says, up to this."""
LOOK_EVERY_S = 0.5

_log = logging.getLogger(__name__)


class Fetching:
    """One file on its way here. `run` it; `position` may be read meanwhile."""

    def __init__(
        self,
        content: Content,
        folder: ContentFolder,
        pace: Pace,
        sources: Callable[[], Sequence[NodeId]],
        session: Callable[[NodeId], PeerSession],
    ) -> None:
        """`sources` are nodes that may have it, asked for again and again; `session` as `Peers[node]`."""
        self.content = content
        self.position = 0
        """Bytes that are here and checked."""
        self._folder = folder
        self._pace = pace
        self._sources = sources
        self._session = session
        self._wrong: set[NodeId] = set()
        self._left_until: dict[NodeId, float] = {}
        self._current: NodeId | None = None

    async def run(self) -> Path:
        """Until it is here, whole and checked; where. Waits for sources as long as there is none.

        Raises `StorageError` when the disk is full or broken, `MalformedMessage` when the content is not what its
        description says. Whatever ends it, what came stays and is gone on with by the next.
        """
        if self._folder.has(self.content):
            self.position = self.content.size
            return self._folder.folder / self.content.sha256
        digests = await self._digests()
        arriving = await asyncio.to_thread(self._folder.begin, self.content, digests)
        try:
            while not arriving.whole:
                self.position = self.content.piece_range(arriving.next)[0]
                start, stop = self.content.piece_range(arriving.next)
                await self._pace.wait(stop - start)
                node, piece = await self._ask("", (start, stop), stop - start)
                if not await asyncio.to_thread(arriving.add, piece):
                    self._distrust(node, f"piece {arriving.next} of {self.content.sha256:.12} is not what it should be")
            whole = await asyncio.to_thread(arriving.finish)
            self.position = self.content.size
            return whole
        finally:
            arriving.close()

    async def _digests(self) -> Digests:
        while True:
            node, data = await self._ask("/pieces", None, MAX_DIGESTS_BYTES)
            try:
                return Digests(self.content, data)
            except MalformedMessage as error:
                self._distrust(node, str(error))

    async def _ask(self, what: str, wanted: tuple[int, int] | None, limit: int) -> tuple[NodeId, bytes]:
        """From the first source that gives something."""
        headers = {"Range": f"bytes={wanted[0]}-{wanted[1] - 1}"} if wanted else None
        while True:
            node = await self._source()
            try:
                async with self._session(node).request(
                    "GET", f"{CONTENT_PATH}/{self.content.sha256}{what}", headers=headers, timeout_s=PIECE_S
                ) as response:
                    body = await read_bounded(response, max(limit, PIECE_BYTES))
                    if response.status not in (200, 206):
                        raise refusal_of(response, body)
            except PeerRefused as error:
                self._leave(node, min(error.retry_after_s or LEAVE_S, LEAVE_S), error)
            except (MycoswarmError, TimeoutError) as error:
                self._leave(node, LEAVE_S, error)
            else:
                return node, body

    async def _source(self) -> NodeId:
        """The one before as long as it does, else any."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            fit = [
                node for node in self._sources() if node not in self._wrong and self._left_until.get(node, 0.0) <= now
            ]
            if self._current in fit:
                return self._current
            if fit:
                self._current = random.choice(fit)
                return self._current
            await asyncio.sleep(LOOK_EVERY_S)

    def _leave(self, node: NodeId, for_s: float, why: Exception) -> None:
        _log.debug("%s gives nothing of %.12s now: %s", node, self.content.sha256, why)
        self._current = None
        self._left_until[node] = asyncio.get_running_loop().time() + for_s

    def _distrust(self, node: NodeId, why: str) -> None:
        _log.warning("%s is not asked for this file again: %s", node, why)
        self._current = None
        self._wrong.add(node)
