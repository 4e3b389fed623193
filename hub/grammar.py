"""Builds the grammar of everything that can be said in this home now, for recognizers that hear only commands.

The sentences are templates in `hub/sentences/<language>.yaml`; names and areas are those of the home. The result is a
finite-state acceptor over words, which decoders of the Sphinx family take as it is (FSG, "finite state grammar").
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence

import msgspec
from hassil import Alternative, Expression, Group, ListReference, Permutation, RuleReference, TextChunk, parse_sentence

from hub.sentences import Template, TemplateSet
from hub.spoken_words import number_words, spoken_form
from swarm.engine import WAKE_JOINT, Arc, CommandGrammar

log = logging.getLogger(__name__)

MAX_NAMES = 400
"""More names than this in one grammar slow the decoder and blur it; those of rooms' devices beyond it can be typed."""

MAX_CHOICES = 150
"""The same of modes and options."""
SECOND_COMMAND = 0.1
"""Weight of "and" with another command behind it: most sentences hold one."""
NO_WAKE_PHRASE = 1e-8
"""Weight of a sentence without the wake phrase before it: else the phrase itself is easily heard as a short command."""
OPENING = 0.02
"""Weight of "every day at noon" before a command: rules are set once, commands are said all day."""
UNLIKELY_NUMBER = 0.3
"""Weight of "thirty four minutes" beside "thirty minutes"."""


class Vocabulary(msgspec.Struct, frozen=True):
    """What this home has, as far as a sentence can name it."""

    names: tuple[tuple[str, str], ...]
    """(name, component) of every entity and alias."""
    areas: tuple[str, ...]
    wake_phrases: tuple[str, ...] = ()
    """May stand before any command: the pre-roll of "okay nabu turn on the lamp" holds the wake word too."""
    choices: tuple[str, ...] = ()
    """Modes and options that something can be set to."""


def build_grammar(templates: TemplateSet, vocabulary: Vocabulary) -> CommandGrammar:
    """The acceptor of every sentence of `templates` with the names of `vocabulary`. Takes milliseconds."""
    return _Builder(templates, vocabulary).grammar()


