"""Runs the rules: watches the clock and the devices, does what is due, and says in the log what came of it.

::

    clock ─────────┐
    devices ───────┼─► due? conditions? not too soon? ─► commands, as if a person had said them ─► what came of it
    change of rules┘                                     or something said in a room
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import tzinfo
from typing import Protocol

from hub.answers import wording
from hub.home.entity import Entity, State
from hub.intent import Context, Intent
from hub.rules.due import GAP_S, GRACE_S, Change, due_now, fires, hindrance, next_due, passes
from hub.rules.rule import AtTime, Do, OnState, Ran, Rule, Say
from hub.rules.rules import Rules
from hub.timers import Clock, SystemClock
from swarm.errors import MycoswarmError

LOOK_EVERY_S = 20.0
"""Also when nothing is due: the clock may have been set."""
OWNER_CHECK_S = 1.0
"""How often a hub looks whether it has become the one that runs rules."""
ACT_S = 120.0
"""For all that one rule does; what takes longer is given up."""

_log = logging.getLogger(__name__)

Act = Callable[[tuple[Intent, ...], Context], Awaitable[tuple[str, bool]]]
"""`await act(intents, context)`: do it; what came of it in words, and whether it was done."""
SayIn = Callable[[str, str, str], Awaitable[bool]]
"""`await say(text, room, language)`: say it there, everywhere when the room is empty. False: nobody was there."""
Follow = Callable[[Callable[[], None]], Callable[[], None]]
"""`end = follow(changed)`: have `changed` called after each change of the store."""


class Home(Protocol):
    """The devices, as rules see them."""

    @property
    def entities(self) -> Mapping[str, Entity]:
        """All entities by id."""

    def state(self, entity_id: str) -> State:
        """How an entity is now."""

    def on_state(self, listener: Callable[[str, State, State], None]) -> None:
        """Have `listener` called with id, state before and state after whenever a device tells another state."""


class RuleRunner:
    """`run` until cancelled."""

    def __init__(
        self,
        rules: Rules,
        home: Home,
        *,
        act: Act,
        say: SayIn,
        owns: Callable[[], bool],
        follow: Follow | None = None,
        clock: Clock | None = None,
        zone: tzinfo | None = None,
    ) -> None:
        """`owns`: whether this hub runs the home's rules now. `follow` when other hubs change what is stored.
        `zone`: None is the machine's."""
        self._rules = rules
        self._home = home
        self._act = act
        self._say = say
        self._owns = owns
        self._clock = clock or SystemClock()
        self._zone = zone
        self._follow = follow
        self._store_changed = False
        self._looked: float | None = None
        """Until when the clock was watched; None before this hub ran rules."""
        self._watched: dict[str, list[Rule]] = {}
        """Enabled rules by the entity that starts them."""
        self._started: dict[str, float] = {}
        """When rules were started last, by id, in steady seconds."""
        self._later: dict[str, tuple[float, float]] = {}
        """Rules that look once more: at which steady second, and for which due time."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        rules.on_change(self._index)
        home.on_state(self._hear)

    async def run(self) -> None:
        """Watch and act."""
        end = self._follow(self._note_change) if self._follow is not None else lambda: None
        await self._rules.load()
        try:
            while True:
                self._news.clear()
                if self._store_changed:
                    self._store_changed = False
                    await self._rules.load()
                now = self._clock.wall()
                if self._owns():
                    self._look(now)
                else:
                    self._looked = None
                    self._later.clear()
                self._look_again()
                await self._clock.wait(self._news, self._pause(now))
        finally:
            end()
            running = list(self._running.values())
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running, timeout=2.0)

    # ---- what is due

    def _look(self, now: float) -> None:
        since = now - GRACE_S if self._looked is None else self._looked
        self._looked = now
        for rule in self._rules.all():
            if not rule.enabled or not isinstance(rule.trigger, AtTime):
                continue
            due = due_now(rule.trigger, max(since, min(rule.made_at, now)), now, self._zone)
            ran = self._rules.ran(rule.id)
            if due is not None and (ran is None or ran.due != due):
                self._start(rule, due)

    def _pause(self, now: float) -> float:
        """Until the next rule is due, in the machine's seconds; looked at again in between."""
        if not self._owns():
            return OWNER_CHECK_S
        times = [
            next_due(rule.trigger, now, self._zone) - now
            for rule in self._rules.all()
            if rule.enabled and isinstance(rule.trigger, AtTime)
        ]
        times += [max(0.0, at - self._clock.steady()) for at, _ in self._later.values()]
        return min([*times, LOOK_EVERY_S])

    def _hear(self, entity: str, before: State, after: State) -> None:
        for rule in self._watched.get(entity, ()):
            assert isinstance(rule.trigger, OnState)
            if fires(rule.trigger, Change(entity, before, after)) and self._owns():
                self._start(rule)

    def _start(self, rule: Rule, due: float = 0.0) -> None:
        blocked = hindrance(rule.conditions, self._clock.wall(), self._home.state, self._zone)
        if blocked is not None:
            words = wording(rule.language).rules
            _log.info(
                "rule %d does nothing now: only %s", rule.number, words.condition(blocked, rule, self._home.entities)
            )
            return
        last = self._started.get(rule.id)
        wait = 0.0 if last is None else last + GAP_S - self._clock.steady()
        if wait > 0 or rule.id in self._running:
            if isinstance(rule.trigger, OnState) and self._home.state(rule.trigger.test.entity).events is not None:
                _log.info("rule %d was started again within %g s: once is enough", rule.number, GAP_S)
            elif rule.id not in self._later:
                _log.info("rule %d was started again within %g s: it looks once more then", rule.number, GAP_S)
                self._later[rule.id] = self._clock.steady() + max(wait, 1.0), due
                self._news.set()
            return
        self._started[rule.id] = self._clock.steady()
        task = asyncio.create_task(self._carry_out(rule, due), name=f"rule {rule.number}")
        self._running[rule.id] = task
        task.add_done_callback(lambda done: self._ended(rule.id, done))

    def _look_again(self) -> None:
        """Start what waited, if what started it is still so."""
        now = self._clock.steady()
        for rule_id, (at, due) in list(self._later.items()):
            if at > now:
                continue
            del self._later[rule_id]
            rule = self._rules.get(rule_id)
            if rule is None or not rule.enabled:
                continue
            test = rule.trigger.test if isinstance(rule.trigger, OnState) else None
            if test is None or passes(test, self._home.state(test.entity)):
                self._start(rule, due)

    # ---- what is done

    async def _carry_out(self, rule: Rule, due: float) -> None:
        at, words = self._clock.wall(), wording(rule.language).rules
        if due:  # before it is done: a hub that takes over in this moment must not do it again
            await self._rules.note_run(rule, Ran(at, due), save=True)
        told, done = [], True
        gone = words.missing(rule, self._home.entities)
        context = Context(
            area=rule.area,
            language=rule.language,
            origin="rule",
            cause=words.cause(rule, self._home.entities),
        )
        try:
            async with asyncio.timeout(ACT_S):
                for action in rule.actions:
                    text, well = await (
                        self._do(action, context) if isinstance(action, Do) else self._speak(action, rule)
                    )
                    told.append(text)
                    done = done and well
        except TimeoutError:
            told, done = [*told, f"given up after {ACT_S:g} s"], False
        except MycoswarmError as error:
            told, done = [*told, str(error)], False
        outcome = " ".join(dict.fromkeys(part for part in (gone, *told) if part))
        _log.log(
            logging.INFO if done and not gone else logging.WARNING,
            "rule %d (%s): %s",
            rule.number,
            rule.words,
            outcome or ("done" if done else "not done"),
        )
        await self._rules.note_run(rule, Ran(at, due, outcome, done and not gone), save=bool(due))

    async def _do(self, action: Do, context: Context) -> tuple[str, bool]:
        return await self._act(action.intents, context)

    async def _speak(self, action: Say, rule: Rule) -> tuple[str, bool]:
        words = wording(rule.language).rules
        text = action.text or words.happened(rule, self._home.entities)
        if await self._say(text, action.room, rule.language):
            return words.said(text, action.room), True
        return words.nobody_heard(action.room), False

    def _ended(self, rule_id: str, task: asyncio.Task[None]) -> None:
        self._running.pop(rule_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a rule failed", exc_info=error)

    # ---- rules that change

    def _note_change(self) -> None:
        self._store_changed = True
        self._news.set()

    def _index(self) -> None:
        self._watched = {}
        known = set()
        for rule in self._rules.all():
            known.add(rule.id)
            if rule.enabled and isinstance(rule.trigger, OnState):
                self._watched.setdefault(rule.trigger.test.entity, []).append(rule)
        self._started = {key: at for key, at in self._started.items() if key in known}
        self._news.set()
