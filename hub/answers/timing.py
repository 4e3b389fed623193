"""English sentences about timers."""

from __future__ import annotations

from collections.abc import Sequence

from hub.answers.english import duration, listed, sentence

Named = tuple[str, float]
"""A timer's name, empty for none, and the seconds it was set for."""


class TimerWords:
    """What is said about timers. All times in seconds."""

    def started(self, timers: Sequence[Named]) -> str:
        """Set, one or several."""
        if len(timers) == 1:
            name, seconds = timers[0]
            return sentence(f"{name} timer set for {duration(seconds)}".strip())
        parts = [f"{duration(seconds)}{f' for {name}' if name else ''}" for name, seconds in timers]
        return f"{len(timers)} timers set: {listed(parts)}."

    def not_saved(self) -> str:
        """The database cannot be written."""
        return "I could not save that, so it is lost if I restart."

    def no_duration(self) -> str:
        """Nothing said for how long."""
        return "For how long? Please say it like: set a timer for five minutes."

    def too_long(self, limit_s: float) -> str:
        """Longer than is kept."""
        return f"A timer can be at most {duration(limit_s)} long."

    def too_many(self, limit: int) -> str:
        """The bound is reached."""
        return f"There are {limit} timers already. Cancel one first."

    def no_commands(self) -> str:
        """Asked to do something later."""
        return "I can't do things later yet. I can set a timer that reminds you."

    def none(self) -> str:
        """No timer at all."""
        return "There is no timer."

    def no_such(self, name: str, seconds: float) -> str:
        """None fits the description."""
        what = f"{name} timer" if name else f"timer for {duration(seconds)}" if seconds else "timer here"
        return f"There is no {what}."

    def which(self, timers: Sequence[Named]) -> str:
        """Several fit."""
        return f"Which timer: {listed([self.short(timer) for timer in timers[:5]], 'or')}?"

    def short(self, timer: Named) -> str:
        """How to tell it from others."""
        name, seconds = timer
        return name or duration(seconds)

    def the_timer(self, timer: Named, *, alone: bool) -> str:
        """`the timer`, `the pizza timer`, `the timer for 5 minutes`."""
        name, seconds = timer
        if name:
            return f"the {name} timer"
        return "the timer" if alone else f"the timer for {duration(seconds)}"

    def cancelled(self, timer: Named, *, alone: bool) -> str:
        """One is gone."""
        return sentence(f"{self.the_timer(timer, alone=alone)} is cancelled")

    def all_cancelled(self, count: int) -> str:
        """All are gone."""
        return "The timer is cancelled." if count == 1 else f"All {count} timers are cancelled."

    def paused(self, timer: Named, left_s: float, *, alone: bool) -> str:
        """Stands still."""
        return sentence(f"{self.the_timer(timer, alone=alone)} is paused with {duration(left_s)} left")

    def resumed(self, timer: Named, left_s: float, *, alone: bool) -> str:
        """Runs again."""
        return sentence(f"{self.the_timer(timer, alone=alone)} goes on with {duration(left_s)} left")

    def changed(self, timer: Named, left_s: float, *, alone: bool) -> str:
        """Longer or shorter now."""
        return sentence(f"{self.the_timer(timer, alone=alone)} has {duration(left_s)} left now")

    def too_short(self, timer: Named, left_s: float, *, alone: bool) -> str:
        """Less is left than should be taken off."""
        return sentence(f"{self.the_timer(timer, alone=alone)} has only {duration(left_s)} left")

    def status(self, timers: Sequence[tuple[Named, float, bool]]) -> str:
        """How long is left: timer, seconds left, whether it is paused."""
        if len(timers) == 1:
            timer, left, paused = timers[0]
            halted = ", paused" if paused else ""
            return sentence(f"{self.the_timer(timer, alone=True)} has {duration(left)} left{halted}")
        parts = [
            f"{duration(left)} left on {self.the_timer(timer, alone=False)}{', paused' if paused else ''}"
            for timer, left, paused in timers[:6]
        ]
        more = f" {len(timers) - 6} more are running." if len(timers) > 6 else ""
        return f"There are {len(timers)} timers: {listed(parts)}.{more}"

    def ended(self, timer: Named) -> str:
        """Announced when it ends."""
        name, seconds = timer
        return f"Your {name} timer is done." if name else f"Your timer for {duration(seconds)} is done."

    def ended_before(self, timer: Named, ago_s: float) -> str:
        """Announced at start when it ended while the hub was not running."""
        return f"Your {f'{timer[0]} ' if timer[0] else ''}timer ended {duration(ago_s)} ago."
