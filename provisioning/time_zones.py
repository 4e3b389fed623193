"""Names of time zones, as far as this machine knows them."""

from __future__ import annotations

import difflib
import zoneinfo
from functools import cache


def nearest_zone(name: str) -> str:
    """`name` itself if it is a zone of the IANA database, else the one that it may have meant, else nothing.

    A machine without that database takes every name: the image has it, and looks again.
    """
    known = _known()
    if not known or name in known:
        return name
    folded = {zone.casefold(): zone for zone in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else ""


@cache
def _known() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
