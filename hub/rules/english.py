"""How English says times, days and what happens to things: patterns over lower-case words, and what they mean.

A time without AM or PM is taken as people mean it most: something is done at seven in the morning and at five in the
afternoon, and "after ten" or "before seven" is about the night. It is read back with AM or PM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from hub.home.entity import Entity
from hub.rules.rule import WEEKDAYS, WEEKEND, Between, Days, Quantity, StateTest

Use = Literal["at", "after", "before"]
"""What a time is for: something is done then, or it begins or ends a part of the day."""

_ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_DECADES = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_TENS = {name: 10 * tens for tens, name in enumerate(_DECADES, 2)}
_DAY_NAMES = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

_one_to_nine = "|".join(_ONES[:9])
_minutes = rf"(?:(?:twenty|thirty|forty|fifty)(?: (?:{_one_to_nine}))?|{'|'.join(_TEENS)}|(?:oh|o) (?:{_one_to_nine}))"
_hour = rf"(?:[01]?\d|2[0-4]|{'|'.join(sorted(_ONES, key=len, reverse=True))})"
_half = r"(?:am|pm|a m|p m|in the morning|in the afternoon|in the evening|at night|tonight)"
_clock = (
    rf"(?:{_hour}[:.][0-5]\d|(?:half|a? ?quarter|five|ten|twenty|twenty five|\d\d?)(?: minutes?)? (?:past|to) {_hour}"
    rf"|{_hour} {_minutes}|{_hour})(?: o'clock)?(?: ?{_half})?"
)
TIME = rf"(?:noon|midday|midnight|{_clock})"
_day = rf"(?:{'|'.join(_DAY_NAMES)})s?"
_some_days = rf"{_day}(?:(?: and| through| to)? {_day})*"
_part = r"(?: (?:morning|afternoon|evening|night))?"
_every = rf"(?:every|each) (?:day|weekday|working day|weekend|morning|afternoon|evening|night|{_some_days}){_part}"
_on = rf"on (?:weekdays|working days|weekends|{_some_days})|from {_day} to {_day}|daily"
EACH = rf"(?:{_every}|{_on})"
"""Days on which something is done again and again."""
AT = rf"(?:at|around) (?P<time>{TIME})"
REPEATED = (rf"(?P<days>{EACH}) {AT}", rf"{AT} (?P<days>{EACH})")
"""Time triggers, either way round."""
ON_DAYS = rf"(?:(?:but )?only )?(?:{_on}|{_every})"
_PARTS = {
    "at night": (22 * 60, 6 * 60),
    "during the night": (22 * 60, 6 * 60),
    "in the morning": (5 * 60, 12 * 60),
    "in the afternoon": (12 * 60, 18 * 60),
    "in the evening": (18 * 60, 23 * 60),
    "during the day": (7 * 60, 22 * 60),
}
WINDOW = (
    rf"(?:(?:but )?only )?(?:after {TIME}|before {TIME}|between {TIME} and {TIME}|from {TIME} (?:to|until) {TIME}"
    rf"|{'|'.join(_PARTS)})"
)
LATE = 5 * 60
"""When the night of "after ten" is over."""


def time_of_day(text: str, use: Use = "at", part: str = "") -> int:
    """Minutes since midnight of what `TIME` matches. `part` is what else was said of the time of the day."""
    if text in ("noon", "midday"):
        return 12 * 60
    if text == "midnight":
        return 0
    hour, minute, exact = _read_clock(text)
    said = re.search(rf"{_half}$", text)
    half = said[0].replace(" ", "") if said else part.strip()
    if half in ("am", "inthemorning", "morning"):
        hour %= 12
    elif half in ("pm", "intheafternoon", "intheevening", "afternoon", "evening"):
        hour = hour % 12 + 12
    elif half in ("atnight", "tonight", "night"):
        hour = hour % 12 + (12 if hour % 12 >= 5 else 0)
    elif not exact and hour <= 12:
        hour = _most_likely(hour, use)
    return (hour % 24 * 60 + minute) % 1440


def _most_likely(hour: int, use: Use) -> int:
    match use:
        case "at":
            return hour + 12 if 1 <= hour <= 5 else hour
        case "after":
            return hour % 12 + 12 if hour % 12 >= 4 else hour % 12
        case "before":
            return hour


def _read_clock(text: str) -> tuple[int, int, bool]:
    """Hour, minute, and whether it can only be meant in one way."""
    clock = re.sub(rf"(?: o'clock)?(?: ?{_half})?$", "", text)
    if digits := re.fullmatch(r"(\d{1,2})[:.](\d\d)", clock):
        return int(digits[1]), int(digits[2]), int(digits[1]) > 12 or digits[1].startswith("0")
    if relative := re.fullmatch(rf"(.+?)(?: minutes?)? (past|to) ({_hour})", clock):
        minutes = {"half": 30, "quarter": 15, "a quarter": 15}.get(relative[1]) or _number(relative[1])
        hour, _, exact = _read_clock(relative[3])
        if relative[2] == "past":
            return hour, minutes, exact
        return (hour - 1) % 24 or (12 if not exact else 0), 60 - minutes, exact
    first, _, rest = clock.partition(" ")
    hour = _number(first)
    return hour, _number(rest) if rest else 0, hour > 12 or (first.isdigit() and first.startswith("0"))


def _number(words: str) -> int:
    if words.isdigit():
        return int(words)
    total = 0
    for word in words.split():
        if word in _TENS:
            total += _TENS[word]
        elif word in _TEENS:
            total += _TEENS.index(word) + 10
        elif word in _ONES:
            total += _ONES.index(word) + 1
    return total


def days_of(text: str) -> Days:
    """The days that `EACH` or `ON_DAYS` names."""
    if re.search(r"\b(?:weekdays?|working days?)\b", text):
        return WEEKDAYS
    if re.search(r"\bweekends?\b", text):
        return WEEKEND
    found = [_DAY_NAMES.index(name) for name in re.findall(rf"\b({'|'.join(_DAY_NAMES)})", text)]
    if len(found) == 2 and re.search(r" (?:to|through) ", text):
        first, last = found
        found = [(first + step) % 7 for step in range((last - first) % 7 + 1)]
    days = tuple(sorted(set(found)))
    return () if len(days) == 7 else days


def part_of(text: str) -> str:
    """`morning`, `afternoon`, `evening` or `night` when the days are said so ("every morning"); else empty."""
    found = re.search(r"\b(morning|afternoon|evening|night)s?$", text)
    return found[1] if found else ""


def window_of(text: str) -> Between:
    """What `WINDOW` names. "After" lasts until midnight, from the evening on until the end of the night; "before"
    begins at midnight."""
    text = re.sub(r"^(?:but )?(?:only )?", "", text)
    if text in _PARTS:
        return Between(*_PARTS[text])
    first, _, rest = text.partition(" ")
    if first == "after":
        start = time_of_day(rest, "after")
        return Between(start, LATE if start >= 17 * 60 or start < LATE else 0)
    if first == "before":
        return Between(0, time_of_day(rest, "before"))
    begins, ends = re.split(rf" (?:and|to|until) (?=noon|mid|{_hour})", rest, maxsplit=1)
    half = re.search(rf" ?{_half}$", ends)
    if half is None or re.search(rf"(?:{_half}|noon|midday|midnight)$", begins):
        start, end = time_of_day(begins, "after"), time_of_day(ends, "before")
        return Between(start, 0 if ends == "twelve" and start >= 17 * 60 else end)
    start, end = time_of_day(f"{begins} {half[0].strip()}"), time_of_day(ends)
    return Between(start if start < end else (start + 720) % 1440, end)


# ---- what happens to things

_is = r"(?:is|are|gets|get|has been|have been)"
_digit_words = "|".join(sorted({"zero", "hundred", "point", *_ONES, *_TEENS, *_TENS}, key=len, reverse=True))
_number_said = rf"(?P<number>-?\d+(?:\.\d+)?|(?:minus )?(?:\d+|(?:{_digit_words})(?: (?:{_digit_words}))*))"
_unit = r"(?: (?:degrees?(?: celsius| fahrenheit)?|percent|watts?|lux|ppm))?"
_senses = "motion|movement|something|somebody|someone|water|a leak|smoke|gas"
_over = "(?:rises?|goes|climbs?|gets|is) (?:above|over)|exceeds|(?:is|gets) (?:higher|more|warmer|hotter) than"
_under = "(?:falls?|drops?|goes|sinks?|gets|is) (?:below|under)|(?:is|gets) (?:lower|less|colder|cooler) than"
EVENTS: tuple[tuple[str, str], ...] = (
    ("open", rf"opens?|{_is} (?:opened|open)"),
    ("closed", rf"closes?|shuts?|{_is} (?:closed|shut)"),
    ("on", rf"(?:turns?|comes?|goes|go|switch(?:es)?|{_is}(?: turned| switched)?) on"),
    ("off", rf"(?:turns?|goes|go|switch(?:es)?|{_is}(?: turned| switched)?) off"),
    ("locked", rf"locks?|{_is} locked"),
    ("unlocked", rf"unlocks?|{_is} unlocked"),
    ("active", rf"detects? (?:{_senses})|(?:is|gets) (?:wet|occupied)"),
    ("happens", rf"rings?|{_is} (?:pressed|pushed|rung|triggered)"),
    ("above", rf"(?:{_over}) {_number_said}{_unit}"),
    ("below", rf"(?:{_under}) {_number_said}{_unit}"),
    ("value", r"(?:becomes?|changes to|is|says) (?P<value>[a-z0-9_]+(?: [a-z0-9_]+)?)"),
)
"""Kind of event, and how it is said of a thing."""

_OPENINGS = ("", "door", "window", "garage_door", "opening")
_MEASURED: dict[str, Quantity] = {
    "sensor": "value",
    "number": "value",
    "climate": "temperature",
    "humidifier": "humidity",
}
_NAMED_VALUES = ("sensor", "select", "vacuum", "alarm_control_panel", "climate", "humidifier", "event", "lawn_mower")


def tests(event: str, match: re.Match[str], entity: Entity) -> Iterator[StateTest]:
    """What the event means for this entity; nothing when the entity cannot tell it."""
    kind, device_class = entity.component, entity.device_class
    binary = kind == "binary_sensor"
    match event:
        case "open" if kind in ("cover", "valve"):
            yield StateTest(entity.id, ("open", "opening"))
        case "closed" if kind in ("cover", "valve"):
            yield StateTest(entity.id, ("closed",))
        case "open" | "closed" if binary and device_class in _OPENINGS:
            yield StateTest(entity.id, ("on" if event == "open" else "off",))
        case "on" | "off" if kind not in ("cover", "valve", "lock", "number", *_NAMED_VALUES):
            yield StateTest(entity.id, (event,))
        case "off" if kind == "climate":
            yield StateTest(entity.id, ("off",))
        case "locked" | "unlocked" if kind == "lock":
            yield StateTest(entity.id, (event,))
        case "locked" | "unlocked" if binary and device_class == "lock":
            yield StateTest(entity.id, ("off" if event == "locked" else "on",))
        case "active" if binary:
            yield StateTest(entity.id, ("on",))
        case "happens" if kind == "event":
            yield StateTest(entity.id)
        case "above" | "below":
            number = spoken_number(match["number"])
            quantity = _MEASURED.get(kind)
            if number is not None and quantity is not None:
                above, below = (number, None) if event == "above" else (None, number)
                yield StateTest(entity.id, above=above, below=below, quantity=quantity)
        case "value" if kind in _NAMED_VALUES and "than" not in match["value"]:
            yield StateTest(entity.id, (match["value"], match["value"].replace(" ", "_")))


def spoken_number(text: str) -> float | None:
    """`21.5`, `minus 3`, `twenty one`, `twenty one point five`; None when it is no number."""
    try:
        return float(text)
    except ValueError:
        pass
    sign, text = (-1.0, text[6:]) if text.startswith("minus ") else (1.0, text)
    whole, _, fraction = text.partition(" point ")
    if text.isdigit():
        return sign * float(text)
    hundreds, found, rest = whole.rpartition("hundred")
    words = [*hundreds.split(), *rest.split(), *fraction.split()]
    if not (words or found) or not all(
        word in _TENS or word in _TEENS or word in _ONES or word == "zero" for word in words
    ):
        return None
    value = float(_number(rest.strip()) + (100 * (_number(hundreds.strip()) or 1) if found else 0))
    return sign * (value + (_number(fraction) / 10 if fraction else 0))
