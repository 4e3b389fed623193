"""Rules of several hubs: real ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from hub.intent import Context
from hub.rules.ledger_rules import LedgerRules
from hub.rules.reading import Draft
from hub.rules.rule import Ran
from hub.rules.rules import MemoryRules, Rules
from swarm.ledger.ledger import Ledger
from tests.hub.rules.test_running import AT_SEVEN, READER
from tests.swarm.ledger.nodes import Swarm, meet
from tests.swarm.plain_swarm import until


class Hub:
    """Reloads whenever the ledger changed, as the runner does."""

    def __init__(self, ledger: Ledger, before: MemoryRules | None = None) -> None:
        self.ledger = ledger
        self.shared = LedgerRules(ledger, before=before or MemoryRules())
        self.rules = Rules(self.shared, read=READER.read)
        self.changed = asyncio.Event()
        self.shared.subscribe(self.changed.set)

    async def make(self, text: str) -> None:
        draft = READER.read(text, Context())
        assert isinstance(draft, Draft)
        await self.rules.add([draft], Context())

    async def sees(self) -> list[tuple[int, bool]]:
        await self.rules.load()
        return [(rule.number, rule.enabled) for rule in self.rules.all()]


def scenario(folder: Path, test: Callable[[Swarm, Ledger], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Swarm(folder) as swarm:
            await test(swarm, await swarm.found())

    asyncio.run(main())


def test_rule_made_at_one_hub_is_known_and_changed_at_another(tmp_path: Path) -> None:
    async def test(swarm: Swarm, first: Ledger) -> None:
        second = await swarm.hub(first)
        await meet(first, second)
        one, two = Hub(first), Hub(second)
        await one.make(AT_SEVEN)
        await meet(first, second)
        await until(two.changed.is_set)
        assert await two.sees() == [(1, True)]
        await two.rules.set_enabled(two.rules.all()[0], False)
        await meet(second, first)
        assert await one.sees() == [(1, False)]
        await one.rules.note_run(one.rules.all()[0], Ran(5.0, 4.0, "Done.", True), save=True)
        await meet(first, second)
        await two.sees()
        ran = two.rules.ran(two.rules.all()[0].id)
        assert ran is not None and ran.due == 4.0
        await one.rules.remove(one.rules.all()[0])
        await meet(first, second)
        assert await two.sees() == []
        assert dict(second.entries("rules").items()) == {}

    scenario(tmp_path, test)


def test_what_two_hubs_that_do_not_see_each_other_change_is_merged(tmp_path: Path) -> None:
    async def test(swarm: Swarm, first: Ledger) -> None:
        second = await swarm.hub(first)
        await meet(first, second)
        one, two = Hub(first), Hub(second)
        await one.make(AT_SEVEN)
        await two.make("every day at noon turn off the kitchen lamp")
        await meet(first, second)
        await meet(second, first)
        assert await one.sees() == await two.sees() == [(1, True), (1, True)]
        both = one.rules.find("1")
        assert len(both) == 2
        assert one.rules.find(both[1].id[:6]) == (both[1],)
        # Deleted here, switched off there: what the deletion did not know of stays, and is the same on both.
        await one.rules.remove(both[0])
        await two.rules.set_enabled(next(rule for rule in two.rules.all() if rule.id == both[0].id), False)
        await meet(first, second)
        await meet(second, first)
        assert sorted(await two.sees()) == sorted(await one.sees()) == [(1, False), (1, True)]

    scenario(tmp_path, test)


def test_rules_of_a_lone_machine_come_with_it_into_a_swarm(tmp_path: Path) -> None:
    async def test(swarm: Swarm, first: Ledger) -> None:
        alone = MemoryRules()
        before = Rules(alone, read=READER.read)
        draft = READER.read(AT_SEVEN, Context())
        assert isinstance(draft, Draft)
        await before.add([draft], Context())
        hub = Hub(first, alone)
        assert await hub.sees() == [(1, True)]
        assert await alone.rules() == {}
        assert len(first.entries("rules")) == 1

    scenario(tmp_path, test)
