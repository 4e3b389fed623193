from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from swarm.structured_log import MAX_MESSAGE, JsonLines, TextLines, current_log_context, log_context, log_to


@pytest.fixture
def lines() -> Iterator[tuple[logging.Logger, Any]]:
    """A logger, and a function that reads what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("attic"))
    logger = logging.getLogger("test.structured_log")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.propagate = True


def test_line_says_when_where_and_what(lines: tuple[logging.Logger, Any]) -> None:
    logger, read = lines
    logger.warning("took %d ms", 7)
    (line,) = read()
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {"level": "warning", "logger": "test.structured_log", "node": "attic", "message": "took 7 ms"}


def test_lines_of_two_tasks_at_once_carry_their_own_task_ids(lines: tuple[logging.Logger, Any]) -> None:
    logger, read = lines

    async def work(task: str, go_on: asyncio.Event) -> None:
        with log_context(task=task):
            logger.info("begins")
            await go_on.wait()
            await asyncio.create_task(step())
        logger.info("is over")

    async def step() -> None:
        with log_context(utterance="u1"):
            logger.info("step")

    async def both() -> None:
        go_on = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(work("a", go_on))
            group.create_task(work("b", go_on))
            await asyncio.sleep(0)
            go_on.set()

    asyncio.run(both())
    said = [(line["message"], line.get("task"), line.get("utterance")) for line in read()]
    assert sorted(said, key=str) == sorted(
        [("begins", "a", None), ("begins", "b", None), ("step", "a", "u1"), ("step", "b", "u1")]
        + [("is over", None, None)] * 2,
        key=str,
    )
    assert not current_log_context()


def test_text_from_outside_cannot_forge_a_line_or_fill_the_disk() -> None:
    text = 'name: x\n{"level": "error"}\x1b[2J \udcff ' + "y" * 100_000
    written = JsonLines("attic").format(logging.makeLogRecord({"name": "x", "msg": text, "levelname": "INFO"}))
    assert written.isprintable()
    line = json.loads(written)
    assert line["level"] == "info"
    assert "\\udcff" in line["message"]
    assert len(line["message"]) < MAX_MESSAGE + 100


def test_error_comes_with_the_end_of_its_traceback(lines: tuple[logging.Logger, Any]) -> None:
    logger, read = lines
    try:
        raise ValueError("the reason" + "x" * 10_000)
    except ValueError:
        logger.exception("failed")
    (line,) = read()
    assert line["error"].endswith("x" * 100)
    assert len(line["error"]) <= MAX_MESSAGE


def test_wrong_format_loses_neither_the_line_nor_the_node() -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "%d of %d", "args": ("one",), "created": 0.0})
    assert "'one'" in json.loads(JsonLines("attic").format(record))["message"]


@pytest.mark.parametrize("fields", [{"message": "x"}, {f"f{n}": "x" for n in range(17)}])
def test_fields_that_a_line_cannot_carry_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"log|fields"), log_context(**fields):
        pass


def test_text_form_shows_fields_and_escapes_terminal_codes() -> None:
    record = logging.makeLogRecord({"name": "swarm.bus", "levelname": "INFO", "msg": "red \x1b[31m\n", "created": 0.0})
    with log_context(task="t1"):
        text = TextLines().format(record)
    assert text[8:] == " info swarm.bus: red \\x1b[31m\\n task=t1"


def test_log_to_replaces_what_was_set_up_before() -> None:
    root = logging.getLogger()
    former, level = root.handlers[:], root.level
    try:
        first, second = io.StringIO(), io.StringIO()
        log_to(first, node="attic")
        log_to(second, node="attic", form="text")
        logging.getLogger("anything").warning("hello")
        assert (first.getvalue(), second.getvalue()[8:]) == ("", " warning anything: hello\n")
    finally:
        root.handlers[:] = former
        root.setLevel(level)
