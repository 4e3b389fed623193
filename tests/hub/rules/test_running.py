"""What rules do when their time comes or a state changes: virtual time, a home in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from hub.home.entity import State
from hub.intent import Context, Intent
from hub.rules.due import GAP_S, GRACE_S
from hub.rules.reading import Draft, NotRead, RuleReader
from hub.rules.rules import MemoryRules, Rules, TooManyRules
from hub.rules.running import RuleRunner
from hub.understanding import Understanding
from swarm.errors import StorageError
from tests.hub.a_home import AREAS, ENTITIES
from tests.hub.test_timers import VirtualClock, settle

SIX_FIFTY = datetime(2026, 11, 23, 6, 50, tzinfo=UTC).timestamp()
"""A Monday."""
READER = RuleReader(ENTITIES, AREAS, Understanding(ENTITIES, AREAS).understand)
LAMP = "light.kitchen_lamp"
AT_SEVEN = "every weekday at seven turn on the bedroom lights"


class Devices:
    def __init__(self) -> None:
        self.entities = dict(ENTITIES)
        self.states: dict[str, State] = dict.fromkeys(ENTITIES, State(value="off"))
        self._listeners: list[Callable[[str, State, State], None]] = []

    def state(self, entity_id: str) -> State:
        return self.states.get(entity_id, State(available=False))

    def on_state(self, listener: Callable[[str, State, State], None]) -> None:
        self._listeners.append(listener)

    def become(self, entity_id: str, value: str) -> None:
        before, after = self.states[entity_id], State(value=value)
        self.states[entity_id] = after
        for listener in self._listeners:
            listener(entity_id, before, after)


class Hub:
    """One hub with its rules; what they do is kept in `did` and `said`."""

    def __init__(self, clock: VirtualClock, store: MemoryRules | None = None) -> None:
        self.clock = clock
        self.home = Devices()
        self.store = store or MemoryRules()
        self.rules = Rules(self.store, read=READER.read, clock=clock.wall)
        self.owner = True
        self.did: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.someone_hears = True
        self.works = True
        self.contexts: list[Context] = []
        self.runner = RuleRunner(
            self.rules, self.home, act=self._act, say=self._say, owns=lambda: self.owner, clock=clock, zone=UTC
        )
        self.running = asyncio.create_task(self.runner.run())

    async def _act(self, intents: tuple[Intent, ...], context: Context) -> tuple[str, bool]:
        self.contexts.append(context)
        self.did += [intent.words for intent in intents]
        return ("Done.", True) if self.works else ("The lamp is offline.", False)

    async def _say(self, text: str, room: str, language: str) -> bool:
        self.said.append((text, room))
        return self.someone_hears

    async def has(self, *sentences: str) -> None:
        await settle()
        drafts = [READER.read(each, Context()) for each in sentences]
        await self.rules.add([each for each in drafts if isinstance(each, Draft)], Context())
        assert len(self.rules.all()) == len(sentences), drafts

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


def scenario(test: Callable[[Hub, VirtualClock], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = VirtualClock(wall=SIX_FIFTY)
        hub = Hub(clock)
        try:
            await test(hub, clock)
        finally:
            await hub.end()

    asyncio.run(main())


def test_time_comes_every_weekday_once() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(AT_SEVEN)
        await clock.advance(599)
        assert hub.did == []
        await clock.advance(2)
        assert hub.did == ["turn on the bedroom lights"]
        assert hub.contexts[0].origin == "rule"
        assert hub.contexts[0].cause == 'rule 1, "every weekday at 7 AM turn on the bedroom lights"'
        await clock.advance(7 * 86_400)
        assert len(hub.did) == 6

    scenario(test)


def test_state_starts_what_is_to_be_done_and_said() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has("when the kitchen lamp turns on, turn on the coffee machine and say so in the office")
        hub.home.become(LAMP, "on")
        await settle()
        assert hub.did == ["turn on the coffee machine"]
        assert hub.said == [("The kitchen lamp is on.", "Office")]
        ran = hub.rules.ran(hub.rules.all()[0].id)
        assert ran is not None and ran.done
        assert ran.told == 'Done. I said "The kitchen lamp is on." in the office.'

    scenario(test)


def test_conditions_are_looked_at_when_it_is_started() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has("when the kitchen lamp turns on after ten turn on the coffee machine")
        hub.home.become(LAMP, "on")
        await settle()
        assert hub.did == []
        await clock.advance(16 * 3600)
        hub.home.become(LAMP, "off")
        hub.home.become(LAMP, "on")
        await settle()
        assert hub.did == ["turn on the coffee machine"]

    scenario(test)


def test_rules_that_start_each_other_go_round_no_faster_than_the_gap(caplog: pytest.LogCaptureFixture) -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(
            "when the kitchen lamp turns on turn off the kitchen lamp",
            "when the kitchen lamp turns off turn on the kitchen lamp",
        )

        async def obeyed(intents: tuple[Intent, ...], context: Context) -> tuple[str, bool]:
            await asyncio.sleep(0)
            for intent in intents:
                hub.did.append(intent.words)
                hub.home.become(LAMP, "on" if intent.name == "HassTurnOn" else "off")
            return "", True

        hub.runner._act = obeyed
        hub.home.become(LAMP, "on")
        await clock.advance(10 * GAP_S)
        assert 10 <= len(hub.did) <= 24

    with caplog.at_level(logging.INFO):
        scenario(test)
    assert "started again within 10 s" in caplog.text


def test_last_state_counts_when_a_rule_is_started_too_soon_again() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has("when the kitchen lamp turns on turn on the coffee machine")
        for value in ("on", "off", "on"):
            hub.home.become(LAMP, value)
            await settle()
        assert len(hub.did) == 1
        await clock.advance(GAP_S + 1)
        assert len(hub.did) == 2  # it is still on
        for value in ("off", "on", "off"):
            hub.home.become(LAMP, value)
        await clock.advance(3 * GAP_S)
        assert len(hub.did) == 2  # it is off again

    scenario(test)


def test_time_missed_while_the_hub_was_away_is_made_up_for_within_minutes_and_only_once() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(AT_SEVEN)
        await hub.end()
        await clock.advance(600 + GRACE_S - 30)
        again = Hub(clock, hub.store)
        await settle()
        assert again.did == ["turn on the bedroom lights"]
        await again.end()
        third = Hub(clock, hub.store)
        await settle()
        assert third.did == []
        await third.end()
        await clock.advance(86_400)
        late = Hub(clock, hub.store)
        await settle()
        assert late.did == ["turn on the bedroom lights"]  # 4.5 minutes late again
        await late.end()
        await clock.advance(86_400 + 60)
        too_late = Hub(clock, hub.store)
        await settle()
        assert too_late.did == []
        await too_late.end()

    scenario(test)


def test_set_clock_makes_nothing_happen_twice() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(AT_SEVEN)
        await clock.advance(660)
        clock.set_wall(-180)
        await clock.advance(600)
        assert len(hub.did) == 1
        clock.set_wall(5 * 3600)
        await clock.advance(60)
        assert len(hub.did) == 1

    scenario(test)


def test_hub_that_does_not_own_the_home_does_nothing_until_it_does() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        hub.owner = False
        await hub.has(AT_SEVEN, "when the kitchen lamp turns on turn on the coffee machine")
        hub.home.become(LAMP, "on")
        await clock.advance(660)
        assert hub.did == []
        hub.owner = True  # the one that did died at two minutes to seven
        await clock.advance(5)
        assert hub.did == ["turn on the bedroom lights"]

    scenario(test)


def test_disabled_and_removed_rules_do_nothing() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(AT_SEVEN, "when the kitchen lamp turns on turn on the coffee machine")
        first, second = hub.rules.all()
        await hub.rules.set_enabled(first, False)
        await hub.rules.remove(second)
        hub.home.become(LAMP, "on")
        await clock.advance(660)
        assert hub.did == []
        await hub.rules.set_enabled(hub.rules.all()[0], True)
        await clock.advance(60)
        assert hub.did == []  # what was due while it was off is not made up for
        await clock.advance(86_400)
        assert len(hub.did) == 1

    scenario(test)


def test_what_is_gone_or_does_not_answer_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has("when the kitchen lamp turns on turn on the coffee machine and say so in the office")
        hub.works = hub.someone_hears = False
        del hub.home.entities["switch.coffee_machine"]
        hub.home.become(LAMP, "on")
        await settle()
        ran = hub.rules.ran(hub.rules.all()[0].id)
        assert ran is not None and not ran.done
        assert ran.told == (
            "The coffee machine is not there any more. The lamp is offline. "
            "No satellite was there to say it in the office."
        )

    scenario(test)
    assert [record.levelname for record in caplog.records if "not there any more" in record.message] == ["WARNING"]


def test_same_rule_is_made_once_and_there_is_a_bound() -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(AT_SEVEN)
        draft = READER.read("Turn on the bedroom lights every weekday at 7 AM", Context())
        assert isinstance(draft, Draft)
        (made,) = await hub.rules.add([draft], Context())
        assert made.existed and made.rule.number == 1
        many = [
            READER.read(f"every day at 7:{minute:02} PM turn on the kitchen lamp", Context()) for minute in range(60)
        ]
        many += [
            READER.read(f"every day at 8:{minute:02} PM turn on the kitchen lamp", Context()) for minute in range(40)
        ]
        drafts = [each for each in many if isinstance(each, Draft)]
        with pytest.raises(TooManyRules):
            await hub.rules.add(drafts, Context())
        assert len(hub.rules.all()) == 1
        await hub.rules.add(drafts[:99], Context())
        assert [rule.number for rule in hub.rules.all()] == list(range(1, 101))
        assert isinstance(READER.read("hello", Context()), NotRead)

    scenario(test)


class BrokenStore(MemoryRules):
    broken = False

    async def save_rule(self, key: str, value: Mapping[str, Any]) -> None:
        if self.broken:
            raise StorageError("the disk is full")
        await super().save_rule(key, value)

    async def delete_rule(self, key: str) -> None:
        if self.broken:
            raise StorageError("the disk is full")
        await super().delete_rule(key)


def test_full_disk_costs_no_rule_while_the_hub_runs() -> None:
    async def main() -> None:
        clock, store = VirtualClock(wall=SIX_FIFTY), BrokenStore()
        hub = Hub(clock, store)
        await hub.has(AT_SEVEN)
        store.broken = True
        draft = READER.read("when the kitchen lamp turns on turn on the coffee machine", Context())
        assert isinstance(draft, Draft)
        (made,) = await hub.rules.add([draft], Context())
        assert not made.saved
        await hub.rules.load()
        assert len(hub.rules.all()) == 2
        await hub.rules.remove(hub.rules.all()[0])
        await hub.rules.load()
        assert [rule.number for rule in hub.rules.all()] == [2]
        await clock.advance(660)
        assert hub.did == []
        await hub.end()

    asyncio.run(main())


def test_damaged_rule_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def test(hub: Hub, clock: VirtualClock) -> None:
        await hub.has(AT_SEVEN)
        for key, value in {"x": {"id": 7}, "y.ran": 5, "z": "no"}.items():
            await hub.store.save_rule(key, value)  # type: ignore[arg-type]
        await hub.rules.load()
        await hub.rules.load()
        assert len(hub.rules.all()) == 1

    scenario(test)
    assert sum("damaged" in record.message for record in caplog.records) == 3
