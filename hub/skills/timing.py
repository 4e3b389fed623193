"""Skill: sets, changes and tells timers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hub.answers import Wording
from hub.dialogue import Option, Question
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request
from hub.timer_book import Timer
from hub.timers import MAX_DURATION_S, MAX_TIMERS, Kept
from hub.verbalize import verbalize

_ORDINALS = ("first", "second", "third", "fourth", "fifth")

Counting = tuple[Timer, float]
"""A timer and the seconds left."""


class TimerSkill:
    """Several timers at once; asks which one when several fit."""

    intents = frozenset(
        {
            "HassStartTimer",
            "HassCancelTimer",
            "HassCancelAllTimers",
            "HassIncreaseTimer",
            "HassDecreaseTimer",
            "HassPauseTimer",
            "HassUnpauseTimer",
            "HassTimerStatus",
        }
    )

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Always."""
        return (words.talk.ability("timers"),)

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """New timers are told in one sentence, all else one by one in the order said."""
        replies = []
        new = [intent for intent in intents if intent.name == "HassStartTimer"]
        if new:
            replies.append(await _start(new, request))
        replies += [await _other(intent, request) for intent in intents if intent.name != "HassStartTimer"]
        return Reply(
            " ".join(reply.text for reply in replies),
            next((reply.result for reply in replies if reply.result != "done"), "done"),
            next((reply.question for reply in replies if reply.question), None),
        )


async def _start(intents: Sequence[Intent], request: Request) -> Reply:
    words = request.words.timers
    context = request.context
    started: list[Kept] = []
    problems: list[str] = []
    for intent in intents:
        seconds = _seconds(intent)
        if "conversation_command" in intent.slots:
            problems.append(words.no_commands())
        elif seconds <= 0:
            problems.append(words.no_duration())
        elif seconds > MAX_DURATION_S:
            problems.append(words.too_long(MAX_DURATION_S))
        else:
            kept = await request.timers.start(
                seconds,
                name=" ".join(str(intent.slots.get("name", "")).split())[:40],
                satellite=context.satellite,
                area=str(intent.slots.get("area", context.area)),
                language=context.language,
            )
            if kept is None:
                problems.append(words.too_many(MAX_TIMERS))
            else:
                started.append(kept)
    said = [words.started([kept.timer.named for kept in started])] if started else []
    if not all(kept.saved for kept in started):
        said.append(words.not_saved())
    said += dict.fromkeys(problems)
    return Reply(" ".join(said), "failed" if problems else "done")


async def _other(intent: Intent, request: Request) -> Reply:
    words, timers = request.words.timers, request.timers
    everything = timers.all()
    if not everything:
        return Reply(words.none(), "failed" if intent.name != "HassTimerStatus" else "done")
    fitting = _fitting(intent, everything, request)
    if not fitting:
        return Reply(words.no_such(str(intent.slots.get("name", "")), _seconds(intent, "start_")), "failed")
    if intent.name == "HassTimerStatus":
        return Reply(words.status([(timer.named, left, timer.paused_left_s is not None) for timer, left in fitting]))
    if intent.name == "HassCancelAllTimers":
        for timer, _ in fitting:
            await timers.cancel(timer.id)
        return Reply(words.all_cancelled(len(fitting)))
    if len(fitting) > 1:
        question = _which(intent, fitting, request)
        return Reply(question.text, question=question)
    return await _change(intent, fitting[0], request, alone=len(everything) == 1)


async def _change(intent: Intent, counting: Counting, request: Request, *, alone: bool) -> Reply:
    words, timers = request.words.timers, request.timers
    timer, left = counting
    if intent.name == "HassCancelTimer":
        await timers.cancel(timer.id)
        return Reply(words.cancelled(timer.named, alone=alone))
    seconds = _seconds(intent)
    if intent.name in ("HassIncreaseTimer", "HassDecreaseTimer") and seconds <= 0:
        return Reply(words.no_duration(), "failed")
    tell: Callable[..., str] = words.changed
    if intent.name == "HassIncreaseTimer":
        if left + seconds > MAX_DURATION_S:
            return Reply(words.too_long(MAX_DURATION_S), "failed")
        kept = await timers.change(timer.id, seconds)
    elif intent.name == "HassDecreaseTimer":
        if left <= seconds:
            return Reply(words.too_short(timer.named, left, alone=alone), "failed")
        kept = await timers.change(timer.id, -seconds)
    elif intent.name == "HassPauseTimer":
        kept, tell = await timers.pause(timer.id), words.paused
    else:
        kept, tell = await timers.unpause(timer.id), words.resumed
    if kept is None:  # it ended this moment
        return Reply(words.none(), "failed")
    text = tell(timer.named, kept.left_s, alone=alone)
    return Reply(text if kept.saved else f"{text} {words.not_saved()}")


def _fitting(intent: Intent, everything: Sequence[Counting], request: Request) -> Sequence[Counting]:
    """The timers that the slots describe; without a description those set here, if that tells one from the others."""
    slots = intent.slots
    if "timer_id" in slots:
        return [pair for pair in everything if pair[0].id == slots["timer_id"]]
    found = list(everything)
    described = False
    if "name" in slots:
        described = True
        found = [pair for pair in found if pair[0].name.casefold() == str(slots["name"]).casefold()]
    if (seconds := _seconds(intent, "start_")) > 0:
        described = True
        found = [pair for pair in found if pair[0].duration_s == seconds]
    if "area" in slots:
        described = True
        found = [pair for pair in found if pair[0].area.casefold() == str(slots["area"]).casefold()]
    if described or intent.name in ("HassTimerStatus", "HassCancelAllTimers"):
        return found
    satellite = request.context.satellite
    here = [pair for pair in found if satellite and pair[0].satellite == satellite]
    return here if len(here) == 1 else found


def _which(intent: Intent, fitting: Sequence[Counting], request: Request) -> Question:
    options = []
    for index, (timer, _) in enumerate(fitting):
        short = request.words.timers.short(timer.named)
        phrases = {short, verbalize(short, request.context.language)}
        phrases |= {phrase.removesuffix("s") for phrase in phrases}  # "the five minute timer"
        if index < len(_ORDINALS):
            phrases.add(f"the {_ORDINALS[index]} one")
        if index == len(fitting) - 1:
            phrases.add("the last one")
        chosen = {**intent.slots, "timer_id": timer.id}
        options.append(Option(tuple(sorted(phrases)), (Intent(intent.name, chosen, intent.words),)))
    return Question(request.words.timers.which([timer.named for timer, _ in fitting]), options=tuple(options))


def _seconds(intent: Intent, prefix: str = "") -> float:
    sizes = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
    return sum(float(intent.slots.get(prefix + unit, 0)) * size for unit, size in sizes.items())
