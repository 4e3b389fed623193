"""Skill: how loud a satellite speaks."""

from __future__ import annotations

from hub.answers import Wording
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request

STEP = 10
"""Percent that "louder" and "quieter" mean."""
QUIETEST = 5
""""Quieter" stops here: a satellite that cannot be heard cannot say how to undo it. "Volume 0" goes lower."""


class Volume:
    """Of the satellite that was spoken to, or of those in the room that was named."""

    intents = frozenset({"HassSetVolume", "HassSetVolumeRelative"})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Always."""
        return (words.talk.ability("volume"),)

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Tells the volume that was set."""
        replies = [await _set(intent, request) for intent in intents]
        return Reply(
            " ".join(dict.fromkeys(reply.text for reply in replies)),
            next((reply.result for reply in replies if reply.result != "done"), "done"),
        )


async def _set(intent: Intent, request: Request) -> Reply:
    area = str(intent.slots.get("area", ""))
    own = request.context.satellite
    satellites = request.satellites.in_area(area) if area else ()
    satellites = satellites or ((own,) if own and (not area or area == request.context.area) else ())
    told: list[int] = []
    for satellite in satellites:
        volume = request.satellites.volume(satellite)
        if volume is not None:
            percent = _wanted(intent, volume)
            if await request.satellites.set_volume(satellite, percent):
                told.append(percent)
    if not told:
        return Reply(request.words.talk.no_speaker(area), "failed")
    return Reply(request.words.talk.volume(told[0]))


def _wanted(intent: Intent, volume: int) -> int:
    """Absolute: `volume_level`. Relative: `volume_step`, `up`, `down` or signed percent."""
    if "volume_level" in intent.slots:
        return min(100, max(0, round(float(intent.slots["volume_level"]))))
    step = intent.slots.get("volume_step", "up")
    by = {"up": STEP, "down": -STEP}.get(step, 0) if isinstance(step, str) else round(step)
    return min(100, max(min(QUIETEST, volume), volume + by))
