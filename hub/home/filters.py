"""What templates may call: filters, functions and methods whose work and result have a bound.

Names and meanings are Home Assistant's (home-assistant.io/docs/configuration/templating).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from jinja2 import Undefined
from jinja2.exceptions import UndefinedError

MAX_TEXT = 16 * 1024
"""Characters of any text that a template makes."""
MAX_BITS = 256
"""Size of any integer that a template makes."""
MAX_SEARCHED = 128
"""Characters in which a pattern is looked for."""
MAX_PATTERN = 200
MAX_REPEATS, MAX_ALTERNATIVES = 2, 3
"""Of a pattern. Python's search may take (characters ** (repeats + 1)) * (2 ** alternatives) steps: some 20 ms."""
MAX_TIME_FORMAT = 64

_NO_DEFAULT = object()


def bounded(value: Any) -> Any:
    """The value itself; raises ValueError when it is a text or a whole number that is too large."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ValueError(f"text longer than {MAX_TEXT} characters")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError(f"number of more than {MAX_BITS} bits")
    return value


def _fail(why: str) -> NoReturn:
    raise UndefinedError(why)


def _must_be_defined(value: Any) -> Any:
    if isinstance(value, Undefined):
        _fail("not defined")
    return value


def _default(value: Any, default: Any = "", boolean: bool = False) -> Any:
    return default if isinstance(value, Undefined) or (boolean and not value) else value


def _iif(value: Any, if_true: Any = True, if_false: Any = False, if_none: Any = _NO_DEFAULT) -> Any:
    if value is None and if_none is not _NO_DEFAULT:
        return if_none
    return if_true if value else if_false


# ---- numbers


def _float(value: Any, default: Any = _NO_DEFAULT) -> Any:
    """As in Home Assistant: what is no number is an error unless there is a default."""
    try:
        return float(value)
    except (TypeError, ValueError, UndefinedError):
        return _fail(f"{value!r:.80} is no number") if default is _NO_DEFAULT else default


def _int(value: Any, default: Any = _NO_DEFAULT, base: int = 10) -> Any:
    try:
        return bounded(int(value, base) if isinstance(value, str) and base != 10 else int(float(value)))
    except (TypeError, ValueError, OverflowError, UndefinedError):
        return _fail(f"{value!r:.80} is no number") if default is _NO_DEFAULT else default


def _round(value: Any, precision: int = 0, method: str = "common", default: Any = _NO_DEFAULT) -> Any:
    try:
        number, scale = float(value), 10.0 ** int(precision)
        if method in ("ceil", "floor", "half"):
            scale = 2.0 if method == "half" else scale
            number *= scale
            number = (math.ceil(number) if method == "ceil" else math.floor(number + (method == "half") / 2)) / scale
        else:
            number = round(number, int(precision))
        return int(number) if int(precision) == 0 and method != "half" else number
    except (TypeError, ValueError, OverflowError, UndefinedError):
        return _fail(f"{value!r:.80} is no number") if default is _NO_DEFAULT else default


def _bool(value: Any, default: Any = _NO_DEFAULT) -> Any:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    found = words.get(str(value).lower())
    if found is None:
        return _fail(f"{value!r:.80} is neither true nor false") if default is _NO_DEFAULT else default
    return found


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, UndefinedError):
        return False


def _least(*values: Any) -> Any:
    return min(values[0] if len(values) == 1 else values)


def _greatest(*values: Any) -> Any:
    return max(values[0] if len(values) == 1 else values)


def _average(values: Any) -> float:
    return sum(float(each) for each in values) / len(values)


# ---- text


def _text(value: Any) -> str:
    return str(bounded(str(value)))


def _replace(value: Any, old: str, new: str) -> str:
    text, old, new = str(value), str(old), str(new)
    if not old or len(text) + text.count(old) * max(0, len(new) - len(old)) > MAX_TEXT:
        raise ValueError("replacement without bound")
    return text.replace(old, new)


def _split(value: str, separator: str | None = None, most: int = -1) -> list[str]:
    return value.split(separator, most)


def _join(values: Any, between: str = "") -> str:
    parts = [str(each) for each in values]
    if sum(map(len, parts)) + len(str(between)) * len(parts) > MAX_TEXT:
        raise ValueError("joined without bound")
    return str(between).join(parts)


_CONVERSION = re.compile(r"%%|%[-+ 0#]{0,3}\d{0,2}(?:\.\d{1,2})?[sdifgeEGxX]")


def _format(form: Any, *values: Any) -> str:
    if "%" in _CONVERSION.sub("", str(form)):
        raise ValueError("a conversion that is not allowed")
    return str(bounded(str(form) % tuple(each if isinstance(each, int | float) else _text(each) for each in values)))


def _slug(value: Any, separator: str = "_") -> str:
    return re.sub(r"[^a-z0-9]+", str(separator)[:1], _text(value).lower()).strip("_-")


def _to_json(value: Any, **_: Any) -> str:
    return str(bounded(json.dumps(value)))


def _from_json(value: Any, default: Any = _NO_DEFAULT) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return _fail("no JSON") if default is _NO_DEFAULT else default


def _pattern(find: Any, ignorecase: bool) -> re.Pattern[str]:
    """Only patterns whose search has a bound: no repeated groups, no references, few choices."""
    text = str(find)
    bare = re.sub(r"\\[^\d]|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text)
    repeats = len(re.findall(r"[*+{]", bare))
    if (
        len(text) > MAX_PATTERN
        or "\\" in bare
        or re.search(r"\)[*+?{]|\(\?(?!:|P<)", bare)
        or repeats > MAX_REPEATS
        or bare.count("|") + len(re.findall(r"(?<![*+}(])\?", bare)) > MAX_ALTERNATIVES
    ):
        raise ValueError(f"the pattern {text!r:.80} is too costly")
    return re.compile(text, re.IGNORECASE if ignorecase else 0)


def _match(value: Any, find: str = "", ignorecase: bool = False) -> bool:
    return _pattern(find, ignorecase).match(str(value)[:MAX_SEARCHED]) is not None


def _search(value: Any, find: str = "", ignorecase: bool = False) -> bool:
    return _pattern(find, ignorecase).search(str(value)[:MAX_SEARCHED]) is not None


def _find_all(value: Any, find: str = "", ignorecase: bool = False) -> list[Any]:
    return _pattern(find, ignorecase).findall(str(value)[:MAX_SEARCHED])


def _find_one(value: Any, find: str = "", index: int = 0, ignorecase: bool = False) -> Any:
    return _find_all(value, find, ignorecase)[index]


def _substitute(value: Any, find: str = "", replace: str = "", ignorecase: bool = False) -> str:
    if len(str(replace)) > MAX_PATTERN:
        raise ValueError("replacement too long")
    return _pattern(find, ignorecase).sub(str(replace), str(value)[:MAX_SEARCHED])


# ---- time


def _moment(value: Any) -> datetime:
    """From a datetime, an ISO text or seconds since 1970; without a zone in local time."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.astimezone()
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError):
        return _moment(datetime.fromisoformat(str(value)))


