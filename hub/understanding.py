"""Text to intents: hassil over our own sentences first, then over all of Home Assistant's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from hassil import Intents, RecognizeResult, SlotList, TextSlotList, TextSlotValue, recognize_best
from hassil.expression import TextChunk
from home_assistant_intents import get_intents

from hub.as_said import as_said
from hub.grammar import Vocabulary
from hub.home.entity import Entity, Verb
from hub.intent import Context, Intent, SlotValue
from hub.sentences import load_templates
from hub.spoken_words import spoken_form

MAX_WORDS = 60
"""More words than in any command: longer text is none."""
MAX_COMMANDS = 6
"""In one sentence."""
MAX_CHOICES = 1000
"""Modes and options of all devices together that can be named."""
ON_OFF = ("HassTurnOn", "HassTurnOff")
ORDER = "Order"
"""What nobody's device can do, as far as its kind goes: told, in place of not being understood."""
USUAL_MODES = ("heat", "cool", "auto", "off")
CHOOSING: tuple[Verb, ...] = ("select_option", "set_mode", "set_preset", "set_fan_mode")
"""What "set it to …" may mean, the likeliest first."""

Verdict = Literal["complete", "extendable", "incomplete", "unclear"]
"""`extendable`: whole, and yet a longer command begins so."""

_HANGING_ENGLISH = "the a an my our to in of on and for is at by with all from turn set switch make"
_HANGING = {"en": frozenset(_HANGING_ENGLISH.split())}
"""Words after which nobody stops: more is coming. `on` ends "turn the lamp on", which is then complete by itself."""

_SINGLED_OUT = ("light", "cover")
"""Things of which "the lights in the hallway" may mean a single one."""

_UNKNOWN_DOMAINS = ("person",)
"""Whose sentences ("who is …") would take every question about people for one about the home."""


