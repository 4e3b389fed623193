"""Jinja templates out of discovery messages, made safe to run.

Whoever can publish on the bus can send a template, so only expressions, `if` and `set` are let in: no loop, no macro,
no call (hence no method), no `**`, and only filters and operators whose work and result have a bound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Undefined, nodes
from jinja2.exceptions import TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from swarm.errors import MalformedMessage

MAX_TEMPLATE = 4096
"""Characters."""
MAX_DEPTH = 40
"""Levels of the syntax tree, so that neither Jinja's nor Python's compiler runs out of stack."""
MAX_OUTPUT = 16 * 1024
"""Characters of any string that a template makes."""
MAX_BITS = 256
"""Size of any integer that a template makes."""


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
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat),
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
            return _bounded(left + right)
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError(f"{operator} is for numbers here")
        return _bounded(self.binop_table[operator](left, right))


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_OUTPUT:
        raise ValueError(f"text longer than {MAX_OUTPUT} characters")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError(f"number of more than {MAX_BITS} bits")
    return value


def _must_be_defined(value: Any) -> Any:
    if isinstance(value, Undefined):
        _fail("not defined")
    return value


def _fail(why: str) -> NoReturn:
    raise UndefinedError(why)


_NO_DEFAULT = object()


def _float(value: Any, default: Any = _NO_DEFAULT) -> Any:
    """As in Home Assistant: what is no number is an error unless there is a default."""
    try:
        return float(value)
    except (TypeError, ValueError, UndefinedError):
        return _fail(f"{value!r:.80} is no number") if default is _NO_DEFAULT else default


def _int(value: Any, default: Any = _NO_DEFAULT, base: int = 10) -> Any:
    try:
        return _bounded(int(value, base) if isinstance(value, str) and base != 10 else int(float(value)))
    except (TypeError, ValueError, OverflowError, UndefinedError):
        return _fail(f"{value!r:.80} is no number") if default is _NO_DEFAULT else default


def _round(value: Any, precision: int = 0, method: str = "common", default: Any = _NO_DEFAULT) -> Any:
    try:
        number, scale = float(value), 10.0 ** int(precision)
        if method == "ceil":
            number = math.ceil(number * scale) / scale
        elif method == "floor":
            number = math.floor(number * scale) / scale
        else:
            number = round(number, int(precision))
        return int(number) if int(precision) == 0 else number
    except (TypeError, ValueError, OverflowError, UndefinedError):
        return _fail(f"{value!r:.80} is no number") if default is _NO_DEFAULT else default


def _bool(value: Any, default: Any = _NO_DEFAULT) -> Any:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    found = words.get(str(value).lower())
    if found is None:
        return _fail(f"{value!r:.80} is neither true nor false") if default is _NO_DEFAULT else default
    return found


def _replace(value: Any, old: str, new: str) -> str:
    text = str(value)
    if not old or len(text) + text.count(old) * max(0, len(new) - len(old)) > MAX_OUTPUT:
        raise ValueError("replacement without bound")
    return text.replace(old, new)


def _default(value: Any, default: Any = "", boolean: bool = False) -> Any:
    return default if isinstance(value, Undefined) or (boolean and not value) else value


def _from_json(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return _fail("no JSON")


def _iif(value: Any, if_true: Any = True, if_false: Any = False, if_none: Any = _NO_DEFAULT) -> Any:
    if value is None and if_none is not _NO_DEFAULT:
        return if_none
    return if_true if value else if_false


_environment = _Environment(autoescape=False, cache_size=0)
_environment.globals.clear()
_environment.filters = {
    "abs": lambda value: abs(_float(value)),
    "add": lambda value, amount: _float(value) + _float(amount),
    "bool": _bool,
    "d": _default,
    "default": _default,
    "first": lambda value: value[0],
    "float": _float,
    "from_json": _from_json,
    "iif": _iif,
    "int": _int,
    "is_defined": _must_be_defined,
    "last": lambda value: value[-1],
    "length": len,
    "count": len,
    "lower": lambda value: str(value).lower(),
    "max": lambda values: max(values),
    "min": lambda values: min(values),
    "multiply": lambda value, amount: _float(value) * _float(amount),
    "replace": _replace,
    "round": _round,
    "string": lambda value: str(value)[: MAX_OUTPUT + 1],
    "title": lambda value: str(value).title(),
    "to_json": lambda value: json.dumps(value),
    "tojson": lambda value: json.dumps(value),
    "trim": lambda value: str(value).strip(),
    "upper": lambda value: str(value).upper(),
}
