from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.home.filters import FILTERS, FUNCTIONS, METHOD_NAMES
from hub.home.templates import MAX_OUTPUT, MAX_TEMPLATE, Message, NoValue, Template
from swarm.errors import MalformedMessage

MESSAGE = Message('{"state": "ON", "a": {"b": 21.26}, "n": null, "list": [3, 4], "t": true}')


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ value_json.state }}", "ON"),
        ("{{ value_json['a']['b'] | round(1) }}", "21.3"),
        ("{{ value_json.a.b | int }}", "21"),
        ("{{ (value_json.a.b | float * 2) | round }}", "43"),
        ("{{ 'on' if value_json.state == 'ON' else 'off' }}", "on"),
        ("{% if value_json.t %}yes{% else %}no{% endif %}", "yes"),
        ("{% set names = {'ON': 'heat', none: 'off'} %}{{ names[value_json.state] }}", "heat"),
        ("{{ value_json.missing | default('none', true) }}", "none"),
        ("{{ value_json.state is defined }}", "True"),
        ("{{ value_json.n }}", "None"),
        ("{{ value_json.state | lower | replace('o', '0') }}", "0n"),
        ("{{ value_json.list | first + value_json.list[1] }}", "7"),
        ("{{ value_json.missing | float(5) }}", "5"),
        ("{{ 'x' ~ value_json.state }}", "xON"),
        ("{{ value_json.t | iif('a', 'b') }}", "a"),
        ("{{ iif(value_json.a.b > 20, 'warm', 'cold') }}", "warm"),
        ("{{ value_json.get('a').get('c', 5) }}", "5"),
        ("{{ value_json.state.lower() }}", "on"),
        ("{{ value.split(':')[0][2:7] }}", "state"),
        ("{{ '%0.1f' | format(value_json.a.b) }}", "21.3"),
        ("{{ '%02d:%02d' | format(7, 5) }}", "07:05"),
        ("{{ 86400 | timestamp_custom('%Y-%m-%d', false) }}", "1970-01-02"),
        ("{{ (now() - timedelta(seconds=60)).isoformat() | as_timestamp < as_timestamp(now()) }}", "True"),
        ("{{ 12 | bitwise_and(4) }}", "4"),
        ("{{ 'v1.2-rc' | regex_replace('[^0-9.]', '') }}", "1.2"),
        ("{{ value_json.state | regex_match('O(N|FF)') }}", "True"),
        ("{{ 'speed 17 rpm' | regex_findall_index('[0-9]+') | int }}", "17"),
        ("{{ [3, 9, 4] | max }} {{ min(3, 9) }}", "9 3"),
        ("{{ value_json.list | join('-') }}", "3-4"),
        ("{{ value_json.a | to_json }}", '{"b": 21.26}'),
        ("{{ ('{\"x\": 2}' | from_json).x }}", "2"),
        ("{{ value_json.list is is_number or value_json.a.b is is_number }}", "True"),
        ("{{ value_json.a.b | round(0, 'ceil') }} {{ 2.3 | round(1, 'half') }}", "22 2.5"),
    ],
)
def test_usual_templates_find_their_value(source: str, text: str) -> None:
    assert Template(source).read(MESSAGE) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ value_json.missing }}",
        "{{ value_json.missing | is_defined }}",
        "{{ value_json.a.b.c.d }}",
        "{{ value_json.state | int }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__ }}",
        "{{ value * 1000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{% set x = 'aaaa' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
        "{% set x = 3 %}" + "{% set x = x * x %}" * 40 + "{{ x }}",
        "{{ 'a'" + " | replace('a', 'aaaaaaaaaa')" * 15 + " }}",
        "{{ '\"'" + " | to_json" * 35 + " }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%s' | format(value | string * 9) }}",
        "{{ 0 | timestamp_custom('%1000000000Y') }}",
        "{{ ('a' * 30) | regex_match('(a+)+$') }}",
        "{{ value | regex_search('(a|a)(a|a)(a|a)(a|a)(a|a)$') }}",
        "{{ value | regex_search('a?a?a?a?a?aaaaa') }}",
        "{{ value | regex_findall('(.)\\\\1') }}",
        "{{ value | regex_match('[') }}",
        "{{ timedelta(days=10000000000) }}",
        "{% set float = value_json %}{{ float() }}",
    ],
)
def test_what_finds_nothing_or_grows_without_bound_gives_no_value(source: str) -> None:
    with pytest.raises(NoValue):
        Template(source).read(MESSAGE)


@pytest.mark.parametrize(
    "source",
    [
        "{% for x in value %}{% endfor %}",
        "{% macro m() %}{% endmacro %}",
        "{{ value.format(1) }}",
        "{{ value.__class__() }}",
        "{{ value_json.update({}) }}",
        "{{ value.split(*[',']) }}",
        "{{ states('light.kitchen') }}",
        "{{ range(10) }}",
        "{{ 10 ** 100000000 }}",
        "{% include 'x' %}",
        "{% block x %}{% endblock %}",
        "{{ value | no_such_filter }}",
        "{{ value is no_such_test }}",
        "{{ value",
        "{{ " + "(" * 2000 + ")" * 2000 + " }}",
        "{{ " + "-" * 1000 + "1 }}",
        "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 40,
        "{% set x = [value, value] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
        "x" * (MAX_TEMPLATE + 1),
    ],
)
def test_templates_that_could_run_wild_are_refused_before_they_run(source: str) -> None:
    with pytest.raises(MalformedMessage):
        Template(source)


def test_a_message_that_is_no_json_has_no_value_json() -> None:
    assert Template("{{ value_json is defined }}").read(Message("21.5")) == "True"
    assert Template("{{ value_json is defined }}").read(Message("ON")) == "False"


def test_deeply_nested_json_is_taken_as_plain_text() -> None:
    assert Template("{{ value_json is defined }}").read(Message("[" * 100_000)) == "False"


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_template_and_no_message_raise_anything_else(source: str, text: str) -> None:
    for each in (source, "{{ " + source + " }}", "{% " + source + " %}"):
        with contextlib.suppress(MalformedMessage, NoValue):
            assert len(Template(each).read(Message(text))) <= MAX_OUTPUT


expressions = st.recursive(
    st.sampled_from(
        ["value", "value_json", "value_json.a", "none", "1e308", "-1", "'a'", "'%s'", "[1, 'b']", "{}", "now()"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(sorted(FILTERS)), st.lists(inner, max_size=2)).map(
            lambda parts: f"({parts[0]} | {parts[1]}({', '.join(parts[2])}))"
        ),
        st.tuples(inner, st.sampled_from(sorted(METHOD_NAMES)), st.lists(inner, max_size=2)).map(
            lambda parts: f"{parts[0]}.{parts[1]}({', '.join(parts[2])})"
        ),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, max_size=2)).map(
            lambda parts: f"{parts[0]}({', '.join(parts[1])})"
        ),
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "~", "in", "<", "=="]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(expressions, st.sampled_from(['{"a": NaN}', '{"a": [1, {}]}', "ON", "1e400", "[]", '"\\ud800"', "null"]))
def test_no_call_of_whatever_is_let_in_raises_anything_else(source: str, text: str) -> None:
    with contextlib.suppress(MalformedMessage, NoValue):
        assert len(Template("{{ " + source + " }}").read(Message(text))) <= MAX_OUTPUT