class Understanding:
    """Understands the commands of one home in one language; rebuilt, in milliseconds, when the home changes."""

    def __init__(
        self,
        entities: Mapping[str, Entity],
        areas: Iterable[str],
        *,
        language: str = "en",
        rooms: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`rooms`: names of rooms and satellites that something can be announced to, besides the areas."""
        self._templates = load_templates(language)
        self._language = self._templates.language
        self._entities = dict(entities)
        self._areas = tuple(areas)
        self._own = _own_intents(self._language)
        self._general = _general_intents(self._language)
        self._senseless = _own_intents(self._language, senseless=True)
        self._rooms = rooms
        self._known_rooms: tuple[str, ...] = ()
        self._slot_lists: dict[str, SlotList] = {
            "room": TextSlotList(name="room", values=[]),
            "name": TextSlotList(name="name", values=_name_values(self._entities.values())),
            "area": TextSlotList(name="area", values=_values((area, area, {}) for area in self._areas)),
            "floor": TextSlotList(name="floor", values=[]),
            "choice": TextSlotList(name="choice", values=_values((each, each, {}) for each in self._choices())),
        }

    def _lists_now(self) -> dict[str, SlotList]:
        """With the rooms that can be spoken to now."""
        rooms = tuple(dict.fromkeys((*self._areas, *self._rooms())))
        if rooms != self._known_rooms:
            self._known_rooms = rooms
            self._slot_lists["room"] = TextSlotList(name="room", values=_values((room, room, {}) for room in rooms))
        return self._slot_lists

    def vocabulary(self, wake_phrases: Iterable[str] = ()) -> Vocabulary:
        """What the spoken grammar needs to know of this home."""
        names = dict.fromkeys(
            (name, entity.component) for entity in self._entities.values() for name in (entity.name, *entity.aliases)
        )
        return Vocabulary(tuple(names), self._areas, tuple(wake_phrases), self._choices())

    def _choices(self) -> tuple[str, ...]:
        """Every mode and option that something here can be set to, and what one may think that a thermostat can."""
        things = self._entities.values()
        usual = USUAL_MODES if any(entity.component == "climate" for entity in things) else ()
        own = (choice for entity in things for verb in CHOOSING for choice in entity.choices_of(verb))
        return tuple(dict.fromkeys((*usual, *own)))[:MAX_CHOICES]

    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        """The intents of one sentence, in order; empty when it is no command of this home."""
        words = _words(text)
        if not words or len(words) > MAX_WORDS:
            return ()
        whole = self._recognize(words, context)
        if whole is not None:
            return (self._as_said(whole, text),)
        several = self._several(words, context, MAX_COMMANDS)
        return tuple(self._as_said(each, text) for each in several)

    def _as_said(self, intent: Intent, text: str) -> Intent:
        """Free text is kept as it was said."""
        message = intent.slots.get("message")
        if not isinstance(message, str):
            return intent
        said = as_said(text, message, words=_words, left_out=self._templates.polite_words)
        return Intent(intent.name, {**intent.slots, "message": said}, intent.words)

    def judge(self, text: str, context: Context) -> Verdict:
        """Whether words heard so far are a whole command, clearly lack their end, or neither."""
        words = _words(text)
        intents = self.understand(text, context)
        if intents:
            return "unclear" if self._often_goes_on(intents[-1]) else "complete"
        return "incomplete" if words and words[-1] in _HANGING[self._language] else "unclear"

    def _often_goes_on(self, intent: Intent) -> bool:
        """ "dim the lamp" (… to twenty percent), "start movie night" (… scene), "announce dinner" (… is ready): whole,
        and yet often not the end."""
        entity = self._entities.get(str(intent.slots.get("name")))
        return intent.name in ("ChangeBrightness", "HassBroadcast") or (
            entity is not None and entity.component == "scene"
        )

    def _several(self, words: list[str], context: Context, most: int) -> list[Intent]:
        """Commands joined by "and"; what the second leaves out ("… and the fan") is taken from the first."""
        joint = self._templates.conjunction
        for at in [index for index, word in enumerate(words) if word == joint][: most - 1]:
            left, right = words[:at], words[at + 1 :]
            if not left or not right:
                continue
            first = self._recognize(left, context) or self._completed(left, _endings(right), context)
            if first is None:
                continue
            rest = self._sentence(right, context, most - 1)
            if not rest and not _excepts(first):
                for length in range(len(left) - 1, 0, -1):
                    rest = self._sentence([*left[:length], *right], context, most - 1)
                    if rest and rest[0].name == first.name:
                        break
                    rest = []
            if rest:
                return [first, *rest]
        return []

    def _sentence(self, words: list[str], context: Context, most: int) -> list[Intent]:
        whole = self._recognize(words, context)
        if whole is not None:
            return [whole]
        return self._several(words, context, most) if most > 1 else []

    def _completed(self, words: list[str], endings: Iterable[list[str]], context: Context) -> Intent | None:
        """ "turn the lamp (and the fan off)": the end of the sentence belongs to its beginning too."""
        for ending in endings:
            intent = self._recognize([*words, *ending], context)
            if intent is not None:
                return intent
        return None

    def _recognize(self, words: list[str], context: Context) -> Intent | None:
        text = " ".join(words)
        own = recognize_best(
            text, self._own, slot_lists=self._lists_now(), language=self._language, best_slot_name="name"
        )
        if own is not None:
            return self._one_device(_intent(own, text))
        general = recognize_best(
            text,
            self._general,
            slot_lists=self._slot_lists,
            language=self._language,
            best_slot_name="name",
            intent_context={"area": context.area} if context.area else None,
        )
        if general is not None and ("name" in general.entities or general.intent.name not in ON_OFF):
            return self._one_device(_intent(general, text))
        # A thing of exactly this name is what is meant, and not the windows of the kitchen.
        senseless = recognize_best(
            text, self._senseless, slot_lists=self._slot_lists, language=self._language, best_slot_name="name"
        )
        if senseless is not None:
            return _intent(senseless, text)
        return None if general is None else self._one_device(_intent(general, text))

    def _one_device(self, intent: Intent) -> Intent:
        """ "the hallway lights", where the hallway has one: that light, as if it had been named."""
        slots = intent.slots
        if "name" in slots or slots.get("domain") not in _SINGLED_OUT or "response" in slots:
            return intent
        there = [
            entity
            for entity in self._entities.values()
            if entity.area == slots.get("area")
            and entity.component == slots["domain"]
            and entity.device_class in ("", slots.get("device_class", entity.device_class))
        ]
        if len(there) != 1:
            return intent
        others = {key: value for key, value in slots.items() if key not in ("area", "domain", "device_class")}
        return Intent(intent.name, {"name": there[0].id, **others}, intent.words)


def _words(text: str) -> list[str]:
    """Lower-case words without the punctuation that ends or parts sentences."""
    plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    plain = re.sub(r"(?<=\d)\s*%", " percent", plain)
    plain = re.sub(r"(?<=\d)\s*°\s*c?\b", " degrees", plain)
    plain = re.sub(r"[,;]+\s*(and\b)?", " and ", plain) if "," in plain or ";" in plain else plain
    plain = re.sub(r"^(and )+|( and)+$", "", re.sub(r"[!?\"]+|\.+(?=\s|$)", " ", plain).strip())
    return re.sub(r"\b(and )+and\b", "and", plain).split()


def _excepts(intent: Intent) -> bool:
    """ "… except the lamp and the fan": what follows is another exception, never a command that has but that one."""
    return any(slot.startswith("except_") for slot in intent.slots)


def _endings(words: list[str]) -> Iterable[list[str]]:
    """Shorter and shorter ends of a sentence, the shortest first."""
    return (words[index:] for index in range(len(words) - 1, 0, -1))


def _intent(result: RecognizeResult, text: str) -> Intent:
    slots: dict[str, SlotValue] = {}
    for name, entity in result.entities.items():
        value = entity.value
        slots[name] = value if isinstance(value, (str, int, float)) else str(value)
    for name, value in (result.intent_data.slots or {}).items():
        slots.setdefault(name, value if isinstance(value, (str, int, float)) else str(value))
    if result.response in ("any", "all", "which", "how_many"):
        slots["response"] = result.response
    if "name" in slots:
        slots.pop("area", None)  # the name says it already
    return Intent(result.intent.name, slots, text)


def _name_values(entities: Iterable[Entity]) -> list[TextSlotValue]:
    return _values(
        (name, entity.id, {"domain": entity.component})
        for entity in entities
        for name in (entity.name, *entity.aliases)
    )


def _values(named: Iterable[tuple[str, str, Mapping[str, Any]]]) -> list[TextSlotValue]:
    """Each name as it is written and, where that differs, as it is spoken."""
    return [
        TextSlotValue(text_in=TextChunk(form), value_out=out, context=dict(context))
        for name, out, context in named
        for form in dict.fromkeys((" ".join(_words(name)), spoken_form(name)))
        if form
    ]


@lru_cache(maxsize=8)
def _own_intents(language: str, *, senseless: bool = False) -> Intents:
    """Our sentences; or those that fit whatever makes no sense, to be tried when nothing else fits."""
    templates = load_templates(language)
    intents: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for template in templates.templates:
        if not template.understood or (template.intent == ORDER) != senseless:
            continue
        data: dict[str, Any] = {"sentences": [template.text], "slots": dict(template.slots)}
        if template.domains:
            data["requires_context"] = {"domain": list(template.domains)}
        intents.setdefault(template.intent, {"data": []})["data"].append(data)
    return Intents.from_dict(
        {
            "language": language,
            "intents": intents,
            "lists": {name: _hassil_list(content) for name, content in templates.lists.items()},
            "expansion_rules": templates.rules,
            "skip_words": templates.polite_words,
        }
    )


def _hassil_list(content: Mapping[str, Any]) -> dict[str, Any]:
    if "wildcard" in content:
        return {"wildcard": True}
    if "range" in content:
        # Any number is understood; the steps only keep the spoken grammar small.
        return {"range": {key: value for key, value in content["range"].items() if key != "step"}}
    return {"values": content["values"]}


@lru_cache(maxsize=4)
def _general_intents(language: str) -> Intents:
    """Home Assistant's sentences, of the intents that we can act on and the things that we know of."""
    document = get_intents(language) or {"language": language, "intents": {}}
    ours = {template.intent for template in load_templates(language).templates}
    intents = {
        name: {
            "data": [data for data in content["data"] if data.get("slots", {}).get("domain") not in _UNKNOWN_DOMAINS]
        }
        for name, content in document["intents"].items()
        if name in ours
    }
    return Intents.from_dict({**document, "intents": intents})
