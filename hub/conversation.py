"""A person says something, the hub answers: intents first, then a language model, else what it can do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from hub.agent import Agent, ModelFailed, system_prompt
from hub.answers import Wording, wording
from hub.deeds import Deeds
from hub.dialogue import Dialogue, Dialogues, Question, Turn
from hub.intent import Context, Intent
from hub.policy import Policy
from hub.repeating import may_be_repeated
from hub.rules.reading import NotRead
from hub.rules.rules import MemoryRules, Rules
from hub.sentence_stream import split_sentences
from hub.skills import SKILLS
from hub.skills.carrying import cause_of
from hub.skills.skill import Announce, Cue, Home, Reply, Request, Result, Satellites, Skill, announce_nowhere
from hub.skills.timing import TimerSkill
from hub.skills.volume import Volume
from hub.timers import Timers
from swarm.engine import ChatMessage, Generator
from swarm.errors import MycoswarmError
from swarm.trace import TraceRecorder

MAX_TEXT_CHARS = 1_000
"""More than a minute of speech; what was said beyond it is not read."""

NOT_UNDONE = (TimerSkill.intents | Volume.intents) - {"HassTimerStatus"}
"""They change something that is no device: "undo that" must not then undo what was done before."""
_SKILL_OF = {name: skill for skill in SKILLS for name in skill.intents}
_log = logging.getLogger(__name__)


class Understanding(Protocol):
    """Finds intents in words."""

    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        """The intents of one sentence; empty when it is none of ours. Takes milliseconds."""


class Answer:
    """What the hub says to one utterance.

    Iterate `sentences` and speak or show each: they come while a language model is still generating. The other
    fields are final once the iteration has ended. `await close()` when the listener has heard enough: it stops a
    model. Safe after the end.
    """

    def __init__(self, intent: str, reply: Reply, *, follow_up: bool = False) -> None:
        self.intent = intent
        """Names of the intents, comma separated; `language_model`; empty when nothing fitted."""
        self.outcome: Result = reply.result
        self.text = reply.text
        """All sentences; while a model generates, those so far."""
        self.follow_up = follow_up
        """The answer is a question: listen again without a wake word."""
        self.cue: Cue = reply.cue
        """The sound to make when there is no sentence at all."""
        self._sentences: AsyncGenerator[str, None] = _each(split_sentences(reply.text))

    @property
    def sentences(self) -> AsyncIterator[str]:
        """Whole sentences to be shown; `hub.verbalize` makes them speakable. Can be iterated once."""
        return self._sentences

    async def close(self) -> None:
        """Stop generating."""
        await self._sentences.aclose()


async def _each(sentences: Sequence[str]) -> AsyncGenerator[str, None]:
    for sentence in sentences:
        yield sentence


class Conversation:
    """Answers every satellite and every typed line; remembers a short while what was said to each."""

    def __init__(
        self,
        *,
        understanding: Understanding,
        home: Home,
        timers: Timers,
        satellites: Satellites,
        generator: Generator | None = None,
        model_timeout_s: float = 60.0,
        policy: Policy | None = None,
        deeds: Deeds | None = None,
        rules: Rules | None = None,
        announce: Announce = announce_nowhere,
        local_time: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deeds`: shared with what else acts on the home; None: nothing else does."""
        self._understanding = understanding
        self._home = home
        self._timers = timers
        self._satellites = satellites
        self._agent = Agent(generator, timeout_s=model_timeout_s) if generator is not None else None
        self._policy = policy or Policy()
        self._deeds = deeds or Deeds(home, clock=clock)
        self._announce = announce
        self._rules = rules or Rules(MemoryRules(), read=lambda text, context: NotRead("no_rule"))
        self._local_time = local_time
        self._clock = clock
        self._dialogues = Dialogues()

    async def answer(self, text: str, *, context: Context, recorder: TraceRecorder) -> Answer:
        """Understand `text` and do what it says; returns when devices have confirmed, or a model has been asked.

        Empty text is a spoken command that could not be recognized. Every field of the trace that is known here is
        noted on `recorder`. Errors of skills become answers.
        """
        words, dialogue = wording(context.language), self._dialogues.of(context.place)
        text = " ".join(text.split())[:MAX_TEXT_CHARS]
        now = self._clock()
        question = dialogue.take_question(now)
        if not text:
            return self._not_heard(dialogue, question, words, now, recorder)
        intents, confirmed, reply = self._understand(text, context, question)
        late = dialogue.take_late_question()
        if late is not None and late.if_yes and {intent.name for intent in intents} == {"Confirm"}:
            reply = Reply(words.deeds.too_late(late.text), "cancelled")
        recorder.mark("intent")
        names = ",".join(intent.name for intent in intents)
        if reply is None and context.told_before and not may_be_repeated(intents, self._home.entities):
            reply = Reply(words.talk.perhaps_done(), "unconfirmed")
        asked_for = question.said if question is not None and confirmed else text
        took_as = words.past.took_as("", [intent.name for intent in intents])
        self._note_turn(names, Turn(now, asked_for, context.area, took_as), dialogue, recorder)
        if reply is not None:
            return self._told(names, reply, text, dialogue, recorder)
        unknown = [intent.name for intent in intents if intent.name not in _SKILL_OF]
        if unknown:
            _log.warning("no skill does %s", ", ".join(unknown))
        if intents and not unknown:
            request = self._request(context, dialogue, words, now, recorder, said=asked_for, confirmed=confirmed)
            reply = await _perform(intents, request)
            if names == "Repeat":
                reply = replace(reply, question=question)
            if reply.why:
                self._note_turn(names, Turn(now, asked_for, context.area, reply.why), dialogue, recorder)
            return self._told(names, reply, text, dialogue, recorder)
        if self._agent is not None and await self._agent.available():
            self._note_turn("", Turn(now, text, context.area, words.past.by_model()), dialogue, recorder)
            return self._from_model(self._agent, text, context, dialogue, words, recorder)
        said = [words.talk.not_understood(self._abilities(words))]
        if self._home.why_down:  # names of devices that were not heard of yet are not understood
            said.append(words.deeds.unreachable(self._home.why_down))
        self._note_turn("", Turn(now, text, context.area, words.past.not_understood()), dialogue, recorder)
        reply = Reply(" ".join(said), "not_understood")
        return self._told("", reply, text, dialogue, recorder)

    def _understand(
        self, text: str, context: Context, question: Question | None
    ) -> tuple[tuple[Intent, ...], bool, Reply | None]:
        """Intents, whether the person confirmed them, and the reply when nothing is to be done."""
        if question is None:
            return self._understanding.understand(text, context), False, None
        if (option := question.choose(text, exactly=True)) is not None:
            return option.intents, False, None
        intents = self._understanding.understand(text, context)
        names = {intent.name for intent in intents}
        if names == {"Confirm"}:
            # "Yes" to "which one?" is no answer: asked again.
            again = None if question.if_yes else Reply(question.text, question=question)
            return question.if_yes or intents, bool(question.if_yes), again
        if names and names <= {"Deny", "HassNevermind"} and question.if_no:
            return intents, False, Reply(question.if_no, "cancelled")
        if not intents and (option := question.choose(text, exactly=False)) is not None:
            return option.intents, False, None
        return intents, False, None

    def _not_heard(
        self, dialogue: Dialogue, question: Question | None, words: Wording, now: float, recorder: TraceRecorder
    ) -> Answer:
        """Apologise once, then only make a sound. What was asked stays asked, so that a second try can answer it."""
        if question is not None:
            dialogue.keep_asking(question)
        first = dialogue.may_apologise(now)
        reply = Reply(words.talk.not_heard() if first else "", "not_understood", cue="error")
        recorder.note(intent="", answer=reply.text, outcome=reply.result)
        return Answer("", reply, follow_up=first and question is not None)

    def _note_turn(self, intent: str, turn: Turn, dialogue: Dialogue, recorder: TraceRecorder) -> None:
        """For who asks why, here or of the trace. The question itself, and a repetition, are no deeds."""
        recorder.note(why=turn.why)
        if intent not in ("Why", "Repeat"):
            dialogue.last_turn = turn

    def _told(self, intent: str, reply: Reply, said: str, dialogue: Dialogue, recorder: TraceRecorder) -> Answer:
        now = self._clock()
        if reply.question is not None:
            dialogue.ask(reply.question, now)
        if reply.text and intent != "Repeat":
            dialogue.add_exchange(said, reply.text, now)
        dialogue.speak_of(reply.entities, now)
        recorder.note(intent=intent, answer=reply.text, outcome=reply.result)
        return Answer(intent, reply, follow_up=reply.question is not None)

    def _from_model(
        self, agent: Agent, said: str, context: Context, dialogue: Dialogue, words: Wording, recorder: TraceRecorder
    ) -> Answer:
        prompt = system_prompt(self._home, context, self._local_time(), words)
        turns = dialogue.turns(self._clock())
        messages = (ChatMessage("system", prompt), *turns, ChatMessage("user", said))
        answer = Answer("language_model", Reply(result="cancelled"))
        recorder.note(intent=answer.intent, outcome=answer.outcome)

        async def sentences() -> AsyncGenerator[str, None]:
            try:
                whole = agent.answer(messages, first_token=lambda node: recorder.mark("first_token", node=node))
                async with aclosing(whole):
                    async for sentence in whole:
                        answer.text = f"{answer.text} {sentence}".strip()
                        yield sentence
                answer.outcome = "done" if answer.text else "failed"
                failure = "" if answer.text else words.talk.model_silent()
            except ModelFailed:
                answer.outcome = "failed"
                failure = words.talk.model_stopped() if answer.text else words.talk.model_silent()
            finally:
                # Also when the listener stopped it: the next question may be about what was heard of it.
                answer.follow_up = answer.outcome == "done" and answer.text.endswith("?")
                if answer.text:
                    dialogue.add_exchange(said, answer.text, self._clock())
                recorder.note(answer=answer.text, outcome=answer.outcome)
            if failure:
                answer.text = f"{answer.text} {failure}".strip()
                recorder.note(answer=answer.text)
                yield failure

        answer._sentences = sentences()
        return answer

    async def carry_out(self, intents: Sequence[Intent], context: Context, recorder: TraceRecorder) -> Reply:
        """Do what nobody says now, a rule's actions for one: nothing is asked, and nothing is spoken of afterwards."""
        recorder.mark("intent")
        reply = await _perform(intents, self.request(context, recorder))
        recorder.note(intent=",".join(each.name for each in intents), answer=reply.text, outcome=reply.result)
        return reply

    def request(self, context: Context, recorder: TraceRecorder) -> Request:
        """For what is asked in another way than by a sentence."""
        words = wording(context.language)
        return self._request(context, Dialogue(), words, self._clock(), recorder, said="", confirmed=False)

    def _request(
        self,
        context: Context,
        dialogue: Dialogue,
        words: Wording,
        now: float,
        recorder: TraceRecorder,
        *,
        said: str,
        confirmed: bool,
    ) -> Request:
        return Request(
            context=context,
            home=self._home,
            timers=self._timers,
            satellites=self._satellites,
            dialogue=dialogue,
            words=words,
            recorder=recorder,
            local_time=self._local_time(),
            now=now,
            abilities=lambda: self._abilities(words),
            deeds=self._deeds,
            policy=self._policy,
            rules=self._rules,
            announce=self._announce,
            said=said,
            confirmed=confirmed,
        )

    def _abilities(self, words: Wording) -> tuple[str, ...]:
        return tuple(ability for skill in SKILLS for ability in skill.abilities(self._home, words))


