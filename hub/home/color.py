"""Colours: the names people say, and the ways devices write them."""

from __future__ import annotations

import colorsys
import re

RGB = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

NAMED: dict[str, RGB] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "brown": (165, 42, 42),
    "pink": (255, 192, 203),
    "turquoise": (64, 224, 208),
}
"""The colours of Home Assistant's sentences. As in CSS, but `green`, which CSS makes half as bright."""

SAME_HUE = 8.0
"""Degrees within which two colours count as one: lamps round, and answer in their own colour space."""
SAME_SATURATION = 8.0
"""Percent."""


def parse_color(text: str) -> RGB | None:
    """The colour of a name of `NAMED` or of `#rrggbb`; None for anything else."""
    text = text.strip().lower()
    if text in NAMED:
        return NAMED[text]
    if re.fullmatch(r"#[0-9a-f]{6}", text):
        return (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))
    return None


def color_name(rgb: RGB) -> str:
    """The nearest name that is the same colour, brightness apart; else `#rrggbb`."""
    near = [
        (_distance(rgb, known), name) for name, known in NAMED.items() if name != "black" and same_color(rgb, known)
    ]
    return min(near)[1] if near else "#{:02x}{:02x}{:02x}".format(*rgb)


def same_color(one: RGB, other: RGB) -> bool:
    """Whether two colours of a lamp look alike; how bright they are does not count, lamps have a dimmer for that."""
    (hue, saturation), (other_hue, other_saturation) = rgb_to_hs(one), rgb_to_hs(other)
    if abs(saturation - other_saturation) > SAME_SATURATION:
        return False
    turn = abs(hue - other_hue)
    # The paler a colour, the less its hue says.
    tolerance = SAME_HUE * 100.0 / max(saturation, other_saturation, 1.0)
    return min(turn, 360.0 - turn) <= tolerance


def _distance(one: RGB, other: RGB) -> float:
    (hue, saturation), (other_hue, other_saturation) = rgb_to_hs(one), rgb_to_hs(other)
    turn = abs(hue - other_hue)
    return min(turn, 360.0 - turn) * saturation / 100.0 + abs(saturation - other_saturation)


def rgb_to_hs(rgb: RGB) -> tuple[float, float]:
    """Hue in degrees, saturation in percent."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*(part / 255.0 for part in rgb))
    return round(hue * 360.0, 3), round(saturation * 100.0, 3)


def hs_to_rgb(hue: float, saturation: float) -> RGB:
    """The brightest colour of this hue (degrees) and saturation (percent)."""
    parts = colorsys.hsv_to_rgb(hue % 360.0 / 360.0, min(max(saturation, 0.0), 100.0) / 100.0, 1.0)
    return _rgb(*(part * 255.0 for part in parts))


def rgb_to_xy(rgb: RGB) -> tuple[float, float]:
    """CIE 1931 xy of an sRGB colour, by the wide-gamut matrix that Philips Hue and Zigbee lamps use."""
    red, green, blue = (_linear(part / 255.0) for part in rgb)
    x = red * 0.664511 + green * 0.154324 + blue * 0.162028
    y = red * 0.283881 + green * 0.668433 + blue * 0.047685
    z = red * 0.000088 + green * 0.072310 + blue * 0.986039
    total = x + y + z
    return (round(x / total, 4), round(y / total, 4)) if total else (0.3227, 0.329)


def xy_to_rgb(x: float, y: float) -> RGB:
    """The brightest sRGB colour at these CIE 1931 coordinates; the inverse of `rgb_to_xy`."""
    y = max(y, 1e-6)
    big_x, big_z = x / y, (1.0 - x - y) / y
    parts = (
        big_x * 1.656492 - 0.354851 - big_z * 0.255038,
        -big_x * 0.707196 + 1.655397 + big_z * 0.036152,
        big_x * 0.051713 - 0.121364 + big_z * 1.011530,
    )
    positive = [max(part, 0.0) for part in parts]
    brightest = max(positive) or 1.0
    return _rgb(*(_gamma(part / brightest) * 255.0 for part in positive))


def kelvin_to_mired(kelvin: float) -> int:
    """Reciprocal megakelvin, in which most lamps take a colour temperature."""
    return round(1_000_000.0 / max(kelvin, 1.0))


def mired_to_kelvin(mired: float) -> int:
    """The inverse of `kelvin_to_mired`."""
    return round(1_000_000.0 / max(mired, 1.0))


def _rgb(red: float, green: float, blue: float) -> RGB:
    return (_byte(red), _byte(green), _byte(blue))


def _byte(part: float) -> int:
    return min(max(round(part), 0), 255)


def _linear(part: float) -> float:
    return float(((part + 0.055) / 1.055) ** 2.4) if part > 0.04045 else part / 12.92


def _gamma(part: float) -> float:
    return 12.92 * part if part <= 0.0031308 else float(1.055 * part ** (1.0 / 2.4) - 0.055)
