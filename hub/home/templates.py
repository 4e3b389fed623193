"""Jinja templates out of discovery messages, made safe to run.

Whoever can publish on the bus can send a template, so only expressions, `if` and `set` are let in: no loop, no macro,
no `**`, and only those filters, functions, methods (`hub.home.filters`) and operators whose work and result have a
bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hub.home.filters import FILTERS, FUNCTIONS, MAX_TEXT, METHOD_NAMES, METHODS, TESTS, bounded
from swarm.errors import MalformedMessage

MAX_TEMPLATE = 4096
"""Characters."""
MAX_DEPTH = 40
"""Levels of the syntax tree, so that neither Jinja's nor Python's compiler runs out of stack."""
MAX_OUTPUT = MAX_TEXT


class NoValue(Exception):
    """The template has no value for this message: what was known before stays."""


class Message:
    """A state message as templates see it: `value`, and `value_json` when it is JSON (parsed once, when asked)."""

    def __init__(self, text: str) -> None:
        self.text = text

    def variables(self) -> dict[str, object]:
        """The variables of a template that reads this message."""
        variables: dict[str, object] = {"value": self.text}
        if self.json is not _NOT_JSON:
            variables["value_json"] = self.json
        return variables

    @property
    def json(self) -> object:
        """The parsed message; a marker of this module when it is no JSON."""
        if not hasattr(self, "_json"):
            try:
                self._json = json.loads(self.text)
            except (ValueError, RecursionError):
                self._json = _NOT_JSON
        return self._json


_NOT_JSON = object()


class Template:
    """A checked template."""

    def __init__(self, source: str) -> None:
        """Raises `MalformedMessage` when the template is too long, wrong or does what is not allowed."""
        if len(source) > MAX_TEMPLATE:
            raise MalformedMessage(f"template of {len(source)} characters exceeds the limit of {MAX_TEMPLATE}")
        _check(source)
        self._source = source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and other._source == self._source

    def __hash__(self) -> int:
        return hash(self._source)

    def render(self, variables: Mapping[str, object]) -> str:
        """The text, without surrounding white space; raises `NoValue`."""
        try:
            text = _compiled(self._source)(variables).strip()
        # Jinja runs Python on a stranger's values: division by zero, comparing text with numbers, missing keys, …
        except Exception as error:
            raise NoValue(f"{type(error).__name__}: {error}"[:MAX_OUTPUT]) from error
        if len(text) > MAX_OUTPUT:
            raise NoValue(f"result of {len(text)} characters exceeds the limit of {MAX_OUTPUT}")
        return text

    def read(self, message: Message) -> str:
        """What the template finds in a state message; raises `NoValue` when that is nothing."""
        text = self.render(message.variables())
        if not text:
            raise NoValue("empty")
        return text


ALLOWED_NODES: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Assign, nodes.CondExpr),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos),
    *(nodes.Call, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat),
)


@lru_cache(maxsize=4096)
def _check(source: str) -> None:
    try:
        tree = _environment.parse(source)
    except (TemplateError, RecursionError) as error:
        raise MalformedMessage(f"template {_shown(source)} is wrong: {error}") from error
    level: list[nodes.Node] = [tree]
    assigns = grows = False
    for _ in range(MAX_DEPTH):
        for node in level:
            if not isinstance(node, ALLOWED_NODES):
                raise MalformedMessage(f"template {_shown(source)} is refused: {type(node).__name__.lower()}")
            if isinstance(node, nodes.Call) and not _may_be_called(node):
                raise MalformedMessage(f"template {_shown(source)} is refused: a call of what is not to be called")
            if isinstance(node, nodes.Filter) and node.name not in _environment.filters:
                raise MalformedMessage(f"template {_shown(source)} is refused: no filter {node.name}")
            if isinstance(node, nodes.Test) and node.name not in _environment.tests:
                raise MalformedMessage(f"template {_shown(source)} is refused: no test {node.name}")
            assigns = assigns or isinstance(node, nodes.Assign)
            grows = grows or isinstance(node, nodes.Concat)
            if isinstance(node, nodes.List | nodes.Tuple | nodes.Dict):
                grows = grows or node.find(nodes.Name) is not None
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            break
    else:
        raise MalformedMessage(f"template {_shown(source)} is nested deeper than {MAX_DEPTH} levels")
    if assigns and grows:
        # Repeated, `set x = x ~ x` or `set x = [x, x]` doubles what is printed, with no operator that could be watched.
        raise MalformedMessage(f"template {_shown(source)} is refused: set together with ~ or with variables in a list")


def _may_be_called(call: nodes.Call) -> bool:
    if call.dyn_args is not None or call.dyn_kwargs is not None:
        return False
    called = call.node
    if isinstance(called, nodes.Name):
        return called.name in FUNCTIONS
    return isinstance(called, nodes.Getattr) and called.attr in METHOD_NAMES


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Callable[[Mapping[str, object]], str]:
    return _environment.from_string(source).render


def _shown(source: str) -> str:
    return repr(source if len(source) <= 80 else source[:77] + "…")


class _Environment(ImmutableSandboxedEnvironment):
    """Operators whose result could grow without bound are watched as they run."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return bounded(left + right)
        for each in (left, right):
            if not isinstance(each, int | float | datetime | timedelta):
                raise TypeError(f"{operator} is for numbers and times here")
        return bounded(self.binop_table[operator](left, right))

    def call(self, context: Any, called: Any, *values: Any, **named: Any) -> Any:
        """Functions and methods by their bounded stand-ins. A template may have put another value under their name."""
        if called in FUNCTIONS.values():
            return bounded(called(*values, **named))
        owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        method = next((methods.get(name) for kind, methods in METHODS.items() if isinstance(owner, kind)), None)
        if method is None:
            raise TypeError(f"{name or type(called).__name__} is not to be called")
        return bounded(method(owner, *values, **named))


_environment = _Environment(autoescape=False, cache_size=0)
_environment.globals = dict(FUNCTIONS)
_environment.filters = dict(FILTERS)
_environment.tests = {**_environment.tests, **TESTS}
