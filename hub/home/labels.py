"""Where things are and what they are called, by a person's own word: it wins over what devices say of themselves.

Kept in the swarm's ledger, so that every hub knows, or in the node's own database where it is alone.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Protocol

import msgspec

from hub.home.entity import Entity
from hub.home.registry import MAX_ENTITIES, Home
from hub.spoken_words import spoken_form
from swarm.errors import MycoswarmError, StorageError
from swarm.ledger.entries import MAX_KEY
from swarm.ledger.errors import LedgerError
from swarm.ledger.ledger import Ledger

MAX_WORDS = 200
"""Characters of an area or alias."""
MAX_ALIASES = 20
"""Of one entity."""
SETTING = "entity labels"
"""Under which a node that is alone keeps them all."""
PREFIX = "entity/"
"""Of their keys among the swarm's settings."""

_log = logging.getLogger(__name__)

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORDS)]


class UnknownEntity(MycoswarmError):
    """There is no such entity, or more than one."""


class UnfitWords(MycoswarmError):
    """An area or alias that nobody could say."""


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person said of one entity."""

    entity: str
    """Its id."""
    area: Words | None = None
    """None: where the device says it is."""
    aliases: Annotated[tuple[Words, ...], msgspec.Meta(max_length=MAX_ALIASES)] = ()
    """Besides those that it has by itself."""


class LabelStore(Protocol):
    """Where labels are kept."""

    async def open(self) -> None:
        """Before anything else; never raises."""

    def labels(self) -> Mapping[str, Label]:
        """All, by entity id."""

    async def put(self, label: Label) -> None:
        """Keep it in place of the entity's former one; one without content is removed. Raises `StorageError`."""

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when somebody else changed them."""


class Labels:
    """Dresses the home's entities. `open` it."""

    def __init__(self, home: Home, store: LabelStore) -> None:
        self._home = home
        self._store = store
        self._labels: Mapping[str, Label] = {}
        home.dress(self._dressed)
        store.subscribe(self._take)

    async def open(self) -> None:
        """Know what was said before; never raises."""
        await self._store.open()
        self._take()

    async def place(self, name: str, area: str | None) -> Entity:
        """Say in which area an entity is, None to leave that to the device; `name` is its id, its name or an alias.
        The entity as it is then. Raises `UnknownEntity`, `UnfitWords`, `StorageError`."""
        label = self._label_of(name)
        if area is not None:
            area = _sayable(area)
            area = next((each for each in self._home.areas() if each.casefold() == area.casefold()), area)
        return await self._put(msgspec.structs.replace(label, area=area))

    async def rename(self, name: str, *, add: Iterable[str] = (), remove: Iterable[str] | None = ()) -> Entity:
        """Give an entity further names, and take some of those that people gave, None for all. As `place`."""
        label = self._label_of(name)
        away = {each.casefold() for each in (label.aliases if remove is None else remove)}
        given = [each for each in label.aliases if each.casefold() not in away]
        if unknown := away - {each.casefold() for each in label.aliases}:
            raise UnfitWords(
                f"{label.entity} was not given the alias {', '.join(sorted(unknown))}",
                hint=f"it was given: {', '.join(label.aliases) or 'none'}; what the device says itself cannot be taken",
            )
        for each in map(_sayable, add):
            if each.casefold() not in (other.casefold() for other in given):
                given.append(each)
        if len(given) > MAX_ALIASES:
            raise UnfitWords(f"{label.entity} would have {len(given)} aliases", hint=f"{MAX_ALIASES} at most")
        return await self._put(msgspec.structs.replace(label, aliases=tuple(given)))

    async def _put(self, label: Label) -> Entity:
        if len(self._labels) >= MAX_ENTITIES and label.entity not in self._labels:
            raise StorageError(f"there are labels of {MAX_ENTITIES} things already")
        await self._store.put(label)
        self._take()
        return self._home.entities.get(label.entity) or Entity(label.entity, "", label.entity)

    def _take(self) -> None:
        before, self._labels = self._labels, dict(self._store.labels())
        if before != self._labels:
            self._home.redress()

    def _dressed(self, entity: Entity) -> Entity:
        label = self._labels.get(entity.id)
        if label is None:
            return entity
        names = {entity.name.casefold(), *(each.casefold() for each in entity.aliases)}
        more = tuple(each for each in label.aliases if each.casefold() not in names)
        area = entity.area if label.area is None else label.area
        return msgspec.structs.replace(entity, area=area, aliases=(*entity.aliases, *more))

    def _label_of(self, name: str) -> Label:
        known = self._labels.get(name)
        if known is not None:
            return known
        entity = find_entity(name, self._home.entities)
        return self._labels.get(entity.id) or Label(entity.id)


