"""From a sentence to a rule, or to what of it is not understood. Pure, but for the understanding of the action, which
is the ordinary one: a rule can do what a person can say.

::

    every weekday at seven │ turn on the bedroom lights
    when the front door opens │ after ten │ say so in the office
    turn off the lamp │ when the bedroom window opens
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from hub.home.entity import Entity
from hub.intent import Context, Intent
from hub.rules import english
from hub.rules.rule import (
    MAX_CONDITIONS,
    MAX_WORDS,
    Action,
    AtTime,
    Between,
    Condition,
    Do,
    IsSo,
    OnState,
    Say,
    StateTest,
    Trigger,
)
from hub.spoken_words import spoken_form

MAX_READINGS = 12
"""Ways to part one sentence that are tried."""
MAX_ACTIONS = 3
"""Commands that are said together count as one."""
Understand = Callable[[str, Context], tuple[Intent, ...]]
Why = Literal["action", "trigger", "days", "several", "cannot_tell", "nothing_to_say", "too_long", "no_rule"]


@dataclass(frozen=True)
class Draft:
    """A rule that was understood."""

    words: str
    trigger: Trigger
    conditions: tuple[Condition, ...]
    actions: tuple[Action, ...]
    names: Mapping[str, str]


@dataclass(frozen=True)
class NotRead:
    """Why a sentence is no rule. `what` are the words that were not understood, or that mean several things."""

    why: Why
    what: str = ""


@dataclass(frozen=True)
class _Part:
    """A beginning or an end of the sentence, and what it says; `problem` when it names what cannot be told."""

    trigger: Trigger | None
    conditions: tuple[Condition, ...]
    rest: str
    problem: NotRead | None = None


_STARTS = re.compile(r"^(?:every|each|when|whenever|if|as soon as|once|at|around|on|from|daily)\b")
_MAY_BE = re.compile(
    rf"^(?:every|each|when|whenever|if|as soon as|once|at|around|on (?:mon|tues|wednes|thurs|fri|satur|sun|week|work)"
    rf"|from (?:mon|tues|wednes|thurs|fri|satur|sun)|daily)\b|\b(?:when|whenever|if|as soon as|once|every|each|daily"
    rf"|weekdays|weekends|{english.AT.replace('(?P<time>', '(?:')})\b",
)
_ON_EVENT = r"(?:when|whenever|if|as soon as|once|every time|each time)"
_JOINT = re.compile(r"^(?:,|then\b|and then\b|please\b|and\b)\s*")
_MOTION = (
    "(?:(?:there is|there's|someone is|somebody is)(?: any)?(?: motion| movement| somebody| someone)?"
    "|(?:motion|movement) is detected)"
)
_SAY_SO = (
    "(?:say so|say it|tell me|tell us|tell everyone|tell everybody|let me know|let us know|announce it|announce that"
    "|notify me|warn me|warn us|report it)(?: about it)?"
)
_SAY = "(?:say|announce(?: that)?|tell (?:me|us|everyone|everybody)(?: that)?)"
_EVERYWHERE = "everywhere|in (?:all|every|all the) rooms?|to everyone|to everybody"
_HERE = "here|in here|in this room"
_COMMAND = re.compile(
    r"^(?:turn|switch|open|close|shut|raise|lower|set|dim|brighten|make|change|lock|unlock|start|stop|pause|activate"
    r"|press|push|say|tell|announce|let|run|play|arm|disarm)\b"
)


@dataclass(frozen=True)
class RuleReader:
    """Reads rules of one home; made anew when the home changes."""

    entities: Mapping[str, Entity]
    areas: tuple[str, ...]
    understand: Understand
    _named: Mapping[str, tuple[tuple[str, tuple[Entity, ...]], ...]] = field(init=False)
    """Names with their entities by the first word of the name, the longest first."""

    def __post_init__(self) -> None:
        of_name: dict[str, dict[str, Entity]] = {}
        for entity in self.entities.values():
            for name in (entity.name, *entity.aliases):
                for form in {_plain(name), spoken_form(name)} - {""}:
                    of_name.setdefault(form, {})[entity.id] = entity
        named: dict[str, list[tuple[str, tuple[Entity, ...]]]] = {}
        for name in sorted(of_name, key=len, reverse=True):
            named.setdefault(name.split()[0], []).append((name, tuple(of_name[name].values())))
        object.__setattr__(self, "_named", {first: tuple(names) for first, names in named.items()})

    def is_rule(self, text: str, context: Context) -> bool:
        """Whether a person means a rule, even one that is not understood as a whole. Takes microseconds for others."""
        found = self.read(text, context)
        if isinstance(found, Draft):
            return True
        # "Announce that dinner is ready at seven" is no rule without its days.
        return found.why not in ("no_rule", "too_long") and not self.understand(text, context)

    def awaits_action(self, text: str, context: Context) -> bool:
        """Whether these words are the beginning of a rule, and more must come."""
        plain = _plain(text)
        if not _STARTS.match(plain):
            return False
        return any(each.trigger is not None and not each.rest for each in self._beginnings(plain, context))

    def read(self, text: str, context: Context) -> Draft | NotRead:
        """The rule that `text` says, or what of it is not understood."""
        if len(text) > MAX_WORDS:
            return NotRead("too_long")
        plain = _plain(text)
        if not _MAY_BE.search(plain):
            return NotRead("no_rule")
        problem: NotRead | None = None
        for part in self._parts(plain, context):
            if part.problem is not None:
                problem = problem or (part.problem if self._acts(part.rest, text, context) else None)
                continue
            assert part.trigger is not None
            actions = self._actions(part.rest, text, context)
            if not actions:
                problem = problem or NotRead("action", part.rest)
            elif isinstance(part.trigger, AtTime) and Say() in [_anywhere(action) for action in actions]:
                problem = NotRead("nothing_to_say")
            else:
                return Draft(_one_line(text), part.trigger, part.conditions, actions, self._names(part, actions))
        return problem or self._without_days(plain, text, context) or self._without_trigger(plain, text, context)

    def _parts(self, plain: str, context: Context) -> Iterator[_Part]:
        """Triggers with their conditions, and the action beside them; the likeliest way to part it first."""
        count = 0
        for part in (*self._beginnings(plain, context), *self._ends(plain, context), *_days_first(plain)):
            if part.rest and count < MAX_READINGS:
                count += 1
                yield part

    def _beginnings(self, plain: str, context: Context) -> Iterator[_Part]:
        for pattern in english.REPEATED:
            if found := re.match(rf"{pattern}(?= |,|$)", plain):
                yield from self._with_conditions(_time(found), plain[found.end() :], context)
        lead = rf"(?:{english.WINDOW}|{english.ON_DAYS}),? (?={_ON_EVENT} )"
        if (found := re.match(lead, plain)) and (condition := self._condition(plain, context)) is not None:
            for part in self._beginnings(plain[found.end() :], context):
                yield replace(part, conditions=_joined(part.conditions, condition[0]))
        if found := re.match(rf"{_ON_EVENT} ", plain):
            for test, rest in self._events(plain[found.end() :], context):
                if isinstance(test, NotRead):
                    yield _Part(None, (), _JOINT.sub("", rest), test)
                else:
                    yield from self._with_conditions(OnState(test), rest, context)

    def _ends(self, plain: str, context: Context) -> Iterator[_Part]:
        for pattern in english.REPEATED:
            if found := re.search(rf",? {pattern}$", plain):
                yield _Part(_time(found), (), plain[: found.start()])
        for found in reversed(list(re.finditer(rf",? {_ON_EVENT} ", plain))):
            for test, rest in self._events(plain[found.end() :], context):
                if isinstance(test, NotRead):
                    yield _Part(None, (), plain[: found.start()] if not rest.strip(" ,") else "", test)
                    continue
                for part in self._with_conditions(OnState(test), rest, context):
                    if not part.rest:
                        yield _Part(part.trigger, part.conditions, plain[: found.start()])

    def _with_conditions(self, trigger: Trigger, rest: str, context: Context) -> Iterator[_Part]:
        """With as many conditions as there are, then with fewer: "in the morning" may belong to what is said."""
        found: list[tuple[tuple[Condition, ...], str]] = [((), rest)]
        conditions: tuple[Condition, ...] = ()
        while len(conditions) < MAX_CONDITIONS - 1 and (more := self._condition(rest, context)) is not None:
            condition, rest = more
            conditions = _joined(conditions, condition)
            found.append((conditions, rest))
        for each, left in reversed(found):
            yield _Part(trigger, each, _JOINT.sub("", _JOINT.sub("", left.strip(" "))))

    def _condition(self, rest: str, context: Context) -> tuple[Condition, str] | None:
        also = re.match(r"[ ,]*(?:and |but )?", rest)
        assert also is not None
        rest = rest[also.end() :]
        if window := re.match(rf"{english.WINDOW}(?= |,|$)", rest):
            return english.window_of(window[0]), rest[window.end() :]
        if days := re.match(rf"{english.ON_DAYS}(?= |,|$)", rest):
            return Between(0, 0, english.days_of(days[0])), rest[days.end() :]
        if joint := re.match(r"(?:only )?(?:if|while|when|unless) ", rest):
            said = rest[joint.end() :]
            negated = re.sub(r"^([^,]{1,60}? (?:is|are)) not ", r"\1 ", said)
            for test, left in self._events(negated, context):
                if not isinstance(test, NotRead):
                    return IsSo(test, (negated != said) is not joint[0].startswith("unless")), left
        elif "and" in also[0]:
            for test, left in self._events(rest, context):
                if not isinstance(test, NotRead) and re.search(r" (?:is|are) ", rest[: len(rest) - len(left)]):
                    return IsSo(test), left
        return None

    def _without_days(self, plain: str, text: str, context: Context) -> NotRead | None:
        """ "At seven turn on the lamp": once or every day?"""
        for pattern in (rf"^{english.AT}(?= |,)", rf",? {english.AT}$"):
            if found := re.search(pattern, plain):
                rest = plain[: found.start()] or plain[found.end() :]
                if self._acts(_JOINT.sub("", rest.strip(" ")), text, context):
                    return NotRead("days", found["time"])
        return None

    def _without_trigger(self, plain: str, text: str, context: Context) -> NotRead:
        """ "When the blorb opens turn on the lamp": what is the blorb?"""
        if found := re.match(rf"{_ON_EVENT} |(?:every|each) ", plain):
            starts = [match.start() for match in re.finditer(r"(?<= )\w", plain) if match.start() > found.end()]
            for start in starts:
                if _COMMAND.match(plain[start:]) and self._acts(plain[start:], text, context):
                    return NotRead("trigger", plain[:start].strip(" ,").removesuffix(" then"))
        for found in re.finditer(rf",? (?:{_ON_EVENT}|every|each) ", plain):
            action = plain[: found.start()]
            if _COMMAND.match(action) and self._acts(action, text, context):
                return NotRead("trigger", plain[found.start() :].strip(" ,"))
        return NotRead("no_rule")

    # ---- what happens

    def _events(self, text: str, context: Context) -> Iterator[tuple[StateTest | NotRead, str]]:
        """What `text` begins with: a thing and what it does or how it is; and the text behind it."""
        start = re.match(r"(?:the |my |our |a |an )?", text)
        assert start is not None
        body = text[start.end() :]
        first = body.split(" ", 1)[0].strip(",")
        problem: tuple[NotRead, str] | None = None
        for name, entities in self._named.get(first, ()):
            if not body.startswith(name) or not re.match(r" |'s ", body[len(name) :]):
                continue
            rest = body[len(name) :].lstrip(" ")
            entities, rest = self._narrowed(entities, rest)
            for event, pattern in english.EVENTS:
                for found in _matches(pattern, rest):
                    means = [test for each in entities for test in english.tests(event, found, each)]
                    if len(means) > 1:
                        means = [test for test in means if self.entities[test.entity].area == context.area] or means
                    left = rest[found.end() :]
                    said = f"{start[0]}{name} {found[0]}"
                    if len(means) == 1:
                        yield means[0], left
                    elif means:
                        problem = problem or (NotRead("several", f"{start[0]}{name}"), left)
                    elif event != "value":
                        problem = problem or (NotRead("cannot_tell", said), left)
        yield from self._in_area(text)
        if problem is not None:
            yield problem

    def _narrowed(self, entities: tuple[Entity, ...], rest: str) -> tuple[tuple[Entity, ...], str]:
        """Those in the room that is named behind the name, and what is said behind the room."""
        for area in sorted(self.areas, key=len, reverse=True):
            said = re.match(rf"in (?:the )?{re.escape(_plain(area))} ", rest)
            if said and (there := tuple(each for each in entities if each.area == area)):
                return there, rest[said.end() :]
        return entities, rest

    def _in_area(self, text: str) -> Iterator[tuple[StateTest | NotRead, str]]:
        """ "There is motion in the hallway", "the temperature in the bath rises above 25"."""
        area = "|".join(re.escape(_plain(each)) for each in sorted(self.areas, key=len, reverse=True))
        room = rf"in (?:the |my )?(?P<area>{area or '(?!)'})\b"
        if found := re.match(rf"{_MOTION} {room}", text):
            there = self._there(found["area"], ("binary_sensor",), ("motion", "occupancy", "presence"))
            yield self._only([StateTest(each.id, ("on",)) for each in there], found[0]), text[found.end() :]
        kind = "(?P<kind>temperature|humidity)"
        named = rf"(?:the |my )?(?P<area>{area or '(?!)'}) {kind} "
        if head := re.match(rf"(?:the )?{kind} {room} ", text) or re.match(named, text):
            there = self._there(head["area"], ("sensor",), (head["kind"],))
            there = there or self._there(head["area"], ("climate", "humidifier"), ())
            for event, pattern in english.EVENTS:
                for found in _matches(pattern, text[head.end() :]):
                    means = [test for each in there for test in english.tests(event, found, each)]
                    if event in ("above", "below") and (means or not there):
                        yield self._only(means, head[0] + found[0]), text[head.end() + found.end() :]

    def _there(self, area: str, components: tuple[str, ...], classes: tuple[str, ...]) -> list[Entity]:
        return [
            each
            for each in self.entities.values()
            if _plain(each.area) == area
            and each.component in components
            and (not classes or each.device_class in classes)
        ]

    @staticmethod
    def _only(means: list[StateTest], said: str) -> StateTest | NotRead:
        return means[0] if len(means) == 1 else NotRead("several" if means else "cannot_tell", said.strip())

    # ---- what is done

    def _acts(self, plain: str, text: str, context: Context) -> bool:
        return bool(plain) and bool(self._actions(plain, text, context))

    def _actions(self, plain: str, text: str, context: Context, most: int = MAX_ACTIONS) -> tuple[Action, ...]:
        """All that is to be done, in order; empty when any of it is not understood. At most `most`."""
        if (said := self._say_so(plain, context)) is not None:
            return (said,)
        joints = [found.span() for found in re.finditer(r",? and (?:then )?|, ", plain)][:4] if most > 1 else []
        if re.match(rf"{_SAY} ", plain):
            for start, end in joints:
                rest = self._actions(plain[end:], text, context, most - 1)
                if rest and (first := self._say(plain[:start], text, context)) is not None:
                    return (first, *rest)
            whole = self._say(plain, text, context)
            return (whole,) if whole is not None else ()
        if intents := self.understand(plain, context):
            return (Do(intents, plain),)
        for start, end in joints:
            if not re.match(_SAY, plain[end:]):
                continue
            before = self._actions(plain[:start], text, context, 1)
            after = self._actions(plain[end:], text, context, most - 1) if before else ()
            if before and after:
                return (*before, *after)
        return ()

    def _say_so(self, plain: str, context: Context) -> Say | None:
        found = re.fullmatch(rf"{_SAY_SO}(?: (?P<where>{_EVERYWHERE}|{_HERE}|in (?:the |my )?(?P<room>.+)))?", plain)
        if found is None or (found["room"] and len(found["room"].split()) > 3):
            return None
        everyone = "everywhere" if found["where"] is None and re.match("tell every", plain) else found["where"]
        return Say(room=self._room(everyone, found["room"], context))

    def _say(self, plain: str, text: str, context: Context) -> Say | None:
        rooms = "|".join(re.escape(_plain(each)) for each in sorted(self.areas, key=len, reverse=True)) or "(?!)"
        where = rf"(?: (?P<where>{_EVERYWHERE}|{_HERE}|in (?:the |my )?(?P<room>{rooms})))?"
        found = re.fullmatch(rf"{_SAY} (?P<what>.+?){where}", plain)
        if found is None:
            return None
        return Say(_as_written(found["what"], text), self._room(found["where"], found["room"], context))

    def _room(self, where: str | None, room: str | None, context: Context) -> str:
        """The room as the home writes it; empty for everywhere."""
        if room:
            return next((area for area in self.areas if _plain(area) == room), room.capitalize())
        return "" if where and re.fullmatch(_EVERYWHERE, where) else context.area

    def _names(self, part: _Part, actions: Iterable[Action]) -> dict[str, str]:
        ids = [part.trigger.test.entity] if isinstance(part.trigger, OnState) else []
        ids += [each.test.entity for each in part.conditions if isinstance(each, IsSo)]
        ids += [
            str(intent.slots.get("name", "")) for each in actions if isinstance(each, Do) for intent in each.intents
        ]
        return {each: self.entities[each].name for each in ids if each in self.entities}


def _time(found: re.Match[str]) -> AtTime:
    return AtTime(
        english.time_of_day(found["time"], part=english.part_of(found["days"])), english.days_of(found["days"])
    )


def _days_first(plain: str) -> Iterator[_Part]:
    """ "Every weekday turn on the lamp at seven"."""
    found = re.match(rf"(?P<days>{english.EACH}),? (?P<rest>.+?),? {english.AT}$", plain)
    if found:
        yield _Part(_time(found), (), found["rest"])


def _joined(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """Days and a time of the day are one window: "after ten on weekdays" ends in the night to Saturday."""
    for index, each in enumerate(conditions):
        if isinstance(each, Between) and isinstance(new, Between):
            hours, days = (each, new) if new.start == new.end else (new, each)
            if days.start == days.end and not hours.days:
                both = Between(hours.start, hours.end, days.days)
                return (*conditions[:index], both, *conditions[index + 1 :])
    return (*conditions, new)


def _matches(pattern: str, text: str) -> Iterator[re.Match[str]]:
    """The longest match at the beginning, then shorter ones that end with a word."""
    end = len(text)
    while end > 0 and (found := re.match(rf"(?:{pattern})(?= |,|$)", text[:end])):
        yield found
        end = text.rfind(" ", 0, found.end())
        if "?P<" not in pattern:
            return


def _anywhere(action: Action) -> Action:
    return Say(action.text) if isinstance(action, Say) else action


def _plain(text: str) -> str:
    """Lower-case words; commas, which part a sentence, stay."""
    plain = text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    plain = re.sub(r"\b([ap])\.\s?m\.(?=\W|$)", r"\1m", plain)
    plain = re.sub(r"(?<=\d)\s*%", " percent", plain)
    plain = re.sub(r"(?<=\d)\s*°\s*[cf]?\b", " degrees", plain)
    plain = re.sub(r"[;,]+(?=\s|$)", ",", re.sub(r"[!?\"“”:]+(?=\s|$)|(?<=\s)[\"“”]|^[\"“”]", "", plain))
    return re.sub(r"\.+(?=\s|$)", "", " ".join(plain.split())).strip(" ,")


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _as_written(plain: str, text: str) -> str:
    """The words of `plain` as the person wrote them, capitals and all."""
    words = [re.escape(word) for word in re.findall(r"[^\W_]+", plain)]
    found = re.search(r"[\W_]+".join(words), text, re.IGNORECASE) if words else None
    return found[0] if found else plain
