from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.verbalize import verbalize

SPOKEN = [
    ("It's 7:05 PM.", "It's seven oh five p m."),
    ("at 7:00 p.m. we eat", "at seven p m we eat"),
    ("It ends at 7 p.m.", "It ends at seven p m."),
    ("19:05", "nineteen oh five"),
    ("19:00", "nineteen hundred"),
    ("It's 7:00.", "It's seven o'clock."),
    ("0:05", "zero oh five"),
    ("25:00", "25:00"),
    ("21.5 °C", "twenty one point five degrees"),
    ("21.0 °C", "twenty one degrees"),
    ("-3 °C", "minus three degrees"),
    ("\N{MINUS SIGN}0.5°", "minus zero point five degrees"),
    ("50%", "fifty percent"),
    ("50 % humidity", "fifty percent humidity"),
    ("1 h 5 min", "one hour five minutes"),
    ("30 s left", "thirty seconds left"),
    ("1:05:09", "one hour five minutes nine seconds"),
    ("Saturday, November 21, 2026.", "Saturday, November twenty first, twenty twenty six."),
    ("21 November 1905", "November twenty first, nineteen oh five"),
    ("2026-11-21", "November twenty first, twenty twenty six"),
    ("May 3rd", "May third"),
    ("120 W", "one hundred twenty watts"),
    ("1 W", "one watt"),
    ("1.5 kWh", "one point five kilowatt hours"),
    ("350 lx", "three hundred fifty lux"),
    ("1013 hPa", "one thousand thirteen hectopascals"),
    ("20 km/h", "twenty kilometers per hour"),
    ("35 µg/m³", "thirty five micrograms per cubic meter"),
    ("1 μg/m³", "one microgram per cubic meter"),
    ("1,234 W", "one thousand two hundred thirty four watts"),
    ("2700 K", "two thousand seven hundred kelvin"),
    ("a 4K screen, B12 and 3D", "a 4K screen, B12 and 3D"),
    ("5-10 °C", "five to ten degrees"),
    ("$3.50", "three dollars fifty"),
    ("€1", "one euro"),
    ("salt & pepper", "salt and pepper"),
    ("e.g. this", "for example this"),
    ("the 21st", "the twenty first"),
    ("version 1.2.3", "version one point two point three"),
    ("3.05", "three point zero five"),
    ("007", "zero zero seven"),
    ("1234567890123456", "one two three four five six seven eight nine zero one two three four five six"),
    ("The lamp is on.", "The lamp is on."),
]


@pytest.mark.parametrize(("shown", "spoken"), SPOKEN, ids=[shown for shown, _ in SPOKEN])
def test_what_is_shown_is_said_as_people_say_it(shown: str, spoken: str) -> None:
    assert verbalize(shown) == spoken


def test_a_language_without_rules_is_left_alone() -> None:
    assert verbalize("21,5 °C um 7:05", "de") == "21,5 °C um 7:05"
    assert verbalize("5 %", "en-GB") == "five percent"


@given(st.text(alphabet="0123456789 .,:-+%°CKWhmAP/&$€stndMay\n", max_size=60))
def test_any_text_can_be_said(text: str) -> None:
    assert len(verbalize(text)) <= 40 * (len(text) + 1)
