"""A person's settings, as far as they make sense: one mistake must not cost a machine that nobody can look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import tomli_w

from provisioning.settings import MAX_BYTES, Settings, combined, parse_settings
from swarm.errors import ConfigError
from swarm.toml_file import line_of, parse_table

_ANY = "?"
LISTS = ("wifi", "ssh_keys", "ntp")
"""Their items stand each for themselves."""


class Unreadable(ConfigError):
    """The file as a whole cannot be read: nothing of it counts, and it stays where it is, to be mended."""


def settings_in(data: bytes, *, origin: str) -> tuple[Settings, tuple[str, ...]]:
    """What is right in the content of a settings file, and for people what is not. Raises `Unreadable`."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"{origin} is larger than {MAX_BYTES // 1024} KB", hint="it holds settings and nothing else")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        table = parse_table(text, origin=origin)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{origin} is no UTF-8 text: {error}", hint="save it as UTF-8") from error
    except ConfigError as error:
        raise Unreadable(str(error), hint=error.hint) from error
    try:
        return parse_settings(text, origin=origin), ()
    except ConfigError:
        pass
    right, wrong = Settings(), []
    for part in _parts(table):
        try:
            right = _with(right, part)
        except ConfigError as error:
            wrong.append(_placed(error, text, origin))
    return right, tuple(dict.fromkeys(wrong))


def _parts(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The smallest pieces that can be right or wrong by themselves."""
    for key, value in table.items():
        if key in LISTS and isinstance(value, list):
            yield from ({key: [item]} for item in value)
        elif isinstance(value, dict):
            yield from ({key: {inner: content}} for inner, content in value.items())
        else:
            yield {key: value}


def _with(settings: Settings, part: dict[str, Any]) -> Settings:
    """The settings and one piece more. Raises `ConfigError`."""
    # TOML has no null and tomli_w no other surprises: what came from a file goes back into one.
    one = parse_settings(tomli_w.dumps(part), origin=_ANY)
    [key] = part
    if key in LISTS:
        grown: dict[str, Any] = {key: (*getattr(settings, key), *getattr(one, key))}
    elif key == "config":
        merged = {section: dict(values) for section, values in settings.config.items()}
        for section, values in one.config.items():
            merged[section] = {**merged.get(section, {}), **values} if isinstance(values, dict) else values
        grown = {key: merged}
    else:
        return combined(one, settings)
    whole = msgspec.structs.replace(settings, **grown)
    # Limits of a list, and contradictions between [config] and what is said before it.
    return parse_settings(tomli_w.dumps(msgspec.to_builtins(whole)), origin=_ANY)


def _placed(error: ConfigError, text: str, origin: str) -> str:
    """The complaint about one piece, with the line that it has in the whole file."""
    said = re.sub(rf"^{re.escape(_ANY)}(: \[config\])?(:\d+)?: ", "", str(error))
    key = said.partition(":")[0]
    for name in (key, f"config.{key}", key.partition(".")[0]):
        line = line_of(text, name)
        if line > 1:
            break
    return f"{origin}:{line}: {said}" + (f" ({error.hint})" if error.hint else "")