def _as_timestamp(value: Any, default: Any = _NO_DEFAULT) -> Any:
    try:
        return _moment(value).timestamp()
    except (TypeError, ValueError, OverflowError, OSError, UndefinedError):
        return _fail(f"{value!r:.80} is no time") if default is _NO_DEFAULT else default


def _as_datetime(value: Any, default: Any = _NO_DEFAULT) -> Any:
    try:
        return _moment(value)
    except (TypeError, ValueError, OverflowError, OSError, UndefinedError):
        return _fail(f"{value!r:.80} is no time") if default is _NO_DEFAULT else default


def _local(value: Any) -> datetime:
    return _moment(value).astimezone()


def _timestamp_custom(value: Any, form: str = "%Y-%m-%d %H:%M:%S", local: bool = True, default: Any = "") -> str:
    return _written(_local(value) if local else _moment(value).astimezone(UTC), form)


def _written(moment: datetime, form: Any = "%c") -> str:
    # The C library fills a number to any width that is asked for, up to all memory.
    if len(str(form)) > MAX_TIME_FORMAT or re.search(r"%(?!-?[A-Za-z%])", str(form)):
        raise ValueError("a form of time that is not allowed")
    return moment.strftime(str(form))


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": lambda value: abs(_float(value)),
    "add": lambda value, amount: _float(value) + _float(amount),
    "as_datetime": _as_datetime,
    "as_local": _local,
    "as_timestamp": _as_timestamp,
    "average": _average,
    "base64_decode": lambda value: base64.b64decode(_text(value)).decode(),
    "bitwise_and": lambda value, other: _int(value) & _int(other),
    "bitwise_or": lambda value, other: _int(value) | _int(other),
    "bitwise_xor": lambda value, other: _int(value) ^ _int(other),
    "bool": _bool,
    "capitalize": lambda value: _text(value).capitalize(),
    "count": len,
    "d": _default,
    "default": _default,
    "first": lambda value: value[0],
    "float": _float,
    "format": _format,
    "from_json": _from_json,
    "iif": _iif,
    "int": _int,
    "is_defined": _must_be_defined,
    "is_number": _is_number,
    "join": _join,
    "last": lambda value: value[-1],
    "length": len,
    "list": list,
    "lower": lambda value: _text(value).lower(),
    "max": _greatest,
    "min": _least,
    "multiply": lambda value, amount: _float(value) * _float(amount),
    "ord": ord,
    "regex_findall": _find_all,
    "regex_findall_index": _find_one,
    "regex_match": _match,
    "regex_replace": _substitute,
    "regex_search": _search,
    "replace": _replace,
    "round": _round,
    "slugify": _slug,
    "string": _text,
    "sum": lambda values: sum(float(each) for each in values),
    "timestamp_custom": _timestamp_custom,
    "timestamp_local": lambda value: _local(value).isoformat(),
    "timestamp_utc": lambda value: _moment(value).astimezone(UTC).isoformat(),
    "title": lambda value: _text(value).title(),
    "to_json": _to_json,
    "tojson": _to_json,
    "trim": lambda value: _text(value).strip(),
    "upper": lambda value: _text(value).upper(),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "as_datetime": _as_datetime,
    "as_local": _local,
    "as_timestamp": _as_timestamp,
    "average": lambda *values: _average(values[0] if len(values) == 1 else values),
    "bool": _bool,
    "float": _float,
    "iif": _iif,
    "int": _int,
    "is_number": _is_number,
    "max": _greatest,
    "min": _least,
    "now": lambda: datetime.now().astimezone(),
    "timedelta": lambda **parts: timedelta(**{name: float(part) for name, part in parts.items()}),
    "utcnow": lambda: datetime.now(UTC),
}

TESTS: dict[str, Callable[..., Any]] = {"is_number": _is_number, "match": _match, "search": _search}

METHODS: Mapping[type, Mapping[str, Callable[..., Any]]] = {
    str: {
        "capitalize": str.capitalize,
        "endswith": str.endswith,
        "lower": str.lower,
        "lstrip": str.lstrip,
        "replace": _replace,
        "rstrip": str.rstrip,
        "split": _split,
        "startswith": str.startswith,
        "strip": str.strip,
        "title": str.title,
        "upper": str.upper,
    },
    dict: {"get": lambda value, key, default=None: value.get(key, default)},
    datetime: {
        "isoformat": lambda value, timespec="auto": value.isoformat(timespec=timespec),
        "strftime": _written,
        "timestamp": datetime.timestamp,
    },
    timedelta: {"total_seconds": timedelta.total_seconds},
}
"""By the type of what a method is called on. Those of other types, and any others, are not to be called."""
METHOD_NAMES = frozenset(name for methods in METHODS.values() for name in methods)
