"""Looks at everything that the voice path needs and says for each what was found and what to do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping

from swarm.checks import Check, Examined, Finding, home, machine, voice
from swarm.errors import MycoswarmError

CHECKS: Mapping[str, Check] = {
    "configuration": machine.configuration,
    "node": machine.node,
    "microphone": voice.microphone,
    "speaker": voice.speaker,
    "wake words": voice.wake_words,
    "engines": voice.engines,
    "broker": home.broker,
    "port": machine.people_port,
    "language model": voice.language_model,
    "disk": machine.disk,
    "clock": machine.clock,
    "memory": machine.memory,
}
"""In the order in which they are shown; all run at once."""

DEADLINE_S = 20.0
"""For each check; the slowest honest one loads a speech model from a slow card."""


def examine(
    examined: Examined, *, checks: Mapping[str, Check] = CHECKS, deadline_s: float = DEADLINE_S
) -> list[Finding]:
    """What all checks found, in their order, after at most `deadline_s`.

    Each runs in a daemon thread: a sound driver that hangs must hang neither the others nor the end of the program.
    """
    answers: queue.SimpleQueue[tuple[str, list[Finding]]] = queue.SimpleQueue()
    for name, check in checks.items():
        threading.Thread(
            target=lambda name=name, check=check: answers.put((name, _look(name, check, examined))), daemon=True
        ).start()
    found: dict[str, list[Finding]] = {}
    ends = time.monotonic() + deadline_s
    while len(found) < len(checks):
        try:
            name, findings = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        found[name] = findings
    late = f"no result within {deadline_s:g} s"
    return [
        finding
        for name in checks
        for finding in found.get(name, [Finding(name, "fail", late, "run it again; a device or server hangs")])
    ]


def _look(name: str, check: Check, examined: Examined) -> list[Finding]:
    try:
        return check(examined)
    except MycoswarmError as error:
        return [Finding(name, "fail", str(error), error.hint)]
    except Exception as error:  # noqa: BLE001 a check that breaks is a finding too, and must not take the others along
        return [Finding(name, "fail", f"the check itself failed: {error!r}", "please report it")]
