from __future__ import annotations

import random
from collections import defaultdict

from msgspec import structs

from hub.grammar import MAX_NAMES, Vocabulary, build_grammar
from hub.rules.reading import RuleReader
from hub.sentences import languages, load_templates
from hub.skills import SKILLS
from hub.spoken_words import spoken_form
from swarm.engine import Arc, CommandGrammar
from tests.hub.a_home import AREAS, ENTITIES, IN_THE_KITCHEN, an_understanding

HOME = an_understanding()


def grammar_of(vocabulary: Vocabulary) -> CommandGrammar:
    return build_grammar(load_templates("en"), vocabulary)


def accepts(grammar: CommandGrammar, sentence: str) -> bool:
    """Whether the acceptor takes these words: all its states are followed at once."""
    ways: dict[int, list[Arc]] = defaultdict(list)
    for arc in grammar.arcs:
        ways[arc.source].append(arc)

    def silently(states: set[int]) -> set[int]:
        todo = list(states)
        while todo:
            for arc in ways[todo.pop()]:
                if not arc.word and arc.target not in states:
                    states.add(arc.target)
                    todo.append(arc.target)
        return states

    here = silently({grammar.start})
    for word in sentence.split():
        here = silently({arc.target for state in here for arc in ways[state] if arc.word == word})
    return grammar.final in here


def random_sentences(grammar: CommandGrammar, count: int) -> list[str]:
    ways: dict[int, list[Arc]] = defaultdict(list)
    for arc in grammar.arcs:
        ways[arc.source].append(arc)
    rng = random.Random(0)
    sentences: list[str] = []
    while len(sentences) < count:
        state, words = grammar.start, []
        while state != grammar.final:
            arc = rng.choice(ways[state])
            words += [arc.word] if arc.word and "_" not in arc.word else []
            state = arc.target
        if 0 < len(words) < 20:
            sentences.append(" ".join(words))
    return sentences


def test_everything_that_can_be_heard_is_understood() -> None:
    english = load_templates("en")
    commands = tuple(template for template in english.templates if template.intent not in ("Answer", "MakeRule"))
    grammar = build_grammar(structs.replace(english, templates=commands), HOME.vocabulary(["okay nabu"]))
    lost = [text for text in random_sentences(grammar, 1500) if not HOME.understand(text, IN_THE_KITCHEN)]
    assert lost == []


def test_every_rule_that_can_be_heard_is_taken_for_one() -> None:
    grammar = build_grammar(load_templates("en"), HOME.vocabulary())
    assert accepts(grammar, "every weekday at seven turn on the bedroom lamp and turn on the bedroom fan")
    assert accepts(grammar, "when the front door is unlocked after ten say so in the kitchen")
    assert not accepts(grammar, "every weekday at seven")
    assert not accepts(grammar, "every weekday at seven every weekday at seven turn on the bedroom lamp")
    reader = RuleReader(ENTITIES, AREAS, HOME.understand)
    rules = [text for text in random_sentences(grammar, 1500) if text.startswith(("every ", "when the "))]
    assert len(rules) > 100
    assert [text for text in rules if not reader.is_rule(text, IN_THE_KITCHEN)] == []


def test_every_intent_that_can_be_understood_is_done_by_a_skill() -> None:
    assert languages() == ("en",)
    intents = {template.intent for template in load_templates("en").templates if template.intent != "Answer"}
    assert intents - {name for skill in SKILLS for name in skill.intents} == set()


def test_commands_of_this_home_are_accepted_and_those_of_another_are_not() -> None:
    grammar = grammar_of(HOME.vocabulary(["okay nabu"]))
    assert accepts(grammar, "turn on the kitchen lamp")
    assert accepts(grammar, "okay_nabu turn on the kitchen lamp")
    assert accepts(grammar, "set the living room lamp to fifty percent")
    assert accepts(grammar, "turn off the hallway light and turn on the bedroom fan")
    assert accepts(grammar, "okay_nabu")
    assert accepts(grammar, "in the kitchen"), "an answer to: which room?"
    assert not accepts(grammar, "turn on the garage lamp")
    assert not accepts(grammar, "turn on the")
    assert not accepts(grammar, "open the kitchen lamp")
    assert not accepts(grammar, "lock the bedroom fan")


def test_only_what_reaches_the_end_of_a_sentence_is_in_the_grammar() -> None:
    grammar = grammar_of(Vocabulary((), ()))
    assert accepts(grammar, "what time is it")
    words = {arc.word for arc in grammar.arcs}
    assert "unlock" not in words, "nothing can be unlocked in an empty home"


def test_unlikely_numbers_weigh_less() -> None:
    grammar = grammar_of(Vocabulary((), ()))
    weights: dict[str, set[float]] = defaultdict(set)
    for arc in grammar.arcs:
        weights[arc.word].add(arc.weight)
    assert weights["and"] and min(weights["and"]) < 1.0
    assert all(0 < arc.weight <= 1 for arc in grammar.arcs)


def test_a_home_of_thousands_of_devices_keeps_the_grammar_bounded() -> None:
    names = tuple((f"Lamp {number}", "light") for number in range(5000))
    grammar = grammar_of(Vocabulary(names, ()))
    assert accepts(grammar, f"turn on lamp {spoken_form(str(MAX_NAMES - 1))}")
    assert not accepts(grammar, f"turn on lamp {spoken_form('4999')}")
    assert len(grammar.arcs) < 40_000


def test_names_are_spoken_as_words() -> None:
    assert spoken_form("Büro/TV 2 💡") == "buro tv two"
    assert spoken_form("Anna\N{RIGHT SINGLE QUOTATION MARK}s lamp") == "anna's lamp"
    assert spoken_form("💡") == ""
    assert accepts(grammar_of(Vocabulary((("Büro/TV 2 💡", "switch"), ("💡", "light")), ())), "turn on the buro tv two")
