"""How often an update under way is looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How often an update under way is looked at, and how long is waited."""

    look_every_s: float = 2.0
    """Whether it is quiet, whether the new system proved itself."""
    quiet_s: float = 3.0
    """So long nothing may have gone on before a node is taken away."""
    plan_every_s: float = 5.0
    """Who may install next."""
