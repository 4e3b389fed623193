"""The running node's client for what concerns rules."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import msgspec

from swarm.client import NodeClient, find_address
from swarm.rule_view import RuleExplained, RulesAsked, RulesMade, RuleView


class RulesClient(NodeClient):
    """Every method raises `NodeUnreachable`, or `MycoswarmError` with what the node says is wrong."""

    def rules(self) -> list[RuleView]:
        """All of them."""
        return self._call("GET", "/api/rules", list[RuleView])

    def make(self, sentences: tuple[str, ...], *, area: str = "") -> RulesMade:
        """Make all of these, or none."""
        clean = tuple(each.encode(errors="replace").decode() for each in sentences)
        return self._call("POST", "/api/rules", RulesMade, msgspec.json.encode(RulesAsked(clean, area)))

    def explain(self, rule: str) -> RuleExplained:
        """One of them; `rule` is a number or the beginning of an id."""
        return self._call("GET", f"/api/rules/{quote(rule, safe='')}", RuleExplained)

    def switch(self, rule: str, *, enabled: bool) -> RuleView:
        """Switch one on or off."""
        switch = "enable" if enabled else "disable"
        return self._call("POST", f"/api/rules/{quote(rule, safe='')}/{switch}", RuleView, b"")

    def remove(self, rule: str) -> RuleView:
        """Delete one; as it was."""
        return self._call("DELETE", f"/api/rules/{quote(rule, safe='')}", RuleView)


def find_rules(state_dir: Path, *, timeout_s: float) -> RulesClient:
    """The running node's client. Raises `NodeUnreachable`."""
    return RulesClient(find_address(state_dir).url, timeout_s=timeout_s)
