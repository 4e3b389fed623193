"""English sentences about time, volume, the conversation itself and the language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from hub.answers.english import article, listed, sentence, the
from hub.home.entity import Entity


class TalkWords:
    """All that is neither a deed, a state nor a timer."""

    def time(self, now: datetime) -> str:
        """`It's 7:05 PM.`"""
        return f"It's {now.hour % 12 or 12}:{now:%M} {'AM' if now.hour < 12 else 'PM'}."

    def date(self, now: datetime) -> str:
        """`It's Saturday, November 21, 2026.`"""
        return f"It's {_DAYS[now.weekday()]}, {_MONTHS[now.month - 1]} {now.day}, {now.year}."

    def volume(self, percent: int) -> str:
        """Set."""
        return f"Volume is at {percent}%." if percent else "Volume is off."

    def identify(self, name: str) -> str:
        """Which of several satellites it is that speaks."""
        return f"This is {name[:100]}."

    def no_speaker(self, area: str) -> str:
        """No satellite to turn up or down."""
        return f"No voice satellite is connected{f' in the {area[:60].lower()}' if area else ' here'}."

    def announced(self, places: Sequence[str]) -> str:
        """Said, or about to be, in these rooms."""
        if len(places) > 4:
            return f"I announced it in {len(places)} rooms."
        return f"I announced it in {listed([article(place[:60].lower()) for place in places])}."

    def not_announced(self, places: Sequence[str]) -> str:
        """The satellites there did not take it."""
        return f"I could not announce it in {listed([article(place[:60].lower()) for place in places[:4]])}."

    def nobody_to_tell(self) -> str:
        """An announcement for all other rooms, and there is none."""
        return "There is no other room with a voice satellite."

    def what_to_announce(self) -> str:
        """Only the beginning was heard, by a recognizer of commands."""
        return (
            "What should be announced? I hear only a few calls by voice, such as: announce dinner is ready. "
            "For anything else I need Whisper, or you type it."
        )

    def abilities(self, abilities: Sequence[str]) -> str:
        """`I can …`"""
        return f"I can {listed(abilities)}."

    def help(self, abilities: Sequence[str], example: str) -> str:
        """What the hub can do in this home, and one thing to try."""
        return self.abilities(abilities) + (f' Try: "{example}".' if example else "")

    def ability(self, key: str) -> str:
        """What one skill can do, to follow "I can"."""
        return _ABILITIES[key]

    def example(self, entity: Entity, entities: Mapping[str, Entity]) -> str:
        """A command that works here."""
        return f"turn on {the(entity, entities)}"

    def not_understood(self, abilities: Sequence[str]) -> str:
        """Never a made-up answer."""
        some = abilities if len(abilities) <= 4 else [*abilities[:3], "more"]
        return f"I didn't understand that. {self.abilities(some)}"

    def not_heard(self) -> str:
        """No words were recognized."""
        return "Sorry, I didn't catch that."

    def perhaps_done(self) -> str:
        """Another hub was told the same and is gone; what changes with each time is not done twice."""
        return "That may be done already, so I did not do it again. If it is not, please say it once more."

    def once_more(self, sentence: str) -> str:
        """The voice broke off in the middle of a sentence."""
        return f"Once more: {sentence}"

    def nothing_to_repeat(self) -> str:
        """Nothing was said lately."""
        return "I haven't said anything lately."

    def nothing_asked(self) -> str:
        """Yes or no to no question."""
        return "I didn't ask you anything."

    def fine(self) -> str:
        """Acknowledged; nothing was done."""
        return "OK."

    def stopped(self) -> str:
        """Silenced, for those who read."""
        return "Stopped."

    def greeting(self) -> str:
        """Answer to hello."""
        return "Hello."

    def welcome(self) -> str:
        """Answer to thanks."""
        return "You're welcome."

    def failed(self, why: str) -> str:
        """Something of ours broke; says what."""
        return sentence(f"that did not work: {why.strip().rstrip('.')[:200]}")

    def model_silent(self) -> str:
        """The language model failed before it said anything."""
        return "The language model did not answer."

    def model_stopped(self) -> str:
        """The language model failed in the middle."""
        return "The language model stopped answering."


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

_ABILITIES = {
    "light": "switch lights on and off",
    "brightness": "dim them",
    "color": "change their color",
    "switch": "switch devices",
    "cover": "open and close blinds and other covers",
    "fan": "control fans",
    "climate": "set the temperature",
    "lock": "lock and unlock doors",
    "alarm_control_panel": "arm and disarm the alarm",
    "vacuum": "send the vacuum cleaner out",
    "scene": "activate scenes",
    "state": "say how things are at home",
    "timers": "set timers",
    "rules": "follow rules",
    "clock": "tell the time and the date",
    "volume": "change the volume",
}
