"""Voice between nodes: the routes of the nodes' port by which a satellite reaches a hub of another machine, and by
which a hub has something said at satellites that are connected elsewhere.

::

    GET  /v1/voice            a voice session (`swarm.messages`), a WebSocket; hubs only
    POST /v1/voice/announce   say something unasked at satellites that are connected there
    POST /v1/voice/listen     have satellites that are connected there listen without a wake word

All are for nodes that are hub or edge. Whoever is revoked is cut off in the middle, as everywhere on this port.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
from aiohttp import web

from swarm.announcement import Announcement, Report, Until, Whom
from swarm.errors import MalformedMessage
from swarm.node_api import Refused, asking_node, json_answer

VOICE_PATH = "/v1/voice"
ANNOUNCE_PATH = "/v1/voice/announce"
LISTEN_PATH = "/v1/voice/listen"
HAVE_VOICE = frozenset({"hub", "edge"})
"""Roles of nodes with satellites."""


class Announce(msgspec.Struct, frozen=True):
    """Asks another node to say something at satellites that are connected there."""

    announcement: Announcement
    whom: Whom = Whom()
    until: Until = "sent"


class Announced(msgspec.Struct, frozen=True):
    """What became of it at each that was meant."""

    reports: tuple[Report, ...]


class ListenHere(msgspec.Struct, frozen=True):
    """Asks another node to have satellites that are connected there listen."""

    whom: Whom


class ListenReport(msgspec.Struct, frozen=True, order=True):
    """What became of it at one satellite."""

    satellite: str
    area: str
    outcome: Literal["listening", "muted", "failed"]


class Listening(msgspec.Struct, frozen=True):
    """What became of it at each that was meant."""

    reports: tuple[ListenReport, ...]


class Door(Protocol):
    """What a voice assistant does for other nodes."""

    @property
    def open(self) -> bool:
        """Whether it can be spoken to by now."""

    async def serve(self, request: web.Request, node: str) -> web.StreamResponse:
        """One session of a satellite of `node`."""

    async def announce_here(self, announcement: Announcement, whom: Whom, until: Until) -> tuple[Report, ...]:
        """Say it at satellites that are connected to this node; what became of it at each."""

    async def listen_here(self, whom: Whom) -> tuple[ListenReport, ...]:
        """Have satellites that are connected to this node listen; what became of it at each."""


class VoiceRoutes:
    """`door` is None on a node without a voice assistant."""

    def __init__(self, *, is_hub: Callable[[], bool], roles_of: Callable[[str], Sequence[str]]) -> None:
        self.door: Door | None = None
        self._is_hub = is_hub
        self._roles_of = roles_of

    def routes(self) -> list[web.RouteDef]:
        """For `swarm.node_api.build_nodes_app`."""
        return [
            web.get(VOICE_PATH, self._voice),
            web.post(ANNOUNCE_PATH, self._announce),
            web.post(LISTEN_PATH, self._listen),
        ]

    async def _voice(self, request: web.Request) -> web.StreamResponse:
        node = self._asking(request)
        if self.door is None or not self._is_hub():
            raise Refused(404, "this node is no hub", hint="ask one that is: mycoswarm nodes shows them")
        if not self.door.open:
            raise Refused(503, "this hub has just started", retry_after_s=1.0)
        return await self.door.serve(request, node)

    async def _announce(self, request: web.Request) -> web.Response:
        self._asking(request)
        try:
            asked = msgspec.json.decode(await request.read(), type=Announce)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(f"no announcement: {error}") from error
        if self.door is None:
            return json_answer(Announced(()))
        return json_answer(Announced(await self.door.announce_here(asked.announcement, asked.whom, asked.until)))

    async def _listen(self, request: web.Request) -> web.Response:
        self._asking(request)
        try:
            asked = msgspec.json.decode(await request.read(), type=ListenHere)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(f"nobody to listen: {error}") from error
        return json_answer(Listening(() if self.door is None else await self.door.listen_here(asked.whom)))

    def _asking(self, request: web.Request) -> str:
        node = asking_node(request).node_id
        if HAVE_VOICE.isdisjoint(self._roles_of(node)):
            raise Refused(403, "only hubs and satellites have a voice here", hint="swarm.roles makes a node one")
        return node
