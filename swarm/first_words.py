"""What `mycoswarm up --demo-home` says first: a spoken command to itself, through the whole voice path."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from swarm.audio import resampled, write_wav
from swarm.config import Config
from swarm.engine import RATE, Synthesizer
from swarm.errors import MycoswarmError
from swarm.tables import trace_table

COMMAND = "turn on the living room lamp"
PAUSE = bytes(2 * RATE // 4)


class FirstWords:
    """Shows a person who just started the node that it works, and how to go on."""

    def __init__(
        self,
        config: Config,
        synthesizer: Synthesizer,
        url: str,
        *,
        ask: Callable[[bytes, bool], Awaitable[Any]],
    ) -> None:
        """`ask` takes a WAV and whether it begins with a wake word; what it returns has the `trace`."""
        self._config = config
        self._synthesizer = synthesizer
        self._url = url
        self._ask = ask

    async def speak(self) -> None:
        """Say the command, print what came of it and what can be said next."""
        phrase = self._config.satellite.wake_words[0].replace("_", " ") if self._config.satellite.wake_words else ""
        self._print(f'\nThe virtual flat is ready. Saying to myself: "{phrase}, {COMMAND}"\n')
        try:
            recording = PAUSE + await self._said(phrase) + PAUSE + await self._said(COMMAND)
            spoken = await self._ask(write_wav(recording), True)
        except MycoswarmError as error:
            self._print(f"That did not work: {error.for_person()}\n")
        else:
            self._print(f"{trace_table(spoken.trace)}\n")
        self._print(self._what_next(phrase))

    async def _said(self, text: str) -> bytes:
        pcm = bytearray()
        async with aclosing(self._synthesizer.synthesize(text, language="en")) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                pcm += chunk
        return resampled(bytes(pcm), self._synthesizer.rate, RATE)

    def _what_next(self, phrase: str) -> str:
        program = _program()
        return (
            "Your turn, in another terminal:\n"
            f'  by microphone   say "{phrase}", then "open the blinds" or "what can you do"\n'
            f'  by keyboard     {program} ask "which lights are on"\n'
            f"                  {program} chat\n"
            f"  by recording    {program} ask --audio question.wav --reply answer.wav\n"
            f"  look            {program} home | rules | trace | timers | doctor\n"
            f"The node is at {self._url}. Ctrl-C ends it."
        )

    def _print(self, text: str) -> None:
        print(text, flush=True)


def _program() -> str:
    """How the person who reads this can start the command line from the same folder."""
    if shutil.which("mycoswarm"):
        return "mycoswarm"
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py":
        return f"{Path(sys.executable).name} -m swarm"
    try:
        return str(program.relative_to(Path.cwd()))
    except ValueError:
        return str(program)
