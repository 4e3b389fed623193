"""Rules on the people's port.

::

    GET    /api/rules                     all of them
    POST   /api/rules                     {"sentences": ["every weekday at seven …"], "area": ""}: all of them or none
    GET    /api/rules/{rule}              one, explained: {"rule": …, "told": "…"}
    POST   /api/rules/{rule}/{enable|disable}
    DELETE /api/rules/{rule}

`{rule}` is a number or the beginning of an id. Errors are JSON: `error` says what happened, `hint` what to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from hub.intent import Context
from hub.rules.due import next_due
from hub.rules.reading import Draft
from hub.rules.rule import AtTime, Rule
from hub.rules.rules import Rules
from hub.skills.rules import explained, read, told
from hub.skills.skill import Request
from swarm.node_api import Refused, errors_as_json, json_answer
from swarm.rule_view import Problem, RuleExplained, RulesAsked, RulesMade, RuleView

HINT = "mycoswarm rules lists them"


class RulesPort:
    """The routes over one home's rules."""

    def __init__(self, rules: Rules, *, request: Callable[[Context], Request], language: str) -> None:
        """`request` is what skills are given when somebody types in that context."""
        self._rules = rules
        self._request = request
        self._language = language

    def routes(self) -> list[web.RouteDef]:
        """For the application of the people's port."""
        return [
            web.get("/api/rules", _json_errors(self._all)),
            web.post("/api/rules", _json_errors(self._make)),
            web.get("/api/rules/{rule}", _json_errors(self._explain)),
            web.post("/api/rules/{rule}/{switch:enable|disable}", _json_errors(self._switch)),
            web.delete("/api/rules/{rule}", _json_errors(self._remove)),
        ]

    async def _all(self, request: web.Request) -> web.Response:
        typed = self._request(Context(language=self._language))
        return json_answer([_view(rule, typed) for rule in self._rules.all()])

    async def _make(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=RulesAsked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            hint = 'send JSON such as {"sentences": ["every weekday at seven turn on the bedroom lights"]}'
            raise Refused(400, f"no rules: {error}", hint=hint) from error
        typed = self._request(Context(area=asked.area, language=self._language))
        found = [read(sentence, typed) for sentence in asked.sentences]
        problems = tuple(Problem(index, each) for index, each in enumerate(found) if isinstance(each, str))
        if problems:
            return json_answer(RulesMade(problems=problems))
        made = await self._rules.add([each for each in found if isinstance(each, Draft)], typed.context)
        views = tuple(_view(each.rule, typed) for each in made)
        return json_answer(RulesMade(views, tuple(told(each, typed) for each in made)))

    async def _explain(self, request: web.Request) -> web.Response:
        rule, typed = self._wanted(request), self._request(Context(language=self._language))
        return json_answer(RuleExplained(_view(rule, typed), explained(rule, typed)))

    async def _switch(self, request: web.Request) -> web.Response:
        enabled = request.match_info["switch"] == "enable"
        changed = await self._rules.set_enabled(self._wanted(request), enabled)
        return json_answer(_view(changed, self._request(Context(language=self._language))))

    async def _remove(self, request: web.Request) -> web.Response:
        rule = self._wanted(request)
        await self._rules.remove(rule)
        return json_answer(_view(rule, self._request(Context(language=self._language))))

    def _wanted(self, request: web.Request) -> Rule:
        wanted = request.match_info["rule"]
        found = self._rules.find(wanted)
        if not found:
            raise Refused(404, f"there is no rule {wanted:.60}", hint=HINT)
        if len(found) > 1:
            ids = ", ".join(rule.id for rule in found)
            raise Refused(409, f"{len(found)} rules are called {wanted:.60}", hint=f"name one by its id: {ids}")
        return found[0]


def _view(rule: Rule, request: Request) -> RuleView:
    words, entities, ran = request.words.rules, request.home.entities, request.rules.ran(rule.id)
    now = request.local_time.timestamp()
    return RuleView(
        rule.id,
        rule.number,
        rule.words,
        words.told(rule, entities),
        rule.enabled,
        missing=words.missing(rule, entities),
        ran_at=ran.at if ran is not None else None,
        ran=ran.told if ran is not None else "",
        next_at=next_due(rule.trigger, now) if isinstance(rule.trigger, AtTime) and rule.enabled else None,
    )


def _json_errors(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Handler:
    async def wrapped(request: web.Request) -> web.StreamResponse:
        return await errors_as_json(request, handler)

    return wrapped
