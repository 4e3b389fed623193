"""Turns text as it is shown into text as it is spoken: numbers, units, times and dates become words.

Synthesizers differ in what they make of "21.5 °C" or "7:05 PM"; written out they all say the same. Number names come
from Unicode's rules (CLDR, rule-based number format). Only languages in `_LANGUAGES` are changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from unicode_rbnf import FormatPurpose, RbnfEngine

MAX_DIGITS = 15
"""A longer number is read digit by digit."""


def verbalize(text: str, language: str = "en") -> str:
    """`text` in words; unchanged where the language has no rules. Doing it twice changes nothing more."""
    rules = _LANGUAGES.get(language.partition("-")[0].partition("_")[0].lower())
    return rules(text) if rules is not None else text


def _english(text: str) -> str:
    text = (
        text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
    )
    for pattern, spoken in _RULES:
        text = pattern.sub(spoken, text)
    return re.sub(r"[ \t]{2,}", " ", text).strip()


# ---- numbers


def _number(digits: str) -> str:
    """`-21.5` → `minus twenty one point five`; takes `1,234` too."""
    digits = digits.replace(",", "")
    sign, digits = ("minus ", digits[1:]) if digits.startswith("-") else ("", digits.lstrip("+"))
    whole, _, fraction = digits.partition(".")
    said = _digits(whole) if len(whole) > MAX_DIGITS or (len(whole) > 1 and whole[0] == "0") else _cardinal(int(whole))
    return f"{sign}{said}{f' point {_digits(fraction)}' if fraction else ''}"


def _cardinal(value: int) -> str:
    return _in_words(value, FormatPurpose.CARDINAL)


def _ordinal(value: int) -> str:
    return _in_words(value, FormatPurpose.ORDINAL)


def _year(value: int) -> str:
    return _in_words(value, FormatPurpose.YEAR)


@lru_cache(maxsize=4096)
def _in_words(value: int, purpose: FormatPurpose) -> str:
    words: str = _engine().format_number(value, purpose=purpose).text
    return words.replace("-", " ")


@lru_cache(maxsize=1)
def _engine() -> RbnfEngine:
    return RbnfEngine.for_language("en")


def _digits(digits: str) -> str:
    return " ".join(_cardinal(int(digit)) for digit in digits)


# ---- times and dates


_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MONTH = "|".join(_MONTHS)


def _date(match: re.Match[str]) -> str:
    year = f", {_year(int(match['year']))}" if match["year"] else ""
    return f"{match['month']} {_ordinal(int(match['day']))}{year}"


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match["month"]), int(match["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match.group()
    return f"{_MONTHS[month - 1]} {_ordinal(day)}, {_year(int(match['year']))}"


def _clock_time(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    half = match["half"]
    if hour > 23 or minute > 59:
        return match.group()
    if minute == 0:
        end = "" if half else " o'clock" if 1 <= hour <= 12 else " hundred"
    else:
        end = f" {'oh ' if minute < 10 else ''}{_cardinal(minute)}"
    said = f"{_cardinal(hour)}{end}"
    if not half:
        return said
    stop = "." if half.endswith(".") and match.string[match.end() :].strip() == "" else ""
    return f"{said} {half[0].lower()} m{stop}"


def _hours_minutes_seconds(match: re.Match[str]) -> str:
    parts = zip(match.groups(), ("hour", "minute", "second"), strict=True)
    return " ".join(f"{_cardinal(int(count))} {unit}{'' if int(count) == 1 else 's'}" for count, unit in parts)


# ---- units


_UNITS = {
    "°C": "degrees",
    "°F": "degrees",
    "°": "degrees",
    "K": "kelvin",
    "%": "percent",
    "µW": "microwatts",
    "mW": "milliwatts",
    "W": "watts",
    "kW": "kilowatts",
    "MW": "megawatts",
    "Wh": "watt hours",
    "kWh": "kilowatt hours",
    "MWh": "megawatt hours",
    "VA": "volt amperes",
    "V": "volts",
    "mV": "millivolts",
    "A": "amps",
    "mA": "milliamps",
    "Ah": "amp hours",
    "mAh": "milliamp hours",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "lx": "lux",
    "lm": "lumens",
    "Pa": "pascals",
    "hPa": "hectopascals",
    "kPa": "kilopascals",
    "mbar": "millibars",
    "bar": "bars",
    "psi": "p s i",
    "mm/h": "millimeters per hour",
    "mm": "millimeters",
    "cm": "centimeters",
    "m": "meters",
    "km": "kilometers",
    "m²": "square meters",
    "m³": "cubic meters",
    "m³/h": "cubic meters per hour",
    "km/h": "kilometers per hour",
    "m/s": "meters per second",
    "mph": "miles per hour",
    "ft": "feet",
    "µg": "micrograms",
    "mg": "milligrams",
    "g": "grams",
    "kg": "kilograms",
    "lb": "pounds",
    "oz": "ounces",
    "µg/m³": "micrograms per cubic meter",
    "mg/m³": "milligrams per cubic meter",
    "g/m³": "grams per cubic meter",
    "ppm": "parts per million",
    "ppb": "parts per billion",
    "ml": "milliliters",
    "mL": "milliliters",
    "l": "liters",
    "L": "liters",
    "L/min": "liters per minute",
    "dB": "decibels",
    "dBm": "decibel milliwatts",
    "kB": "kilobytes",
    "MB": "megabytes",
    "GB": "gigabytes",
    "TB": "terabytes",
    "kbit/s": "kilobits per second",
    "Mbit/s": "megabits per second",
    "Gbit/s": "gigabits per second",
    "ms": "milliseconds",
    "s": "seconds",
    "sec": "seconds",
    "min": "minutes",
    "h": "hours",
    "hr": "hours",
    "d": "days",
    "kcal": "kilocalories",
    "€": "euros",
    "$": "dollars",
    "£": "pounds",
}
_UNCHANGED = frozenset({"%", "K", "lx", "Hz", "kHz", "MHz", "GHz", "psi"})
"""Units whose name has no other form for one."""
_SINGULAR = {"feet": "foot"}


def _quantity(match: re.Match[str]) -> str:
    digits, unit = match["number"], match["unit"].replace("μ", "µ").replace("\u2103", "°C").replace("\u2109", "°F")
    if re.fullmatch(r"[-+]?\d[\d,]*\.0+", digits):
        digits = digits.split(".")[0]  # a sensor's 21.0 is twenty one
    if unit == "K" and match.string[match.start("unit") - 1] != " ":
        return match.group()  # 4K is a screen, 2700 K a color temperature
    name = _UNITS[re.sub(r"°\s+", "°", unit)]
    if digits.lstrip("-+") == "1" and unit not in _UNCHANGED:
        counted, per, rest = name.partition(" per ")
        name = f"{_one(counted)}{per}{rest}"
    return f"{_number(digits)} {name}"


def _one(name: str) -> str:
    return _SINGULAR.get(name, name.removesuffix("s"))


def _money(match: re.Match[str]) -> str:
    name = _UNITS[match["sign"]]
    whole, _, cents = match["number"].partition(".")
    said = f"{_number(whole)} {_one(name) if whole == '1' else name}"
    return f"{said} {_number(cents.lstrip('0') or '0')}" if cents.strip("0") else said


# ---- the order matters: what is longer and more special comes first

_NUMBER = r"(?P<number>(?<![\w.,:/-])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
_UNIT = "|".join(sorted((re.escape(unit) for unit in _UNITS), key=len, reverse=True))
_UNIT = _UNIT.replace("µ", "[µμ]").replace("°C", "(?:°\\s?C|\u2103)").replace("°F", "(?:°\\s?F|\u2109)")

_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\be\.g\.(?=\W|$)"), "for example"),
    (re.compile(r"\bi\.e\.(?=\W|$)"), "that is"),
    (re.compile(r"\betc\.?(?=\W|$)"), "et cetera"),
    (re.compile(r"\bapprox\.(?=\W|$)"), "approximately"),
    (re.compile(r"\bvs\.?(?=\W|$)"), "versus"),
    (re.compile(r"\s*&\s*(?!\w+;)"), " and "),
    (re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?![\d-])"), _iso_date),
    (re.compile(rf"\b(?P<month>{_MONTH})\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}})\b)?"), _date),
    (re.compile(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?P<month>{_MONTH})\b(?:,?\s+(?P<year>\d{{4}})\b)?"), _date),
    (re.compile(r"(?<![\d:])(\d{1,2}):([0-5]\d):([0-5]\d)(?![\d:])"), _hours_minutes_seconds),
    (
        re.compile(r"(?<![\d:.])(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s?(?P<half>[AaPp]\.[Mm]\.|[AaPp]\.?[Mm]\b)"),
        _clock_time,
    ),
    (re.compile(r"(?<![\d:])(?P<hour>\d{1,2}):(?P<minute>\d{2})(?P<half>)(?![\d:])"), _clock_time),
    (re.compile(r"(?P<sign>[€$£])(?P<number>\d[\d,]*(?:\.\d+)?)"), _money),
    # A range is no subtraction: "5-10 °C".
    (re.compile(r"(?<![\w.,:/-])(\d{1,3}(?:\.\d+)?)(?:-|\s?\u2013\s?)(?=\d{1,3}(?:\.\d+)?(?![\d-]))"), r"\1 to "),
    (re.compile(rf"{_NUMBER}\s?(?P<unit>{_UNIT})(?![\w/²³])"), _quantity),
    (re.compile(r"(?<![\w.])(\d{1,4})(?:st|nd|rd|th)\b"), lambda match: _ordinal(int(match[1]))),
    # Versions and addresses: "1.2.3", "192.168.1.1".
    (re.compile(r"(?<![\w./])\d+(?:\.\d+){2,}(?![\w.]*\w)"), lambda m: " point ".join(map(_number, m[0].split(".")))),
    (re.compile(rf"{_NUMBER}(?![\w:/]|[.,-]\d)"), lambda match: _number(match["number"])),
)

_LANGUAGES: dict[str, Callable[[str], str]] = {"en": _english}
