"""What people and their programs have said at satellites: the request, checked, and what became of it.

The same request comes by the command line (`POST /api/say` at the people's port) and by the bus (`hub.mqtt_api`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from aiohttp import web

from swarm.announcement import MAX_SOUND_S, MAX_TEXT, Announcement, Name, Percent, Report, Until, Whom
from swarm.audio import read_wav
from swarm.codec import MAX_TEXT_BYTES
from swarm.engine import RATE
from swarm.errors import AudioError, MalformedMessage, MycoswarmError
from swarm.node_api import errors_as_json, json_answer

MEDIA = "media"
"""Folder of sounds, inside the state folder of the node that is asked."""
MAX_FILE_BYTES = 32 * 1024 * 1024
"""One minute of stereo at 48 kHz has 12 MB."""
MAX_LISTED = 20


class SayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`text` or `media`, and where and how."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    media: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """Name of a file in the folder `media`: WAV, or what else libsndfile reads, of a minute at most."""
    to: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)] | Name = ()
    """Names of satellites or rooms; none: all."""
    but: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)] | Name = ()
    """Satellites or rooms that are left out."""
    chime: bool = True
    volume: Percent | None = None
    """For this alone."""
    interrupt: bool = False
    language: Annotated[str, msgspec.Meta(max_length=35)] = ""


class SayResult(msgspec.Struct, frozen=True):
    """What became of it at each satellite that was meant."""

    reports: tuple[Report, ...]
    missed: tuple[str, ...] = ()
    """Names that were asked for and that no satellite answers to."""


class Announce(Protocol):
    """`swarm.node.announcing.Announcing.say`."""

    async def __call__(self, announcement: Announcement, whom: Whom, *, until: Until = "sent") -> tuple[Report, ...]:
        """Say it; what became of it at each satellite."""


class Saying:
    """`places` are name and room of the satellites that are known here, to tell people whom they can name."""

    def __init__(self, announce: Announce, media: Path, places: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self._announce = announce
        self._media = media
        self._places = places

    async def say(self, request: SayRequest, *, until: Until) -> SayResult:
        """Raises `MalformedMessage` or `AudioError` when the request is wrong, `MycoswarmError` when nobody is there
        to say it."""
        text = " ".join(request.text.split())
        if bool(text) == bool(request.media):
            raise MalformedMessage("say either a text or a media file", hint='such as {"text": "dinner is ready"}')
        sound = await asyncio.to_thread(self._sound, request.media) if request.media else b""
        announcement = Announcement(
            text or request.media,
            sound,
            RATE,
            chime=request.chime,
            volume=request.volume,
            interrupt=request.interrupt,
            language=request.language,
        )
        whom = Whom(names=_names(request.to), but=_names(request.but))
        reports = await self._announce(announcement, whom, until=until)
        if not reports:
            raise self._nobody(whom)
        return SayResult(reports, whom.missed(reports))

    def _sound(self, name: str) -> bytes:
        if name != Path(name).name or name.startswith(".") or "\0" in name:
            raise MalformedMessage(f"{name!r} is no name of a file in {self._media}", hint="give a name without a path")
        path = self._media / name
        try:
            size = path.stat().st_size if path.is_file() else -1
        except OSError:
            size = -1
        if size < 0:
            raise MalformedMessage(f"there is no sound {name!r}", hint=f"copy it into {self._media}")
        if size > MAX_FILE_BYTES:
            raise AudioError(f"{path} is larger than {MAX_FILE_BYTES // 1024**2} MB", hint="cut it")
        return read_wav(path, max_s=MAX_SOUND_S)

    def _nobody(self, whom: Whom) -> MycoswarmError:
        known = self._places()
        if not known and not whom.names:
            return MycoswarmError("no satellite is connected", hint="mycoswarm doctor tells why")
        return nobody_answers(", ".join(whom.names) or "all but those that were left out", known)

    def routes(self) -> list[web.RouteDef]:
        """For the people's port."""
        return [web.post("/api/say", self._say)]

    async def _say(self, request: web.Request) -> web.StreamResponse:
        return await errors_as_json(request, self._asked)

    async def _asked(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > MAX_TEXT_BYTES:
            raise MalformedMessage("the request is too long")
        try:
            return json_answer(await self.say(parse_say(body), until="played"))
        except AudioError as error:
            raise MalformedMessage(str(error), hint=error.hint) from error


def nobody_answers(wanted: str, places: Sequence[tuple[str, str]]) -> MycoswarmError:
    """For a name that no satellite has; `places` are name and room of those that are known."""
    known = ", ".join(f"{name} ({area})" if area else name for name, area in places[:MAX_LISTED])
    return MycoswarmError(f"no satellite answers to: {wanted}", hint=f"connected here: {known or 'none'}")


def parse_say(body: bytes) -> SayRequest:
    """Raises `MalformedMessage`."""
    try:
        return msgspec.json.decode(body, type=SayRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"nothing to say: {error}", hint='such as {"text": "dinner is ready"}') from error


def _names(names: tuple[str, ...] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
