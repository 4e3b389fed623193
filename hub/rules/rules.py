"""The rules of the home: made, listed, switched off and on, deleted, and kept where all hubs see them."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from hub.intent import Context
from hub.rules.reading import Draft, NotRead
from hub.rules.rule import MAX_RULES, Ran, Rule
from swarm.errors import MycoswarmError, StorageError

RAN = ".ran"
"""Behind a rule's id: the key under which is kept when it ran last."""

_log = logging.getLogger(__name__)


class RuleStore(Protocol):
    """Where rules are kept, by key. Each raises `StorageError` when it cannot."""

    async def save_rule(self, key: str, value: Mapping[str, Any]) -> None:
        """Insert or replace; holds only what JSON can."""

    async def delete_rule(self, key: str) -> None:
        """Forget one; nothing happens when there is none."""

    async def rules(self) -> Mapping[str, Any]:
        """All that are stored, as they were saved."""


class MemoryRules:
    """Keeps rules no longer than the process."""

    def __init__(self) -> None:
        self._rows: dict[str, Any] = {}

    async def save_rule(self, key: str, value: Mapping[str, Any]) -> None:
        """See `RuleStore`."""
        self._rows[key] = value

    async def delete_rule(self, key: str) -> None:
        """See `RuleStore`."""
        self._rows.pop(key, None)

    async def rules(self) -> Mapping[str, Any]:
        """See `RuleStore`."""
        return dict(self._rows)


@dataclass(frozen=True)
class Made:
    """What became of a draft."""

    rule: Rule
    saved: bool = True
    """False when the database could not be written: it works, but a restart loses it."""
    existed: bool = False
    """There was such a rule already, and it is this one."""