class _Builder:
    def __init__(self, templates: TemplateSet, vocabulary: Vocabulary) -> None:
        self._templates = templates
        self._language = templates.language
        self._arcs: list[Arc] = []
        self._states = itertools.count()
        self._areas = [area for area in map(spoken_form, vocabulary.areas) if area]
        self._wake_phrases = vocabulary.wake_phrases
        if len(vocabulary.names) > MAX_NAMES:
            log.warning("the spoken grammar holds %d of %d names", MAX_NAMES, len(vocabulary.names))
        self._choices = [choice for choice in map(spoken_form, vocabulary.choices[:MAX_CHOICES]) if choice]
        self._names = [(spoken_form(name), component) for name, component in vocabulary.names[:MAX_NAMES]]

    def grammar(self) -> CommandGrammar:
        start, opening, clause, joint, final = (next(self._states) for _ in range(5))
        self._arc(start, clause, weight=NO_WAKE_PHRASE if self._wake_phrases else 1.0)
        self._arc(start, opening, weight=OPENING * (NO_WAKE_PHRASE if self._wake_phrases else 1.0))
        for phrase in self._wake_phrases:
            heard = self._words([phrase.replace(" ", WAKE_JOINT)], start)
            self._arc(heard, clause)
            self._arc(heard, opening, weight=OPENING)
            self._arc(heard, final)
        for template in self._templates.templates:
            if not template.spoken:
                continue
            end = self._expression(template.parsed, opening if template.opens else clause, template)
            if end is not None:
                self._arc(end, clause if template.opens else joint if template.several else final)
        self._arc(joint, final)
        self._arc(joint, clause, self._templates.conjunction, weight=SECOND_COMMAND)
        return CommandGrammar(self._language, _leading_to(final, self._arcs), start, final, self._templates.conjunction)

    def _expression(self, expression: Expression, state: int, template: Template) -> int | None:
        """Adds what `expression` says behind `state`; returns where it ends, None when it cannot be said here."""
        if isinstance(expression, TextChunk):
            return self._words(expression.original_text.lower().split(), state)
        if isinstance(expression, ListReference):
            return self._any_of(self._values(expression.list_name, template), state)
        if isinstance(expression, RuleReference):
            return self._expression(self._templates.parsed_rules[expression.rule_name], state, template)
        if isinstance(expression, Permutation):
            orders = [Group(items=list(order)) for order in itertools.permutations(expression.items)]
            return self._alternatives(orders, state, template)
        if isinstance(expression, Alternative):
            end = self._alternatives(expression.items, state, template)
            if expression.is_optional:
                end = next(self._states) if end is None else end
                self._arc(state, end)
            return end
        assert isinstance(expression, Group)
        end = state
        for item in expression.items:
            reached = self._expression(item, end, template)
            if reached is None:
                return None
            end = reached
        return end

    def _alternatives(self, items: Sequence[Expression], state: int, template: Template) -> int | None:
        ends = [self._expression(item, state, template) for item in items]
        reached = [end for end in ends if end is not None]
        if not reached:
            return None
        meeting = next(self._states)
        for end in reached:
            self._arc(end, meeting)
        return meeting

    def _values(self, list_name: str, template: Template) -> dict[str, float]:
        """Everything that can be said for a list, as words, with its weight."""
        if list_name == "area":
            return dict.fromkeys(self._areas, 1.0)
        if list_name == "name":
            wanted = template.domains
            return {name: 1.0 for name, component in self._names if name and (not wanted or component in wanted)}
        if list_name == "choice":
            return dict.fromkeys(self._choices, 1.0)
        content = self._templates.lists[list_name]
        if "range" in content:
            bounds = content["range"]
            numbers = range(bounds["from"], bounds["to"] + 1, bounds.get("step", 1))
            likely = content.get("likely", numbers)
            return {
                " ".join(number_words(number, self._language)): 1.0 if number in likely else UNLIKELY_NUMBER
                for number in numbers
            }
        texts = [value["in"] if isinstance(value, dict) else value for value in content["values"]]
        return {form: 1.0 for text in texts for form in _spoken_variants(text)}

    def _any_of(self, values: dict[str, float], state: int) -> int | None:
        """Branches over word sequences that share their beginnings."""
        if not values:
            return None
        end = next(self._states)
        tree: dict[tuple[str, ...], int] = {(): state}
        for value, weight in values.items():
            words = tuple(value.split())
            for length in range(1, len(words)):
                prefix = words[:length]
                if prefix not in tree:
                    tree[prefix] = self._words([words[length - 1]], tree[prefix[:-1]])
            self._arc(tree[words[:-1]], end, words[-1], weight=weight)
        return end

    def _words(self, words: Sequence[str], state: int) -> int:
        for word in words:
            following = next(self._states)
            self._arc(state, following, word)
            state = following
        return state

    def _arc(self, source: int, target: int, word: str = "", *, weight: float = 1.0) -> None:
        self._arcs.append(Arc(source, target, word, weight))


def _leading_to(final: int, arcs: Sequence[Arc]) -> tuple[Arc, ...]:
    """The arcs from which the end can be reached: a sentence may begin that this home cannot end."""
    sources: dict[int, list[int]] = {}
    for arc in arcs:
        sources.setdefault(arc.target, []).append(arc.source)
    useful, todo = {final}, [final]
    while todo:
        for source in sources.get(todo.pop(), ()):
            if source not in useful:
                useful.add(source)
                todo.append(source)
    return tuple(arc for arc in arcs if arc.target in useful)


def _spoken_variants(text: str) -> list[str]:
    """The few forms of a list value such as `(cold|cool) white`."""
    expression = parse_sentence(text).expression

    def forms(piece: Expression) -> list[list[str]]:
        if isinstance(piece, TextChunk):
            return [piece.original_text.lower().split()]
        if isinstance(piece, Alternative):
            return [form for item in piece.items for form in forms(item)] + ([[]] if piece.is_optional else [])
        assert isinstance(piece, Group)
        combined: list[list[str]] = [[]]
        for item in piece.items:
            combined = [before + after for before in combined for after in forms(item)]
        return combined

    return [" ".join(form) for form in forms(expression) if form]
