"""Says what is wrong with somebody's messages, each fault once."""

from __future__ import annotations

import logging

MAX_COMPLAINTS = 1000
"""Things of which it is remembered that their fault was logged."""


class Complaints:
    """Call it with what is at fault (a topic) and the sentence about it."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def __call__(self, about: str, complaint: str) -> None:
        """Log it as a warning, unless it was the last that was said about this."""
        if self._last.get(about) == complaint:
            return
        if len(self._last) >= MAX_COMPLAINTS:
            self._last.pop(next(iter(self._last)))
        self._last[about] = complaint
        self._log.warning("%s", complaint)
