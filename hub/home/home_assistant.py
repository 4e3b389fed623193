"""A person's Home Assistant as a source of the home: what it has besides MQTT, and its areas and aliases.

What is known by MQTT already stays there, since that needs no Home Assistant to be up, and only takes over where Home
Assistant says that it is and what else it is called: both have the unique id of the discovery message.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from hub.home.component import Publication
from hub.home.discovery import DiscoveredEntity, described
from hub.home.entity import Entity
from hub.home.hass_entities import UNKNOWN, messages_of, options_of, service_of
from hub.home.hass_socket import HassError, HassSocket, TokenRefused, connected
from hub.home.hass_words import HassState
from hub.home.hass_words import Options as HassOptions
from hub.home.options import Options
from hub.home.own import ORIGIN
from hub.home.registry import Home
from swarm.access_token import access_token
from swarm.config import HomeAssistantSection
from swarm.errors import ConfigError, MalformedMessage, MycoswarmError

SOURCE = "home assistant"
RETRY_S = (1.0, 30.0)
"""Before the second attempt to connect, and at most."""
LOOK_FOR_TOKEN_S = 30.0
"""How often it is looked whether the token file holds another token than the one that was refused."""
GATHER_S = 0.3
"""After a change, so that several make one."""
AT_ONCE = 50
"""Entities looked at between two turns of the event loop."""
MAX_NAMES = 20
"""Aliases of one entity."""
CHANGES = ("area_registry_updated", "device_registry_updated", "entity_registry_updated")

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """Of Home Assistant's entity registry."""

    entity_id: str
    platform: str = ""
    unique_id: Any = None
    area_id: str | None = None
    device_id: str | None = None
    disabled_by: Any = None
    hidden_by: Any = None
    entity_category: Any = None
    name: str | None = None
    """What a person named it."""
    aliases: tuple[Any, ...] = ()

    @property
    def id_here(self) -> str:
        """The id that the entity has, or would have, with us: by MQTT that of its discovery message."""
        domain = self.entity_id.partition(".")[0]
        return f"{domain}.{self.unique_id}" if self.platform == "mqtt" else f"{domain}.{self.platform}_{self.unique_id}"


