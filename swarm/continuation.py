"""What may follow words that were heard, by the grammar of everything that can be said. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from swarm.engine import CommandGrammar, Continuation


class Continuations:
    """Answers for one grammar; takes microseconds a word."""

    def __init__(self, grammar: CommandGrammar) -> None:
        self._steps: dict[int, list[int]] = defaultdict(list)
        self._words: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for arc in grammar.arcs:
            if arc.word:
                self._words[arc.source].append((arc.word, arc.target))
            else:
                self._steps[arc.source].append(arc.target)
        self._start = self._reached([grammar.start])
        self._final = grammar.final

    def after(self, words: Iterable[str]) -> Continuation:
        """`unknown` when no sentence begins with `words`."""
        states = self._start
        for word in words:
            states = self._reached(
                target for state in states for spoken, target in self._words.get(state, ()) if spoken == word
            )
        if not states:
            return "unknown"
        if self._final not in states:
            return "needed"
        return "possible" if any(state in self._words for state in states) else "none"

    def _reached(self, states: Iterable[int]) -> set[int]:
        """`states` and all that are reached from them without a sound."""
        reached: set[int] = set()
        todo = list(states)
        while todo:
            state = todo.pop()
            if state not in reached:
                reached.add(state)
                todo += self._steps.get(state, ())
        return reached
