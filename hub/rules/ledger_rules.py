"""Rules of a home with several hubs: kept in the ledger, so that each hub has all of them.

One hub runs them, the one that does what only one hub does at the home's devices. When it dies, another one does, and
makes up for what was due within the last minutes and is not noted as done. When hubs do not see each other, two may
run a rule: that comes to the same, but for what is said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hub.rules.rules import RuleStore
from swarm.errors import StorageError
from swarm.ledger.errors import LedgerError
from swarm.ledger.ledger import Ledger

VIEW = "rules"


class LedgerRules:
    """See `hub.rules.rules.RuleStore`."""

    def __init__(self, ledger: Ledger, *, before: RuleStore) -> None:
        """`before` is where this machine kept rules when it belonged to no swarm: they are moved from there."""
        self._ledger = ledger
        self._before = before

    async def save_rule(self, key: str, value: Mapping[str, Any]) -> None:
        """See `RuleStore`."""
        try:
            await self._ledger.put(VIEW, key, dict(value))
        except LedgerError as error:
            raise StorageError(str(error), hint=error.hint) from error

    async def delete_rule(self, key: str) -> None:
        """See `RuleStore`."""
        await self._before.delete_rule(key)
        try:
            await self._ledger.remove(VIEW, key)
        except LedgerError as error:
            raise StorageError(str(error), hint=error.hint) from error

    async def rules(self) -> Mapping[str, Any]:
        """See `RuleStore`."""
        left = {}
        for key, value in (await self._before.rules()).items():
            try:
                await self.save_rule(key, value)
                await self._before.delete_rule(key)
            except StorageError:  # the ledger has yet to come to this node, or the disk is full
                left[key] = value
        return {**left, **dict(self._ledger.entries(VIEW).items())}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after a change of the store, whoever made it; returns what ends that."""
        return self._ledger.subscribe(lambda names: changed() if VIEW in names else None)