class HomeAssistant:
    """The source, and the line to what it knows of; `run` it."""

    def __init__(self, home: Home, section: HomeAssistantSection) -> None:
        self.why = ""
        """Why it is not there, for people; empty while it is."""
        self._home = home
        self._section = section
        self._socket: HassSocket | None = None
        self._states: dict[str, HassState] = {}
        """By Home Assistant's own ids."""
        self._entries: dict[str, Entry] = {}
        self._device_areas: dict[str, str] = {}
        self._own_devices: frozenset[str] = frozenset()
        self._areas: dict[str, str] = {}
        self._made: dict[str, tuple[HassOptions, DiscoveredEntity]] = {}
        self._said: dict[str, tuple[str, tuple[str, ...]]] = {}
        """Area and further names, by our ids, of what is known by MQTT."""
        self._complaints: set[str] = set()
        self._registry_changed = asyncio.Event()
        self._due = asyncio.Event()
        home.dress(self._dressed)
        home.on_change(self._due.set)

    # ---- the line

    @property
    def connected(self) -> bool:
        """See `Line`."""
        return self._socket is not None

    async def send(self, publication: Publication) -> None:
        """See `Line`; returns when Home Assistant has done it."""
        if self._socket is None:
            raise HassError("Home Assistant is not there")
        asked = service_of(publication)
        await self._socket.ask(
            "call_service",
            domain=asked.domain,
            service=asked.service,
            service_data=asked.data,
            target={"entity_id": asked.entity_id},
        )

    # ---- the connection

    async def run(self) -> None:
        """Keep the home in step with Home Assistant, and connected to it; until cancelled."""
        pause_s = RETRY_S[0]
        while True:
            token = ""
            try:
                token = await asyncio.to_thread(access_token, self._section)
                async with connected(self._section.url, token) as socket:
                    pause_s = RETRY_S[0]
                    await self._serve(socket)
            except TokenRefused as error:
                place = self._section.token_file or "home_assistant.token in the configuration, and start anew"
                hint = (
                    f"make a long-lived access token (your profile in Home Assistant, Security); it goes into {place}"
                )
                self._complain(f"{error}: {self._section.url}", hint)
                await self._until_another(token)
            except MycoswarmError as error:
                self._complain(str(error), error.hint)
            finally:
                self._lost()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S[1])

    async def _serve(self, socket: HassSocket) -> None:
        """Returns never; raises `HassError` when the connection ends."""
        work = [asyncio.create_task(socket.run()), asyncio.create_task(self._keep_in_step(socket))]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for each in work:
                if each.done():
                    each.result()
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _keep_in_step(self, socket: HassSocket) -> None:
        await socket.subscribe("state_changed", self._on_state)
        for change in CHANGES:
            await socket.subscribe(change, lambda _: self._registry_has_changed())
        await socket.ask("get_states", take=self._take_states)
        self._registry_changed.set()
        while True:
            self._due.clear()
            if self._registry_changed.is_set():
                self._registry_changed.clear()
                await self._read_registries(socket)
            await self._rebuild(tell_all=self._socket is None)
            if self._socket is None:
                self._socket, self.why = socket, ""
                _log.info("connected to Home Assistant at %s: %d entities", self._section.url, len(self._made))
            await self._due.wait()
            await asyncio.sleep(GATHER_S)

    def _lost(self) -> None:
        if self._socket is not None:
            self._socket = None
            self._home.line_lost(self)

    async def _until_another(self, refused: str) -> None:
        """Home Assistant counts, and may ban, who tries with wrong tokens."""
        while True:
            await asyncio.sleep(LOOK_FOR_TOKEN_S)
            try:
                if await asyncio.to_thread(access_token, self._section) != refused:
                    return
            except ConfigError:
                continue

    def _complain(self, what: str, hint: str) -> None:
        if what != self.why:
            _log.error("%s%s", what, f" ({hint})" if hint else "")
        self.why = what

    # ---- what comes

    def _registry_has_changed(self) -> None:
        self._registry_changed.set()
        self._due.set()

    def _take_states(self, result: object) -> None:
        self._states = {state.entity_id: state for state in _read(result, HassState)}
        self._due.set()

    def _on_state(self, data: object) -> None:
        if not isinstance(data, dict) or not isinstance(entity_id := data.get("entity_id"), str):
            return
        found = _read([data.get("new_state")], HassState)
        if not found:
            self._states.pop(entity_id, None)
            self._due.set()
            return
        [state] = found
        before, self._states[entity_id] = self._states.get(entity_id), state
        made = self._made.get(entity_id)
        if made is None:  # new, of no use, or not usable as it was
            if before is None or (entity_id in self._complaints and before.attributes != state.attributes):
                self._due.set()
            return
        happened = before is not None and before.state not in ("unavailable", state.state)
        self._tell(state, just_now=happened and state.state not in UNKNOWN)
        now = options_of(state)
        if now is None or not now[1].items() <= made[0].items():
            self._due.set()

    def _tell(self, state: HassState, *, just_now: bool = False) -> None:
        for topic, payload in messages_of(state):
            self._home.hear_line(self, topic, payload, just_now=just_now)

    async def _read_registries(self, socket: HassSocket) -> None:
        areas = await socket.ask("config/area_registry/list")
        devices = await socket.ask("config/device_registry/list")
        entries = {each.entity_id: each for each in _read(await socket.ask("config/entity_registry/list"), Entry)}
        wanted = [key for key, each in entries.items() if each.disabled_by is None]
        more = await socket.ask("config/entity_registry/get_entries", entity_ids=wanted) if wanted else {}
        for each in _read(more.values() if isinstance(more, dict) else (), Entry):
            entries[each.entity_id] = each
        named = {each.get("area_id"): each.get("name") for each in _objects(areas)}
        self._areas = {key: name for key, name in named.items() if isinstance(key, str) and isinstance(name, str)}
        self._device_areas = {
            str(each.get("id")): area for each in _objects(devices) if isinstance(area := each.get("area_id"), str)
        }
        self._own_devices = frozenset(str(each.get("id")) for each in _objects(devices) if _is_ours(each))
        self._entries = entries

    # ---- what the home gets to know of it

    async def _rebuild(self, *, tell_all: bool) -> None:
        """`tell_all`: also how those are that stay as they were, since nobody listened for a while."""
        announced = self._home.known_beside(SOURCE)
        made: dict[str, tuple[HassOptions, DiscoveredEntity]] = {}
        said: dict[str, tuple[str, tuple[str, ...]]] = {}
        for number, (entity_id, state) in enumerate(list(self._states.items())):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            entry = self._entries.get(entity_id)
            if entry is not None and entry.id_here in announced:
                said[entry.id_here] = self._area_of(entry), _names(entry)
            elif self._is_wanted(entry) and (one := self._one(state, entry)) is not None:
                made[entity_id] = one
        before, self._made = self._made, made
        self._home.set_source(SOURCE, {found.entity.id: found for _, found in made.values()}, self)
        for entity_id, (_, found) in made.items():
            new = entity_id not in before or before[entity_id][1] is not found
            if (new or tell_all) and entity_id in self._states:
                self._tell(self._states[entity_id])
        if said != self._said:
            self._said = said
            self._home.redress()

    def _is_wanted(self, entry: Entry | None) -> bool:
        if entry is None:
            return True
        hidden = entry.disabled_by or entry.hidden_by or entry.entity_category
        return not hidden and entry.device_id not in self._own_devices

    def _one(self, state: HassState, entry: Entry | None) -> tuple[HassOptions, DiscoveredEntity] | None:
        found = options_of(state)
        if found is None:
            return None
        component, plain = found
        area = self._area_of(entry) if entry is not None else ""
        unique_id = entry.id_here.partition(".")[2] if entry is not None else f"ha_{state.entity_id}"
        options = {**plain, "unique_id": unique_id, "device": {"suggested_area": area}}
        names = _names(entry) if entry is not None else ()
        before = self._made.get(state.entity_id)
        key = {**options, "aliases": names}
        if before is not None and before[0] == key:
            return before
        try:
            made = described(state.entity_id, component, Options(options), unique_id, state.entity_id)
        except MalformedMessage as error:
            if state.entity_id not in self._complaints and len(self._complaints) < 1000:
                self._complaints.add(state.entity_id)
                _log.warning("%s of Home Assistant is not usable: %s", state.entity_id, error)
            return None
        aliases = tuple(dict.fromkeys((*made.entity.aliases, *names)))
        made = dataclasses.replace(made, entity=msgspec.structs.replace(made.entity, aliases=aliases))
        return key, made

    def _area_of(self, entry: Entry) -> str:
        return self._areas.get(entry.area_id or self._device_areas.get(entry.device_id or "", ""), "")

    def _dressed(self, entity: Entity) -> Entity:
        if entity.id not in self._said:
            return entity
        area, names = self._said[entity.id]
        known = {entity.name.casefold(), *(each.casefold() for each in entity.aliases)}
        more = tuple(each for each in names if each.casefold() not in known)
        return msgspec.structs.replace(entity, area=area or entity.area, aliases=(*entity.aliases, *more))


def _names(entry: Entry) -> tuple[str, ...]:
    """What else it is called: people's own name for it, and aliases."""
    found = (each for each in (entry.name, *entry.aliases) if isinstance(each, str) and each.strip())
    return tuple(" ".join(each.split())[:200] for each in list(found)[:MAX_NAMES])


def _is_ours(device: dict[str, Any]) -> bool:
    """A node of a swarm, which Home Assistant knows by what the node said itself."""
    return device.get("manufacturer") == ORIGIN


def _objects(result: object) -> list[dict[str, Any]]:
    return [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []


def _read(result: object, kind: type[T]) -> list[T]:
    """Those that make sense."""
    found: list[T] = []
    for each in result if isinstance(result, Iterable) else ():
        try:
            found.append(msgspec.convert(each, kind))
        except msgspec.ValidationError:
            continue
    return found
