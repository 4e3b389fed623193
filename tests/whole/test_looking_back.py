"""A running node: what it may do by voice, a yes after a restart, undoing, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.whole.room import room_at
from tests.whole.running_node import running_node


def test_a_node_asks_undoes_and_explains_and_a_restart_forgets_what_it_asked(tmp_path: Path) -> None:
    policy = {"policy": {"entities": {'"Coffee machine"': "refuse"}, "kinds": {"fan": "ask"}}}
    with running_node(tmp_path, demo_home=True, sections=policy) as node:
        assert node.ask("turn on the coffee machine").answer == "I may not turn on the coffee machine by voice."
        assert node.ask("turn on the bedroom fan").answer == "Turn on the bedroom fan?"
        assert node.ask("yes").answer == "The bedroom fan is on."

        async def by_voice() -> None:
            async with room_at(node.voice_url, "bed", area="Bedroom") as room:
                await room.answered("turn on the bedroom lamp")
                said, answer = await room.answered("undo that", 2)
                assert (said, answer) == ("undo that", "The bedroom lamp is off.")

        asyncio.run(by_voice())
        assert node.state_of("Bedroom lamp")["value"] == "off"

        node.ask("turn on the kitchen lamp")
        reason = "I took it as: turn on the kitchen lamp."
        assert reason in node.run("why").stdout
        assert reason in node.ask("why did you do that").answer

        assert node.ask("unlock the front door").answer == "Unlock the front door?"
        assert node.end() == 0
        node.start()
        assert node.ask("yes").answer == "I didn't ask you anything."
        assert node.state_of("Front door")["value"] == "locked"
