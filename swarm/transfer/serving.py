"""The routes of the nodes' port by which other nodes get files of this one.

::

    GET /v1/content/{sha256}            one piece: Range: bytes=FIRST-LAST (RFC 9110, 14), within one piece
    GET /v1/content/{sha256}/pieces     the digests of all pieces, 32 bytes each

Both are answered with 404 for what is not here whole, and with 503 and Retry-After while somebody speaks at this node
or others are being served.
"""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from swarm.node_api import Refused
from swarm.transfer.content import PIECE_BYTES
from swarm.transfer.folder import ContentFolder
from swarm.transfer.pace import Pace

CONTENT_PATH = "/v1/content"
AT_ONCE = 4
"""Pieces that are on their way out; half a megabyte of memory each."""
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{1,12})")
_NOT_HERE = "that file is not here"


class ContentRoutes:
    """For `swarm.node_api.build_nodes_app`."""

    def __init__(self, folder: ContentFolder, pace: Pace) -> None:
        self._folder = folder
        self._pace = pace
        self._sending = 0

    def routes(self) -> list[web.RouteDef]:
        """Both."""
        return [
            web.get(f"{CONTENT_PATH}/{{sha256}}", self._piece),
            web.get(f"{CONTENT_PATH}/{{sha256}}/pieces", self._digests),
        ]

    async def _digests(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._folder.digests, request.match_info["sha256"])
        if found is None:
            raise Refused(404, _NOT_HERE)
        return web.Response(body=found, content_type="application/octet-stream")

    async def _piece(self, request: web.Request) -> web.StreamResponse:
        sha256 = request.match_info["sha256"]
        asked, size = _RANGE.fullmatch(request.headers.get("Range", "")), self._folder.size(sha256)
        if size is None:
            raise Refused(404, _NOT_HERE)
        first, last = (int(asked[1]), int(asked[2])) if asked else (0, size - 1)
        if not first <= last < size or last - first >= PIECE_BYTES:
            raise Refused(416, f"no range within {size} bytes and of {PIECE_BYTES} at most", hint="ask for one piece")
        if self._pace.speaking():
            raise Refused(503, "somebody speaks here", retry_after_s=1)
        if self._sending >= AT_ONCE:
            raise Refused(503, "others are being served", retry_after_s=1)
        self._sending += 1
        try:
            body = await asyncio.to_thread(self._folder.piece, sha256, first, last + 1)
            if body is None:
                raise Refused(404, _NOT_HERE)
            answer = web.Response(
                body=body,
                status=206,
                headers={"Content-Range": f"bytes {first}-{last}/{size}"},
                content_type="application/octet-stream",
            )
            await answer.prepare(request)
            await answer.write_eof()
            return answer
        finally:
            self._sending -= 1