async def _perform(intents: Sequence[Intent], request: Request) -> Reply:
    """All skills at once, each with its own intents; their replies as one, in the order of what was said."""
    of_skill: dict[Skill, list[Intent]] = {}
    for intent in intents:
        of_skill.setdefault(_SKILL_OF[intent.name], []).append(intent)
    replies = await asyncio.gather(*(_run(skill, tuple(own), request) for skill, own in of_skill.items()))
    return Reply(
        " ".join(reply.text for reply in replies if reply.text),
        next((reply.result for reply in replies if reply.result != "done"), "done"),
        next((reply.question for reply in replies if reply.question is not None), None),
        tuple(entity for reply in replies for entity in reply.entities),
        next((reply.cue for reply in replies if reply.cue != "none"), "none"),
        " ".join(reply.why for reply in replies if reply.why),
    )


async def _run(skill: Skill, intents: tuple[Intent, ...], request: Request) -> Reply:
    try:
        reply = await skill.perform(intents, request)
        if reply.result == "done" and NOT_UNDONE & {intent.name for intent in intents}:
            request.deeds.remember(cause_of(intents, request))
        return reply
    except MycoswarmError as error:
        _log.warning("%s failed: %s", intents[0].name, error)
        return Reply(request.words.talk.failed(str(error)), "failed")
