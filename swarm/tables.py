"""Traces, devices, timers and findings as tables for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from swarm.messages import Trace
from swarm.rule_view import RuleView


def reason_table(trace: Trace) -> str:
    """Why something was done that was said."""
    facts = {
        "utterance": trace.utterance_id,
        "when": trace.started_at,
        "by": f"{trace.source} {trace.satellite}".strip(),
        "heard": trace.transcript,
        "why": trace.why,
        "node": next((mark.node for mark in trace.marks if mark.stage == "intent"), ""),
        "answer": trace.answer,
    }
    return plain_table([(key, value) for key, value in facts.items() if value])


def trace_table(trace: Trace) -> str:
    """One utterance, stage by stage: `ms` since the first stage, `step` since the one before."""
    facts = {
        "utterance": trace.utterance_id,
        "when": trace.started_at,
        "by": f"{trace.source} {trace.satellite}".strip(),
        "wake word": trace.wake_word,
        "heard": trace.transcript,
        "intent": trace.intent,
        "answer": trace.answer,
        "outcome": trace.outcome,
        "why": trace.why,
    }
    before = [0.0, *(mark.at_ms for mark in trace.marks)]
    headers = ["stage", "node", "ms", "step", "note"]
    if not any(mark.note for mark in trace.marks):
        headers = headers[:-1]
    rows = [
        (mark.stage, mark.node, f"{mark.at_ms:.1f}", f"{mark.at_ms - last:.1f}", mark.note)[: len(headers)]
        for mark, last in zip(trace.marks, before, strict=False)
    ]
    about = plain_table([(key, value) for key, value in facts.items() if value])
    return f"{about}\n\n{plain_table(rows, headers, right=('ms', 'step'))}" if rows else about


def traces_table(traces: Iterable[Trace]) -> str:
    """Several utterances, one a line."""
    rows = [
        (
            trace.utterance_id,
            trace.started_at.replace("T", " ")[:19],
            trace.transcript,
            trace.answer,
            trace.outcome,
            f"{trace.marks[-1].at_ms:.0f}" if trace.marks else "",
        )
        for trace in traces
    ]
    return plain_table(rows, ("utterance", "when", "heard", "answer", "outcome", "ms"), right=("ms",))


def rules_table(rules: Iterable[RuleView]) -> str:
    """Rules, one a line."""
    rows = [
        (
            str(each.number),
            "" if each.enabled else "off",
            printable(each.means),
            _when(each.ran_at),
            _when(each.next_at),
            printable(each.missing),
        )
        for each in rules
    ]
    shown = 6 if any(row[-1] for row in rows) else 5
    headers = ("rule", "", "what it does", "ran", "next", "missing")
    return plain_table([row[:shown] for row in rows], headers[:shown])


def _when(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")


def home_table(entities: Iterable[Mapping[str, Any]]) -> str:
    """What the home has, as `NodeClient.entities` lists it."""
    rows = [
        (
            entry["entity"].get("area", ""),
            entry["entity"]["name"],
            entry["entity"]["component"],
            _state(entry),
            ", ".join(entry["entity"].get("aliases", ())),
        )
        for entry in entities
    ]
    return plain_table(sorted(rows), ("area", "name", "kind", "state", "also called"))


def timers_table(timers: Iterable[Mapping[str, Any]]) -> str:
    """Timers as `NodeClient.timers` lists them."""
    rows = [
        (
            timer.get("name") or "",
            timer.get("satellite") or "",
            _duration(timer["left_s"]),
            _duration(timer["duration_s"]),
            "paused" if timer.get("paused_left_s") is not None else "",
        )
        for timer in timers
    ]
    return plain_table(rows, ("name", "set at", "left", "of", ""), right=("left", "of"))


def findings_table(findings: Iterable[tuple[str, str, str, str]]) -> str:
    """What the doctor found: (check, status, what was found, what to do); what to do goes on a line of its own."""
    rows = []
    for check, status, found, to_do in findings:
        rows.append((status, check, found))
        if to_do:
            rows.append(("", "", f"→ {to_do}"))
    return plain_table(rows, width=90)


def printable(text: str) -> str:
    """`text` without what could steer a terminal: names of devices and answers of models come from outside."""
    return "".join(" " if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char for char in text)


def _state(entry: Mapping[str, Any]) -> str:
    state, unit = entry["state"], entry["entity"].get("unit", "")
    if not state.get("available", True):
        return "unavailable"
    parts = [f"{state['value']} {unit}".strip()] if state.get("value") is not None else []
    parts += [
        f"{label} {state[key]}{suffix}"
        for key, label, suffix in _STATE_PARTS
        if state.get(key) is not None and not (key == "position" and state.get("value") == "closed")
    ]
    return ", ".join(parts) or "unknown"


_STATE_PARTS = (
    ("brightness", "brightness", " %"),
    ("color", "colour", ""),
    ("color_temperature", "white", " K"),
    ("position", "open", " %"),
    ("speed", "speed", " %"),
    ("current_temperature", "is", "°"),
    ("target_temperature", "wanted", "°"),
    ("current_humidity", "humidity", " %"),
    ("mode", "mode", ""),
)


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def plain_table(
    rows: Sequence[Sequence[Any]], headers: Sequence[str] = (), *, right: Sequence[str] = (), width: int = 60
) -> str:
    """Rows in columns; cells are made `printable`, line breaks in them stay. `right` names columns of numbers."""
    from tabulate import tabulate

    clean = [["\n".join(printable(line) for line in str(cell).split("\n")) for cell in row] for row in rows]
    columns = len(headers) or max((len(row) for row in clean), default=0)
    return tabulate(
        clean,
        headers=headers,
        tablefmt="simple" if headers else "plain",
        disable_numparse=True,
        colalign=["right" if header in right else "left" for header in headers] if headers and clean else None,
        maxcolwidths=[width] * columns if clean else None,
    )
