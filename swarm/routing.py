"""The routing table: from what a person asks for to what a node must be able to do.

The first rule that fits wins, a person's rules before the built-in ones. In the configuration::

    [[routing.rule]]
    type = "chat"
    complexity = "hard"
    model = "qwen2.5:32b"
    fallback_models = ["qwen2.5:7b"]     # only what stands here may stand in for it
    timeout_s = 300
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from swarm.errors import MycoswarmError
from swarm.task import Complexity, Priority, SizeClass, TaskRequest

Anything = Literal["*"]


class NoRoute(MycoswarmError):
    """The routing table has no rule for a task."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the table: what it fits, and what then is needed."""

    type: str = "*"
    """Task type, or `*`."""
    priority: Priority | Anything = "*"
    complexity: Complexity | Anything = "*"
    needs: str = "generate"
    """The capability."""
    model: str = ""
    """Exactly this model; empty takes any of `size` or larger."""
    size: SizeClass = "any"
    fallback_models: tuple[str, ...] = ()
    """May stand in for `model`, in this order; whoever asked is told."""
    fallback_size: SizeClass | None = None
    """Models down to this class may stand in for `size`; whoever asked is told. Without it none may."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    """The whole task, waiting included."""


class RoutingSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[routing]: which task needs what."""

    rule: tuple[Rule, ...] = ()
    """Before the built-in ones."""


class Route(msgspec.Struct, frozen=True):
    """What one task needs."""

    kind: str
    model: str
    size: SizeClass
    fallback_models: tuple[str, ...]
    fallback_size: SizeClass | None
    timeout_s: float


DEFAULT_RULES = (
    Rule("ask", needs="ask", timeout_s=120.0),
    Rule("transcribe", "immediate", needs="transcribe", timeout_s=15.0),
    Rule("transcribe", needs="transcribe", timeout_s=600.0),
    Rule("synthesize", "immediate", needs="synthesize", timeout_s=15.0),
    Rule("synthesize", needs="synthesize", timeout_s=600.0),
    Rule("embed", "immediate", needs="embed", timeout_s=15.0),
    Rule("embed", needs="embed", timeout_s=1800.0),
    # The size is what the answer is worth waiting for; where a home has only smaller models, they are named as such.
    Rule("chat", complexity="simple", timeout_s=30.0),
    Rule("chat", complexity="hard", size="medium", fallback_size="tiny", timeout_s=180.0),
    Rule("chat", timeout_s=60.0),
    Rule("summarize", "immediate", size="small", fallback_size="tiny", timeout_s=120.0),
    Rule("summarize", size="small", fallback_size="tiny", timeout_s=3600.0),
    Rule("extract", complexity="simple", timeout_s=60.0),
    Rule("extract", size="small", fallback_size="tiny", timeout_s=120.0),
    Rule("code", "immediate", size="medium", fallback_size="small", timeout_s=180.0),
    Rule("code", size="medium", fallback_size="small", timeout_s=3600.0),
    Rule("plan", size="medium", fallback_size="small", timeout_s=300.0),
    Rule("generate", "immediate", timeout_s=60.0),
    Rule("generate", timeout_s=3600.0),
)


def route(section: RoutingSection, request: TaskRequest) -> Route:
    """What this request needs. A model that the request names replaces the rule's, and then nothing stands in for it.
    Raises `NoRoute`."""
    for rule in (*section.rule, *DEFAULT_RULES):
        if (
            rule.type in ("*", request.type)
            and rule.priority in ("*", request.priority)
            and rule.complexity in ("*", request.complexity)
        ):
            timeout_s = min(request.deadline_s, 86_400.0) or rule.timeout_s
            if request.model:
                return Route(rule.needs, request.model, "any", (), None, timeout_s)
            if rule.model:
                return Route(rule.needs, rule.model, "any", rule.fallback_models, None, timeout_s)
            return Route(rule.needs, "", rule.size, (), rule.fallback_size, timeout_s)
    known = sorted({rule.type for rule in (*section.rule, *DEFAULT_RULES)})
    raise NoRoute(
        f"no rule for a task of type {request.type:.80}",
        hint=f"known here: {', '.join(known)}; [[routing.rule]] in the configuration adds one",
    )
