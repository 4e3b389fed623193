"""The sentences people can say, as templates in hassil's syntax: `<language>.yaml`, and `<language>.<more>.yaml`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hassil import Expression, parse_sentence

CONJUNCTIONS = {"en": "and"}
"""Joins two commands in one sentence."""


_FOLDER = Path(__file__).parent


class Template(msgspec.Struct, frozen=True):
    """One sentence template and what it means."""

    intent: str
    text: str
    parsed: Expression
    several: bool = False
    """May be joined to others with the conjunction."""
    domains: tuple[str, ...] = ()
    """`{name}` stands for entities of these components only; empty: all."""
    slots: dict[str, str] = {}
    """Slots that the sentence fills by being said."""
    spoken: bool = True
    """Part of the grammar that command-mode recognizers listen for; false: understood when typed."""
    understood: bool = True
    """False: only listened for. `hub.understanding` takes it apart into several commands, or it answers a question."""
    opens: bool = False
    """Said before another sentence, as "every day at noon" is."""


class TemplateSet(msgspec.Struct, frozen=True):
    """All sentences of one language."""

    language: str
    conjunction: str
    templates: tuple[Template, ...]
    rules: dict[str, str]
    parsed_rules: dict[str, Expression]
    polite_words: list[str]
    """Words that may stand anywhere and mean nothing, such as "please"."""
    lists: dict[str, dict[str, Any]]
    """`{values: [...]}` or `{range: {from, to, step}, likely: [...]}`; all but `likely` as hassil has them."""


def languages() -> tuple[str, ...]:
    """Languages that have sentences."""
    return tuple(sorted({path.name.partition(".")[0] for path in _FOLDER.glob("*.yaml")}))


@lru_cache(maxsize=4)
def load_templates(language: str) -> TemplateSet:
    """The sentences of a language; falls back to English where there are none."""
    name = language if language in languages() else "en"
    more = sorted(_FOLDER.glob(f"{name}.*.yaml"))
    first, *others = (_read(path) for path in (_FOLDER / f"{name}.yaml", *more))
    templates = [
        Template(
            intent=intent,
            text=text,
            parsed=_parse(text),
            several=bool(content.get("several")) and data.get("understood", True),
            domains=tuple(data.get("domains", ())),
            slots=dict(data.get("slots", {})),
            understood=bool(data.get("understood", True)),
            spoken=bool(data.get("spoken", True)),
            opens=bool(data.get("opens", False)),
        )
        for document in (first, *others)
        for intent, content in document["intents"].items()
        for data in content["data"]
        for text in data["sentences"]
    ]
    rules: dict[str, str] = {rule: text for document in (first, *others) for rule, text in document["rules"].items()}
    return TemplateSet(
        language=name,
        conjunction=CONJUNCTIONS[name],
        templates=tuple(templates),
        rules=rules,
        parsed_rules={rule: _parse(text) for rule, text in rules.items()},
        polite_words=first["polite_words"],
        lists={name: values for document in (first, *others) for name, values in document["lists"].items()},
    )


def _read(path: Path) -> dict[str, Any]:
    # libyaml; the loader in Python keeps a small board busy for seconds.
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return content


def _parse(text: str) -> Expression:
    return parse_sentence(text).expression
