"""TOML files that a person writes: read whole into a struct; what is wrong is told with its line."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from swarm.errors import ConfigError

MAX_LEFT_OUT = 100

_log = logging.getLogger(__name__)
Shape = TypeVar("Shape")


def parse_table(text: str, *, origin: str) -> dict[str, Any]:
    """What the text says. Raises `ConfigError`; `origin` is how it calls the file, as everywhere here."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what int() refuses
        raise ConfigError(f"{origin}: not valid TOML: {error}") from error


def shaped(
    data: dict[str, Any], shape: type[Shape], text: str, *, origin: str, meant: Mapping[str, str] | None = None
) -> Shape:
    """`data`, which came from `text`, as a `shape`. Raises `ConfigError` that names file, line and key.

    `meant` tells, by key, what belongs there, in words for people instead of a pattern.
    """
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        whole = path.rstrip("`")
        in_table = re.fullmatch(r"([\w.]+)\[(\d+)\](?:\.(\w+).*)?", whole)
        line = line_in_table(text, in_table[1], int(in_table[2]), in_table[3]) if in_table else None
        key = f"{in_table[1]}.{in_table[3]}" if in_table and in_table[3] else whole.split("[")[0]
        if meant and key in meant:
            message = f"has to be {meant[key]}"
        raise ConfigError(f"{origin}:{line or line_of(text, key)}: {key}: {message}") from error


def leave_out_unknown(data: dict[str, Any], shape: type[Any], origin: str) -> None:
    """Take out of `data` what a `shape` cannot hold, and say so in the log: keys and values of a newer version."""
    for _ in range(MAX_LEFT_OUT):
        try:
            msgspec.convert(data, shape)
            return
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            steps = [name or int(index) for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path)]
            if unknown := re.search(r"unknown field `([^`]*)`", message):
                steps.append(unknown[1])
            if not _take_out(data, steps):
                return  # whoever reads it says what is wrong
            _log.warning("%s: %s is left out: %s", origin, ".".join(map(str, steps)), message)


def _take_out(data: Any, steps: list[str | int]) -> bool:
    """Whether there was something at that place."""
    try:
        for step in steps[:-1]:
            data = data[step]
        del data[steps[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def unknown_key(key: str, known: Iterable[str], text: str, *, origin: str) -> ConfigError:
    """The error for a key that is none of the `known`, with the one that may have been meant."""
    import difflib  # a node whose configuration is right does without

    last = {name.rpartition(".")[2]: name for name in known}  # the section is right: only the rest may be misspelt
    near = difflib.get_close_matches(key.rpartition(".")[2], last, n=1)
    hint = f"did you mean {last[near[0]]}?" if near else f"known here: {', '.join(last.values())}"
    return ConfigError(f"{origin}:{line_of(text, key)}: {key}: no such key", hint=hint)


def line_of(text: str, key: str) -> int:
    """The line that sets `section.key` or opens `[section]`; 1 when it cannot be told."""
    sections = (key.partition(".")[0], key.rpartition(".")[0], key)
    current, section_line = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([\w.-]+)\s*\]+", line)
        if header:
            current = header.group(1)
            section_line = number if current in sections else section_line
        name = line.split("=")[0].strip().strip("\"'")
        full = f"{current}.{name}" if current else name
        if "=" in line and full == key:
            return number
    return section_line


def line_in_table(text: str, table: str, index: int, key: str | None) -> int | None:
    """The line that sets `key` in the `index`-th `[[table]]`, or that begins it; None when there is none."""
    found, begins = -1, None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([\w.-]+)\s*\]+", line)
        if header:
            found += header[1] == table
            begins = number if header[1] == table and found == index else begins
        elif found == index and begins and key and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
    return begins