def find_entity(name: str, entities: Mapping[str, Entity]) -> Entity:
    """The entity of this id, name or alias. Raises `UnknownEntity` with what else could be meant."""
    if name in entities:
        return entities[name]
    wanted = spoken_form(name)
    by_name: dict[str, dict[str, Entity]] = {}
    for entity in entities.values():
        for each in (entity.name, *entity.aliases, entity.id):
            by_name.setdefault(spoken_form(each) or each.casefold(), {})[entity.id] = entity
    found = by_name.get(wanted or name.casefold(), {})
    called = {key: entity for key, entity in found.items() if spoken_form(entity.name) == wanted} or found
    if len(called) == 1:
        return next(iter(called.values()))
    if called:
        raise UnknownEntity(
            f"{len(called)} things are called {name:.{MAX_WORDS}}",
            hint=f"say which by its id: {', '.join(sorted(called)[:10])}",
        )
    near = difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.5)
    names = dict.fromkeys(next(iter(by_name[each].values())).name for each in near)
    hint = f"did you mean {' or '.join(names)}?" if names else "mycoswarm home lists everything there is"
    raise UnknownEntity(f"nothing here is called {name:.{MAX_WORDS}}", hint=hint)


def _sayable(text: str) -> str:
    words = " ".join(text.split())
    if len(words) > MAX_WORDS or not words.isprintable() or not spoken_form(words):
        raise UnfitWords(f"{words[:80]!r} cannot be said", hint=f"letters or digits, {MAX_WORDS} characters at most")
    return words


class Settings(Protocol):
    """As `swarm.store.Store`."""

    async def setting(self, key: str) -> Any:
        """Raises `StorageError`."""

    async def set_setting(self, key: str, value: Any) -> None:
        """Raises `StorageError`."""


class OwnLabels:
    """`LabelStore` of a node that is alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._labels: dict[str, Label] = {}

    async def open(self) -> None:
        """See `LabelStore`."""
        try:
            rows = await self._settings.setting(SETTING) or []
        except StorageError as error:
            _log.error("areas and aliases that people set are not known: %s", error)
            return
        self._labels = {label.entity: label for row in rows if (label := _read(row))}

    def labels(self) -> Mapping[str, Label]:
        """See `LabelStore`."""
        return self._labels

    async def put(self, label: Label) -> None:
        """See `LabelStore`."""
        labels = {**self._labels, label.entity: label}
        if label == Label(label.entity):
            del labels[label.entity]
        await self._settings.set_setting(SETTING, [msgspec.to_builtins(each) for each in labels.values()])
        self._labels = labels

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Nobody else changes them."""


class SharedLabels:
    """`LabelStore` of a swarm."""

    def __init__(self, ledger: Ledger, before: OwnLabels) -> None:
        """`before`: where this machine kept them when it was alone; they are moved from there."""
        self._ledger = ledger
        self._before = before

    async def open(self) -> None:
        """See `LabelStore`."""
        await self._before.open()
        for label in list(self._before.labels().values()):
            try:
                if _key(label.entity) not in self._ledger.settings:
                    await self.put(label)
                await self._before.put(Label(label.entity))
            except StorageError as error:  # the ledger has yet to come to this node, or the disk is full
                _log.warning("what was said of %s is known to this machine only: %s", label.entity, error)

    def labels(self) -> Mapping[str, Label]:
        """See `LabelStore`."""
        shared = (_read(row) for key, row in self._ledger.settings.items() if key.startswith(PREFIX))
        return {**self._before.labels(), **{label.entity: label for label in shared if label}}

    async def put(self, label: Label) -> None:
        """See `LabelStore`."""
        try:
            if label == Label(label.entity):
                await self._ledger.remove("settings", _key(label.entity))
            else:
                await self._ledger.put("settings", _key(label.entity), msgspec.to_builtins(label))
        except LedgerError as error:
            raise StorageError(str(error), hint=error.hint) from error

    def subscribe(self, changed: Callable[[], None]) -> None:
        """See `LabelStore`."""
        self._ledger.subscribe(lambda names: changed() if "settings" in names else None)


def _key(entity_id: str) -> str:
    key = PREFIX + entity_id
    return key if len(key) <= MAX_KEY else PREFIX + hashlib.sha256(entity_id.encode()).hexdigest()


def _read(row: object) -> Label | None:
    try:
        return msgspec.convert(row, Label)
    except msgspec.ValidationError:
        return None
