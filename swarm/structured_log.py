"""Logs as one JSON object a line, with the task they belong to.

Whoever works on a task says so once, `with log_context(task=task_id):`, and every line logged inside, also by tasks of
asyncio started inside, carries it. The text of a line is data: line breaks and terminal codes in it are escaped by
JSON, and its length is bounded.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import datetime
from types import MappingProxyType
from typing import IO, Literal

import msgspec

MAX_MESSAGE = 4000
"""Characters of a message, and as many of a traceback, its end."""
MAX_FIELDS = 16
MAX_VALUE = 200

_NOTHING: MappingProxyType[str, str] = MappingProxyType({})
_context: ContextVar[MappingProxyType[str, str]] = ContextVar("log_context", default=_NOTHING)
_RESERVED = ("time", "level", "logger", "message", "node", "error")


class log_context:  # noqa: N801 reads as a word where it is used
    """Lines logged inside carry these fields, such as `task` and `utterance`, beside those of the context around."""

    def __init__(self, **fields: str) -> None:
        taken = [name for name in fields if name in _RESERVED]
        if taken:
            raise ValueError(f"a line of the log has its own {taken[0]}")
        merged = {**_context.get(), **{name: value[:MAX_VALUE] for name, value in fields.items()}}
        if len(merged) > MAX_FIELDS:
            raise ValueError(f"{len(merged)} fields are more than {MAX_FIELDS}")
        self._fields = MappingProxyType(merged)

    def __enter__(self) -> None:
        self._token = _context.set(self._fields)

    def __exit__(self, *_exception: object) -> None:
        _context.reset(self._token)


def current_log_context() -> MappingProxyType[str, str]:
    """The fields that a line logged now would carry."""
    return _context.get()


def log_to(
    stream: IO[str] | None = None, *, node: str, form: Literal["json", "text"] = "json", level: int = logging.INFO
) -> logging.Handler:
    """Send the log of the whole process to `stream` (standard error unless told), replacing what was set up before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(node) if form == "json" else TextLines())
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level)
    return handler


class JsonLines(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "node": …, "message": …, "task": …, "error": …}`."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        line: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "node": self._node,
            "message": _message(record),
            **_context.get(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = self.formatException(record.exc_info)[-MAX_MESSAGE:]
        return msgspec.json.encode({key: _sound(value) for key, value in line.items()}).decode()


class TextLines(logging.Formatter):
    """For a person at a terminal: `12:00:00 warning swarm.bus: … task=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and below it a traceback if there is one; control characters are escaped."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        fields = "".join(f" {name}={value}" for name, value in _context.get().items())
        text = _escaped(f"{moment} {record.levelname.lower()} {record.name}: {_message(record)}{fields}")
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "\n".join(map(_escaped, self.formatException(record.exc_info)[-MAX_MESSAGE:].splitlines()))
        return text


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError) as error:  # a wrong format must not lose the line, nor the node
        text = f"{record.msg!r} with {record.args!r}: {error}"
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}… ({len(text)} characters)"


def _sound(text: str) -> str:
    """Without lone surrogates, which no UTF-8 can carry (a file name may bring them)."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in _sound(text))
