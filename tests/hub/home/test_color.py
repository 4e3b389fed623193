from __future__ import annotations

import pytest

from hub.home.color import (
    NAMED,
    color_name,
    hs_to_rgb,
    kelvin_to_mired,
    mired_to_kelvin,
    parse_color,
    rgb_to_hs,
    rgb_to_xy,
    same_color,
    xy_to_rgb,
)

SHINING = [name for name in NAMED if name != "black"]


@pytest.mark.parametrize("name", SHINING)
def test_a_colour_keeps_its_name_through_every_colour_space(name: str) -> None:
    rgb = NAMED[name]
    assert parse_color(name) == rgb
    assert color_name(rgb) == name
    assert color_name(hs_to_rgb(*rgb_to_hs(rgb))) == name
    assert color_name(xy_to_rgb(*rgb_to_xy(rgb))) == name


@pytest.mark.parametrize("name", SHINING)
def test_no_two_named_colours_are_the_same(name: str) -> None:
    assert [other for other in SHINING if same_color(NAMED[name], NAMED[other])] == [name]


def test_a_colour_without_a_name_is_written_in_hex() -> None:
    assert color_name((18, 200, 60)) == "#12c83c"
    assert parse_color("#12C83C") == (18, 200, 60)
    assert parse_color("mauve") is None
    assert parse_color("#12c83") is None


def test_hues_near_the_turn_are_near() -> None:
    assert same_color(hs_to_rgb(358, 100), hs_to_rgb(2, 100))
    assert not same_color(hs_to_rgb(0, 100), hs_to_rgb(30, 100))


def test_brightness_is_no_part_of_a_colour() -> None:
    assert same_color((128, 0, 0), (255, 0, 0))


def test_colour_temperatures_convert_both_ways() -> None:
    assert kelvin_to_mired(4000) == 250
    assert mired_to_kelvin(370) == 2703
