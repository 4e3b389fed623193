"""Skill: the conversation itself: help, repeat, stop, never mind, and plain politeness."""

from __future__ import annotations

from hub.answers import Wording
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request


class Talk:
    """What needs no device. `Confirm` and `Deny` come here only when nothing was asked."""

    intents = frozenset(
        {"Help", "Repeat", "Stop", "HassNevermind", "Confirm", "Deny", "Greeting", "Thanks"},
    )

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Nothing that needs to be told."""
        return ()

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Of several only the first: "no, never mind" is one thing said twice."""
        talk, dialogue = request.words.talk, request.dialogue
        match intents[0].name:
            case "Help":
                return Reply(talk.help(request.abilities(), _example(request)))
            case "Repeat":
                return Reply(dialogue.last_answer(request.now) or talk.nothing_to_repeat())
            case "Stop":
                return await _stop(request)
            case "HassNevermind" | "Deny":
                # Who speaks hears a short sound; who types needs to read something.
                return Reply("" if request.context.satellite else talk.fine(), "cancelled", cue="done")
            case "Greeting":
                return Reply(talk.greeting())
            case "Thanks":
                return Reply(talk.welcome())
            case _:
                return Reply(talk.nothing_asked(), "not_understood")


async def _stop(request: Request) -> Reply:
    """Silence at this satellite: a ringing timer, or whatever is being said."""
    satellite = request.context.satellite
    await request.timers.silence(satellite)
    if satellite:
        await request.satellites.stop_speaking(satellite)
    return Reply("" if satellite else request.words.talk.stopped(), cue="done")


def _example(request: Request) -> str:
    """With a lamp of this room if there is one: what a person can try at once."""
    entities = request.home.entities
    lights = [entity for entity in entities.values() if entity.component == "light"]
    lights.sort(key=lambda entity: entity.area != request.context.area)
    return request.words.talk.example(lights[0], entities) if lights else ""
