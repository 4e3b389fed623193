from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        "{{ value.split(',') }}",
        "{{ range(10) }}",
        "{{ 10 ** 100000000 }}",
        "{% include 'x' %}",
        "{% block x %}{% endblock %}",
        "{{ value | format }}",
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