class Rules:
    """All rules. Belongs to the event loop; what changes is there at once, whether or not it can be saved."""

    def __init__(
        self,
        store: RuleStore,
        *,
        read: Callable[[str, Context], Draft | NotRead],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`read` understands a sentence in the home as it is now. `clock`: Unix seconds."""
        self._store = store
        self.read = read
        self._clock = clock
        self._rules: dict[str, Rule] = {}
        self._ran: dict[str, Ran] = {}
        self._unsaved: set[str] = set()
        self._removed: set[str] = set()
        """Gone here, and perhaps still in the store."""
        self._damaged: set[str] = set()
        self._changes = 0
        self._listeners: list[Callable[[], None]] = []

    # ---- seeing

    def all(self) -> tuple[Rule, ...]:
        """By number."""
        return tuple(sorted(self._rules.values(), key=lambda rule: (rule.number, rule.made_at, rule.id)))

    def get(self, rule_id: str) -> Rule | None:
        """The rule of this id."""
        return self._rules.get(rule_id)

    def find(self, wanted: str) -> tuple[Rule, ...]:
        """Those that have this number, or whose id begins so."""
        wanted = wanted.strip().removeprefix("#")
        if wanted.isdigit() and (numbered := [rule for rule in self.all() if rule.number == int(wanted)]):
            return tuple(numbered)
        return tuple(rule for rule in self.all() if len(wanted) >= 4 and rule.id.startswith(wanted))

    def ran(self, rule_id: str) -> Ran | None:
        """When the rule ran last, as far as this hub knows."""
        return self._ran.get(rule_id)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each change."""
        self._listeners.append(listener)

    # ---- changing

    async def add(self, drafts: Sequence[Draft], context: Context) -> tuple[Made, ...]:
        """Make rules of all drafts. One that says the same as a rule that is there becomes no second one. Raises
        `TooManyRules`, and then makes none."""
        made: list[Made] = []
        new: list[Rule] = []
        for draft in drafts:
            same = next((rule for rule in (*self.all(), *new) if _is_same(rule, draft, context)), None)
            if same is None:
                new.append(self._numbered(draft, context, taken={rule.number for rule in (*self.all(), *new)}))
            made.append(Made(same or new[-1], existed=same is not None))
        if len(self._rules) + len(new) > MAX_RULES:
            raise TooManyRules
        saved = {rule.id: await self._put(rule) for rule in new}
        return tuple(Made(each.rule, saved.get(each.rule.id, True), each.existed) for each in made)

    async def set_enabled(self, rule: Rule, enabled: bool) -> Rule:
        """Switch it on or off."""
        changed = msgspec.structs.replace(rule, enabled=enabled)
        await self._put(changed)
        return changed

    async def remove(self, rule: Rule) -> None:
        """Delete it for good."""
        self._rules.pop(rule.id, None)
        self._ran.pop(rule.id, None)
        self._removed.add(rule.id)
        self._tell()
        try:
            await self._store.delete_rule(rule.id)
            await self._store.delete_rule(rule.id + RAN)
            self._removed.discard(rule.id)
        except StorageError as error:
            _log.error("a rule could not be removed from the database: %s", error)

    async def note_run(self, rule: Rule, ran: Ran, *, save: bool) -> None:
        """It runs, or it ran. `save`: also for the other hubs, and for after a restart."""
        if rule.id not in self._rules:
            return
        self._ran[rule.id] = ran
        if save:
            try:
                await self._store.save_rule(rule.id + RAN, msgspec.to_builtins(ran))
            except StorageError as error:
                _log.error("that rule %d ran could not be saved: %s", rule.number, error)

    async def load(self) -> None:
        """Take up what is stored; other hubs may have changed some."""
        changes = -1
        while changes != self._changes:  # what changes while it is read may be missing in it
            changes = self._changes
            try:
                stored = await self._store.rules()
            except StorageError as error:
                _log.error("stored rules are not known: %s", error)
                return
        found: dict[str, Rule] = {}
        for key, value in stored.items():
            try:
                if key.endswith(RAN):
                    ran = msgspec.convert(value, Ran)
                    known = self._ran.get(key.removesuffix(RAN))
                    if known is None or known.at < ran.at:
                        self._ran[key.removesuffix(RAN)] = ran
                elif key not in self._removed and len(found) < MAX_RULES:
                    rule = msgspec.convert(value, Rule)
                    found[rule.id] = rule
            except msgspec.ValidationError as error:
                if key not in self._damaged:
                    _log.error("a stored rule is damaged and is ignored: %s", error)
                self._damaged.add(key)
        for rule_id in self._unsaved & self._rules.keys():
            found[rule_id] = self._rules[rule_id]
        self._rules = found
        self._ran = {key: ran for key, ran in self._ran.items() if key in found}
        self._tell_all()

    def _numbered(self, draft: Draft, context: Context, taken: set[int]) -> Rule:
        return Rule(
            id=uuid.uuid4().hex[:12],
            number=next(number for number in range(1, MAX_RULES * 3) if number not in taken),
            words=draft.words,
            trigger=draft.trigger,
            actions=draft.actions,
            conditions=draft.conditions,
            names=dict(draft.names),
            area=context.area,
            language=context.language,
            made_at=self._clock(),
        )

    async def _put(self, rule: Rule) -> bool:
        self._rules[rule.id] = rule
        self._unsaved.add(rule.id)
        self._tell()
        try:
            await self._store.save_rule(rule.id, msgspec.to_builtins(rule))
            self._unsaved.discard(rule.id)
        except StorageError as error:
            _log.error("a rule could not be saved: %s", error)
        return rule.id not in self._unsaved

    def _tell(self) -> None:
        self._changes += 1
        self._tell_all()

    def _tell_all(self) -> None:
        for listener in self._listeners:
            listener()


class TooManyRules(MycoswarmError):
    """The home has as many as it may."""

    def __init__(self) -> None:
        super().__init__(f"there can be {MAX_RULES} rules", hint="delete some: mycoswarm rules remove 3")


def _is_same(rule: Rule, draft: Draft, context: Context) -> bool:
    return (rule.trigger, rule.conditions, rule.actions, rule.area) == (
        draft.trigger,
        draft.conditions,
        draft.actions,
        context.area,
    )
