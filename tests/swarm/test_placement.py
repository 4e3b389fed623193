"""Placement, as a table: which node gets a task, and what is said about it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from swarm.capability import Capability, Member, Run, Speed, answer_units
from swarm.circuit import Circuits
from swarm.placement import TRIES, Choice, Nowhere, PlacementTask, choose_node, explain
from swarm.routing import NoRoute, Route, RoutingSection, Rule, route
from swarm.task import TaskRequest

FAST = Speed(input_s=0.0001, output_s=0.01, load_s=4.0, input_units=100, output_units=100, runs=9)
SLOW = Speed(input_s=0.002, output_s=0.1, load_s=4.0, input_units=100, output_units=100, runs=9)


def member(node: str, *capabilities: Capability, **fields: object) -> Member:
    return msgspec.structs.replace(Member(node, f"the {node}", capabilities=capabilities, heard_at=100.0), **fields)


def model(speed: Speed = FAST, *, name: str = "m", **fields: object) -> Capability:
    return msgspec.structs.replace(Capability("generate", name, "small", speed), **fields)


TASK = PlacementTask("t", "generate", output_units=100)
UNKNOWN = Speed()
"""Of a model that never ran."""
FULL: dict[str, Any] = {"slots": 1, "running": 1, "waiting": 1}

CASES: dict[str, tuple[PlacementTask, list[Member], str | None]] = {
    "the faster": (TASK, [member("pi", model(SLOW)), member("gpu", model())], "gpu"),
    "the one with the capability": (TASK, [member("pi"), member("gpu", model(SLOW))], "gpu"),
    "nobody": (TASK, [member("pi")], None),
    "no dead one": (TASK, [member("gpu", model(), state="dead"), member("pi", model(SLOW))], "pi"),
    "a suspect only as the last": (TASK, [member("gpu", model(), state="suspect"), member("pi", model(SLOW))], "pi"),
    "a suspect rather than nobody": (TASK, [member("gpu", model(), state="suspect")], "gpu"),
    "no other protocol": (TASK, [member("gpu", model(), protocol=99)], None),
    "the free one though slower": (
        TASK,
        [member("gpu", model(**FULL, backlog_s=(60.0, 60.0, 60.0))), member("pi", model(SLOW))],
        "pi",
    ),
    "the busy one when it is soon free": (
        TASK,
        [member("gpu", model(**FULL, backlog_s=(0.5, 9.0, 9.0))), member("pi", model(SLOW))],
        "gpu",
    ),
    "by the backlog of its own priority": (
        msgspec.structs.replace(TASK, priority="batch"),
        [member("gpu", model(**FULL, backlog_s=(0.5, 9.0, 99.0))), member("pi", model(SLOW))],
        "pi",
    ),
    "a backlog is as old as the beat": (
        TASK,
        [member("gpu", model(**FULL, backlog_s=(9.5,)), heard_at=91.0), member("pi", model(SLOW), heard_at=100.0)],
        "gpu",
    ),
    "the warm one": (TASK, [member("a", model(warm=False)), member("b", model())], "b"),
    "the cold one when loading pays": (TASK, [member("a", model(warm=False)), member("b", model(SLOW))], "a"),
    "exactly the model that is named": (
        msgspec.structs.replace(TASK, model="big"),
        [member("a", model()), member("b", model(SLOW, name="big"))],
        "b",
    ),
    "never another model": (msgspec.structs.replace(TASK, model="big"), [member("a", model())], None),
    "another model that is allowed": (
        msgspec.structs.replace(TASK, model="big", fallback_models=("huge", "m")),
        [member("a", model())],
        "a",
    ),
    "the named model though a fallback is faster": (
        msgspec.structs.replace(TASK, model="big", fallback_models=("m",)),
        [member("a", model()), member("b", model(SLOW, name="big"))],
        "b",
    ),
    "no smaller model": (msgspec.structs.replace(TASK, size="medium"), [member("a", model())], None),
    "a smaller model that is allowed": (
        msgspec.structs.replace(TASK, size="medium", fallback_size="tiny"),
        [member("a", model())],
        "a",
    ),
    "no model of unknown size where a small one is asked for": (
        msgspec.structs.replace(TASK, size="small"),
        [member("a", model(size="any"))],
        None,
    ),
    "a model of unknown size where a tiny one may stand in": (
        msgspec.structs.replace(TASK, size="medium", fallback_size="tiny"),
        [member("a", model(size="any"))],
        "a",
    ),
    "a larger model": (msgspec.structs.replace(TASK, size="tiny"), [member("a", model())], "a"),
    "who knows the conversation": (
        msgspec.structs.replace(TASK, prefix="talk", input_units=4000),
        [member("a", model()), member("b", model(prefixes=("talk",)))],
        "b",
    ),
    "a private task stays here": (
        msgspec.structs.replace(TASK, privacy="private"),
        [member("gpu", model()), member("pi", model(SLOW), here=True)],
        "pi",
    ),
    "a private task may go where a person said so": (
        msgspec.structs.replace(TASK, privacy="private"),
        [member("gpu", model(), accepts=("private", "home"))],
        "gpu",
    ),
    "nobody before the deadline": (
        msgspec.structs.replace(TASK, left_s=5.0),
        [member("gpu", model(**FULL, backlog_s=(60.0,)))],
        None,
    ),
    "what can wait leaves the last slot": (
        msgspec.structs.replace(TASK, priority="batch"),
        [member("gpu", model(slots=1)), member("other", model(slots=4, speed=Speed(output_s=0.05, runs=1)))],
        "other",
    ),
    "here when all are equal": (TASK, [member("a", model()), member("b", model(), here=True)], "b"),
    "the less busy of equals": (
        TASK,
        [member("a", model(slots=4, running=2)), member("b", model(slots=4, running=1))],
        "b",
    ),
    "by the same length of the answer for all": (
        msgspec.structs.replace(TASK, output_units=0.0),
        [
            member("gpu", model(msgspec.structs.replace(FAST, output_units=500))),
            member("pi", model(msgspec.structs.replace(SLOW, output_units=5))),
        ],
        "gpu",
    ),
    "by the same length of the question for all": (
        msgspec.structs.replace(TASK, input_units=0.0, output_units=1.0),
        [
            member("gpu", model(msgspec.structs.replace(FAST, input_units=20_000))),
            member("pi", model(msgspec.structs.replace(SLOW, input_units=50))),
        ],
        "gpu",
    ),
    "an unknown one beside one that is slow": (TASK, [member("pi", model(SLOW)), member("new", model(UNKNOWN))], "new"),
    "an unknown one though it must load its model": (
        TASK,
        [member("pi", model(SLOW)), member("new", model(UNKNOWN, warm=False))],
        "new",
    ),
    "no unknown one where a person is answered within a second": (
        msgspec.structs.replace(TASK, output_units=50.0),
        [member("gpu", model()), member("new", model(UNKNOWN))],
        "gpu",
    ),
    "an unknown one for what can wait": (
        msgspec.structs.replace(TASK, output_units=50.0, priority="background"),
        [member("gpu", model(slots=4)), member("new", model(UNKNOWN))],
        "new",
    ),
    "no unknown one that is being measured": (
        TASK,
        [member("pi", model(SLOW)), member("new", model(UNKNOWN, slots=4, running=1))],
        "pi",
    ),
    "an unknown one when all known are busy for long": (
        TASK,
        [
            member("pi", model(SLOW, **FULL, backlog_s=(60.0,))),
            member("new", model(UNKNOWN, slots=4, running=1)),
        ],
        "new",
    ),
    "no unknown one that failed at being measured": (
        TASK,
        [member("pi", model(SLOW)), member("new", model(UNKNOWN, fruitless=TRIES))],
        "pi",
    ),
    "no unknown one that may be dead": (
        TASK,
        [member("pi", model(SLOW)), member("new", model(UNKNOWN), state="suspect")],
        "pi",
    ),
    "no unknown one that likely misses the deadline": (
        msgspec.structs.replace(TASK, left_s=10.0),
        [member("pi", model(SLOW)), member("new", model(UNKNOWN, warm=False))],
        "pi",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choice(name: str) -> None:
    task, members, expected = CASES[name]
    for order in (members, members[::-1]):
        decision = choose_node(task, order, 100.0)
        assert (decision.node if isinstance(decision, Choice) else None) == expected, explain(task, decision)


def test_a_stand_in_is_named_as_one() -> None:
    task = msgspec.structs.replace(TASK, model="big", fallback_models=("m",))
    decision = choose_node(task, [member("a", model())], 0.0)
    assert isinstance(decision, Choice)
    assert (decision.model, decision.instead_of) == ("m", "big")
    assert "nobody can serve big: m stands in for it, as allowed" in explain(task, decision)
    plain = choose_node(TASK, [member("a", model())], 0.0)
    assert isinstance(plain, Choice)
    assert plain.instead_of == ""


def test_own_tasks_that_a_beat_does_not_tell_yet_are_counted() -> None:
    members = [member("gpu", model(slots=1)), member("other", model(slots=1))]
    first = choose_node(TASK, members, 0.0)
    assert isinstance(first, Choice)
    second = choose_node(TASK, members, 0.0, sent={(first.node, "generate", "m"): 1})
    assert isinstance(second, Choice)
    assert second.node != first.node


def test_equal_nodes_share_the_tasks_of_all_entries() -> None:
    members = [member(name, model()) for name in "abcd"]
    chosen = set()
    for number in range(40):
        decision = choose_node(msgspec.structs.replace(TASK, task=f"t{number}"), members, 0.0)
        assert isinstance(decision, Choice)
        chosen.add(decision.node)
    assert chosen == set("abcd")


def test_every_node_is_explained() -> None:
    task = msgspec.structs.replace(TASK, model="m", privacy="home")
    members = [
        member("gpu", model()),
        member("pi", model(SLOW)),
        member("old", model(), state="dead"),
        member("mic"),
        member("far", model(name="x")),
        member("ill", model()),
    ]
    decision = choose_node(task, members, 0.0, avoid={"ill": "failed a moment ago: reset"})
    lines = explain(task, decision)
    assert [line.split(":")[0] for line in lines] == ["the gpu", "the pi", "the old", "the mic", "the far", "the ill"]
    assert lines[0].startswith("the gpu: chosen, m in 1.02 s (read 0.02, write 1.00; measured on 9 runs)")
    assert lines[2:] == (
        "the old: is not there",
        "the mic: does not generate",
        "the far: has other models than m",
        "the ill: failed a moment ago: reset",
    )


def test_a_trial_is_explained_as_one() -> None:
    members = [member("pi", model(SLOW)), member("new", model(UNKNOWN, warm=False)), member("gpu", model(FAST))]
    task = msgspec.structs.replace(TASK, output_units=0.0)
    decision = choose_node(task, members, 0.0)
    assert isinstance(decision, Choice)
    assert decision.trial
    assert decision.model == "m"
    assert [line.split(" (")[0] for line in explain(task, decision)] == [
        "the new: chosen to learn how fast it is, m in 10.11 s",
        "the gpu: passed over this once, m in 1.02 s",
        "the pi: slower, m in 10.21 s",
    ]
    assert "load 5.00; a guess, nothing measured yet" in explain(task, decision)[0]
    plain = choose_node(task, [members[0], members[2]], 0.0)
    assert isinstance(plain, Choice)
    assert not plain.trial


def test_only_one_task_of_a_sender_at_once_is_a_trial() -> None:
    members = [member("pi", model(SLOW, slots=9)), member("new", model(UNKNOWN, slots=9))]
    decision = choose_node(TASK, members, 0.0, sent={("new", "generate", "m"): 1})
    assert isinstance(decision, Choice)
    assert (decision.node, decision.trial) == ("pi", False)


def test_each_model_of_a_node_is_tried() -> None:
    node = member("pi", model(SLOW), model(UNKNOWN, name="new", warm=False))
    decision = choose_node(TASK, [node], 0.0)
    assert isinstance(decision, Choice)
    assert (decision.model, decision.trial, len(decision.forecasts)) == ("new", True, 1)


def test_nowhere_tells_busy_from_impossible() -> None:
    impossible = choose_node(TASK, [member("a")], 0.0)
    avoided = choose_node(TASK, [member("a", model())], 0.0, avoid={"a": "is full"})
    assert isinstance(impossible, Nowhere)
    assert isinstance(avoided, Nowhere)
    assert (impossible.offered, avoided.offered) == (False, True)
    assert explain(TASK, choose_node(TASK, [], 0.0)) == ("no node is known",)


# ---- speeds


def test_first_run_replaces_the_guess_and_later_ones_are_averaged() -> None:
    run = Run(input_units=100, output_units=11, first_s=0.21, total_s=1.21)
    once = Speed().after(run)
    assert once.input_s == pytest.approx(0.002)
    assert once.output_s == pytest.approx(0.1)
    twice = once.after(msgspec.structs.replace(run, total_s=2.21))
    assert twice.output_s == pytest.approx(0.15)
    many = twice
    for _ in range(30):
        many = many.after(msgspec.structs.replace(run, total_s=2.21))
    assert many.output_s == pytest.approx(0.2, rel=0.01)
    assert many.run_s(100, 10) == pytest.approx(0.01 + 0.2 + 2.0, rel=0.02)


def test_a_cold_run_teaches_loading_and_not_reading() -> None:
    warm = Speed().after(Run(100, 10, first_s=0.21, total_s=1.21))
    cold = warm.after(Run(100, 10, first_s=6.21, total_s=7.21, cold=True))
    assert cold.input_s == warm.input_s
    assert cold.load_s == pytest.approx(5.5)  # between the guess of 5 and the 6 measured


def test_a_run_that_was_stopped_tells_how_fast_it_was_and_not_how_long_answers_are() -> None:
    stopped = Speed().after(Run(100, 11, first_s=0.21, total_s=1.21, whole=False))
    assert stopped.output_s == pytest.approx(0.1)
    assert stopped.output_units == Speed().output_units
    stuck = stopped.after(Run(100, 0, first_s=60.0, total_s=60.0, first_units=0, whole=False))
    assert stuck.input_s > 0.2
    assert stuck.output_s == stopped.output_s


def test_an_answer_in_one_piece_is_all_reading() -> None:
    once = Speed().after(Run(3.0, 5, first_s=0.31, total_s=0.31, first_units=5))
    assert once.run_s(3.0) == pytest.approx(0.31)


@pytest.mark.parametrize(
    ("text", "audio", "units"), [("four", b"", 1.0), ("", bytes(16_000), 0.5), ("", b"", 1.0), ("ab", b"", 0.5)]
)
def test_answers_are_measured_by_their_content(text: str, audio: bytes, units: float) -> None:
    assert answer_units(text, audio) == units


# ---- routing


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (TaskRequest("chat"), Route("generate", "", "any", (), None, 60.0)),
        (TaskRequest("chat", complexity="hard"), Route("generate", "", "medium", (), "tiny", 180.0)),
        (TaskRequest("transcribe"), Route("transcribe", "", "any", (), None, 15.0)),
        (TaskRequest("transcribe", priority="batch"), Route("transcribe", "", "any", (), None, 600.0)),
        (TaskRequest("chat", model="llama", complexity="hard"), Route("generate", "llama", "any", (), None, 180.0)),
        (TaskRequest("chat", deadline_s=5.0), Route("generate", "", "any", (), None, 5.0)),
    ],
)
def test_default_routes(request_: TaskRequest, expected: Route) -> None:
    assert route(RoutingSection(), request_) == expected


def test_a_persons_rule_goes_before_the_built_in_ones() -> None:
    section = RoutingSection(
        (Rule("chat", complexity="hard", model="qwen", fallback_models=("small",), timeout_s=9.0),)
    )
    assert route(section, TaskRequest("chat", complexity="hard")) == Route(
        "generate", "qwen", "any", ("small",), None, 9.0
    )
    assert route(section, TaskRequest("chat")).timeout_s == 60.0
    with pytest.raises(NoRoute, match="no rule for a task of type dance") as error:
        route(section, TaskRequest("dance"))
    assert "transcribe" in error.value.hint


# ---- circuits


def test_circuit_opens_longer_with_each_failure_and_closes_with_success() -> None:
    circuits = Circuits()
    circuits.failed("a", "reset", 0.0)
    circuits.failed("a", "reset", 0.1)  # another task of the same moment: no second failure
    assert circuits.open(0.5) == {"a": "failed a moment ago: reset"}
    assert circuits.open(1.0) == {}
    circuits.failed("a", "refused", 1.5)
    assert circuits.open(3.4) == {"a": "failed 2 times in a row: refused"}
    assert circuits.open(3.5) == {}
    circuits.worked("a")
    circuits.failed("a", "reset", 10.0)
    assert circuits.open(11.0) == {}
