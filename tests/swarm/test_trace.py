from __future__ import annotations

import asyncio

from swarm.tables import trace_table
from swarm.trace import TraceRecorder, Work, done_by, watched


def recorder() -> TraceRecorder:
    return TraceRecorder("u1", node="hub", source="voice", satellite="kitchen")


def test_mark_is_of_who_did_the_work_and_says_what_went_wrong() -> None:
    trace = recorder()
    work = Work()
    work.node, work.note = "ear", "left: it was too late"
    trace.tell("transcript", work)
    trace.mark("wake", node="kitchen")
    trace.mark("transcript")
    trace.mark("intent")
    assert [(mark.stage, mark.node, mark.note) for mark in trace.trace().marks] == [
        ("wake", "kitchen", ""),
        ("transcript", "ear", "left: it was too late"),
        ("intent", "hub", ""),
    ]


def test_nothing_told_changes_nothing() -> None:
    trace = recorder()
    trace.tell("transcript", Work())
    trace.mark("transcript")
    assert [(mark.node, mark.note) for mark in trace.trace().marks] == [("hub", "")]


def test_what_goes_wrong_after_the_mark_is_noted_too() -> None:
    trace = recorder()
    trace.mark("first_audio", node="ear")
    work = Work()
    work.note = "it broke off"
    trace.tell("first_audio", work)
    assert [(mark.node, mark.note) for mark in trace.trace().marks] == [("ear", "it broke off")]


def test_work_is_told_to_whoever_watches_and_to_nobody_else() -> None:
    async def engine(node: str) -> None:
        await asyncio.sleep(0)
        done_by(node)

    async def utterance(node: str) -> str:
        with watched() as work:
            await asyncio.create_task(engine(node))
        done_by("nobody")
        return work.node

    async def check() -> tuple[str, str]:
        left, right = await asyncio.gather(utterance("left"), utterance("right"))
        return left, right

    assert asyncio.run(check()) == ("left", "right")


def test_later_work_keeps_the_note_unless_it_has_one() -> None:
    with watched() as work:
        done_by("", note="left failed")
        done_by("right")
        assert (work.node, work.note) == ("right", "left failed")
        done_by("", note="right failed")
        assert (work.node, work.note) == ("", "right failed")


def test_table_has_a_column_for_notes_only_where_there_is_one() -> None:
    trace = recorder()
    trace.mark("transcript")
    assert trace_table(trace.trace()).splitlines()[-3].split() == ["stage", "node", "ms", "step"]
    work = Work()
    work.note = "ear: it was too late"
    trace.tell("transcript", work)
    *_, header, _, row = trace_table(trace.trace()).splitlines()
    assert header.split() == ["stage", "node", "ms", "step", "note"]
    assert row.endswith("ear: it was too late")
