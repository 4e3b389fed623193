"""What the hub can do. To add a skill: one file here, one line in `SKILLS`."""

from __future__ import annotations

from hub.skills.broadcast import Broadcast
from hub.skills.clock import Clock
from hub.skills.control import Control
from hub.skills.past import Past
from hub.skills.rules import RuleSkill
from hub.skills.skill import Skill
from hub.skills.state import HomeState
from hub.skills.talk import Talk
from hub.skills.timing import TimerSkill
from hub.skills.volume import Volume

SKILLS: tuple[Skill, ...] = (
    Control(),
    HomeState(),
    Past(),
    TimerSkill(),
    RuleSkill(),
    Clock(),
    Volume(),
    Broadcast(),
    Talk(),
)
"""In this order they say what they can do."""
