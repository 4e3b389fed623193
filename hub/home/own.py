"""Discovery messages that this project publishes about its own nodes (`hub.seen`). They come back to every hub on the
same bus, and are no devices of the home: nobody is to mute the assistant by "turn off all the switches"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ORIGIN = "mycoswarm"
"""What such a message names as its origin."""


def is_own(content: Mapping[str, Any]) -> bool:
    """Whether a node of a swarm, of this one or another, published the discovery message."""
    origin = content.get("origin", content.get("o"))
    return isinstance(origin, dict) and origin.get("name") == ORIGIN
