"""The people's port, as far as it says where things are and what they are called.

::

    POST /api/home/area     {"entity": "Kitchen lamp", "area": "Kitchen"}; null leaves it to the device
    POST /api/home/aliases  {"entity": "Kitchen lamp", "add": ["sun"], "remove": []}

`entity` is an id, a name or an alias; the answer is the entity as it is then. Errors are JSON: `error`, `hint`.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from hub.home.labels import MAX_ALIASES, MAX_WORDS, Labels, UnfitWords, UnknownEntity
from swarm.node_api import Refused, errors_as_json, json_answer

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2 * MAX_WORDS)]
Names = Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_ALIASES)]
T = TypeVar("T")


class _Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entity: Text
    area: Text | None


class _Aliases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entity: Text
    add: Names = ()
    remove: Names | None = ()
    """None: all that people gave."""


class LabelsApi:
    """The routes."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def routes(self) -> list[web.RouteDef]:
        """For the application of the people's port."""
        return [web.post("/api/home/area", self._area), web.post("/api/home/aliases", self._aliases)]

    async def _area(self, request: web.Request) -> web.StreamResponse:
        return await errors_as_json(request, self._place)

    async def _aliases(self, request: web.Request) -> web.StreamResponse:
        return await errors_as_json(request, self._rename)

    async def _place(self, request: web.Request) -> web.StreamResponse:
        asked = _parsed(await request.read(), _Area)
        try:
            return json_answer(await self._labels.place(asked.entity, asked.area))
        except (UnknownEntity, UnfitWords) as error:
            raise _refused(error) from error

    async def _rename(self, request: web.Request) -> web.StreamResponse:
        asked = _parsed(await request.read(), _Aliases)
        try:
            return json_answer(await self._labels.rename(asked.entity, add=asked.add, remove=asked.remove))
        except (UnknownEntity, UnfitWords) as error:
            raise _refused(error) from error


def _parsed(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = 'send JSON such as {"entity": "Kitchen lamp", "area": "Kitchen"}, or "add": ["sun"] in its place'
        raise Refused(400, f"not a word about a thing: {error}", hint=hint) from error


def _refused(error: UnknownEntity | UnfitWords) -> Refused:
    return Refused(404 if isinstance(error, UnknownEntity) else 400, str(error), hint=error.hint)
