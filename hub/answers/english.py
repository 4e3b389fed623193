"""English building blocks: names, lists, counts, numbers, durations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hub.home.entity import Entity

_NOUNS = {
    "light": ("light", "lights"),
    "switch": ("switch", "switches"),
    "fan": ("fan", "fans"),
    "climate": ("thermostat", "thermostats"),
    "lock": ("lock", "locks"),
    "scene": ("scene", "scenes"),
    "button": ("button", "buttons"),
    "cover": ("cover", "covers"),
    "valve": ("valve", "valves"),
    "siren": ("siren", "sirens"),
    "humidifier": ("humidifier", "humidifiers"),
    "vacuum": ("vacuum cleaner", "vacuum cleaners"),
    "lawn_mower": ("lawn mower", "lawn mowers"),
    "water_heater": ("water heater", "water heaters"),
    "alarm_control_panel": ("alarm system", "alarm systems"),
    "sensor": ("sensor", "sensors"),
    "binary_sensor": ("sensor", "sensors"),
    "awning": ("awning", "awnings"),
    "blind": ("blind", "blinds"),
    "curtain": ("curtain", "curtains"),
    "damper": ("damper", "dampers"),
    "door": ("door", "doors"),
    "garage": ("garage door", "garage doors"),
    "garage_door": ("garage door", "garage doors"),
    "gate": ("gate", "gates"),
    "shade": ("shade", "shades"),
    "shutter": ("shutter", "shutters"),
    "window": ("window", "windows"),
}


def noun(kind: str, count: int = 1) -> str:
    """What a component or device class is called; "device" for any other."""
    singular, plural = _NOUNS.get(kind, ("device", "devices"))
    return singular if count == 1 else plural


def counted(count: int, kind: str) -> str:
    """`1 light`, `3 lights`."""
    return f"{count} {noun(kind, count)}"


def article(name: str) -> str:
    """The name inside a sentence: `the kitchen lamp`, `Anna's lamp`, `my lamp`, `the TV lamp`."""
    first = name.split(" ", 1)[0]
    if re.search(r"['\u2019]s?$", first):
        return name
    if first.casefold() in ("the", "my", "our"):
        return name[:1].lower() + name[1:]
    return f"the {name[:1].lower() + name[1:] if first[1:].islower() else name}"


def the(entity: Entity, among: Mapping[str, Entity]) -> str:
    """The entity inside a sentence, with its room when another entity has the same name."""
    name = " ".join(entity.name.split())[:60] or entity.id
    if entity.component == "scene":
        return name  # "Movie night" is a title
    twins = sum(1 for other in among.values() if other.name.casefold() == entity.name.casefold())
    if twins > 1 and entity.area:
        return f"{article(name)}{place(entity.area)}"
    return article(name)


def place(area: str) -> str:
    """` in the kitchen`, with its leading space; empty for no area."""
    return f" in {article(area)}" if area else ""


def listed(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""


_PLURALS = frozenset(plural.split()[-1] for _, plural in _NOUNS.values()) | frozenset(
    ("bulbs", "candles", "chandeliers", "drapes", "lamps", "leds", "plugs", "speakers", "spots", "spotlights", "strips")
)


def is_plural(entity: Entity) -> bool:
    """Whether its name takes a plural verb: "the living room blinds are closed"."""
    return entity.name.casefold().rpartition(" ")[2] in _PLURALS


def named(entities: Sequence[Entity], among: Mapping[str, Entity], most: int = 4) -> str:
    """The entities inside a sentence, at most `most` of them by name: `the a, the b, the c and 5 more`."""
    if len(entities) <= most:
        return listed([the(entity, among) for entity in entities])
    return listed([*(the(entity, among) for entity in entities[: most - 1]), f"{len(entities) - most + 1} more"])


def sentence(text: str, end: str = ".") -> str:
    """With a capital first letter and its full stop."""
    return f"{text[:1].upper()}{text[1:]}{end}" if text else ""


def number(value: float) -> str:
    """As many digits as a person wants to hear: `21.5`, `0.35`, `120`, `-3`."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 1 or value == 0 else 2
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def with_unit(value: str, unit: str) -> str:
    """`50%`, `21.5 °C`, `on`; a reading that is a number is rounded."""
    try:
        reading = number(float(value))
    except (ValueError, OverflowError):
        reading = " ".join(value.split())[:60]
    return f"{reading}{'' if unit in ('%', '°') else ' '}{unit}".strip()


def degrees(value: float, unit: str) -> str:
    """`21.5 °C`, or `21.5°` when the device never named its unit."""
    return with_unit(str(value), unit or "°")


def duration(seconds: float) -> str:
    """The two largest units that say something: `1 hour 5 minutes`, `4 minutes 30 seconds`, `1 second`."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute"), (secs, "second")]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    said = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts[first : first + 2] if count]
    return " ".join(said) or "0 seconds"


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def weekday(day: int) -> str:
    """0 is `Monday`."""
    return _DAYS[day]


def clock(minute: int) -> str:
    """Minutes since midnight as a time of the day: `7 AM`, `7:30 PM`, `noon`, `midnight`."""
    hour, rest = divmod(minute % 1440, 60)
    if rest == 0 and hour in (0, 12):
        return "midnight" if hour == 0 else "noon"
    minutes = f":{rest:02}" if rest else ""
    return f"{hour % 12 or 12}{minutes} {'AM' if hour < 12 else 'PM'}"
