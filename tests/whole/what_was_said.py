"""Transcribes a reply: which of several sentences its audio holds, by a grammar of nothing but those."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from swarm.audio import read_wav
from swarm.engine import Arc, CommandGrammar, Transcript
from swarm.engines.pocketsphinx import PocketsphinxTranscriber


def what_was_said(wav: bytes, candidates: Sequence[str]) -> str:
    """The one of `candidates` (lower case words) that the recording holds; empty when it is none of them."""
    return asyncio.run(_transcribed(read_wav(wav), candidates)).text


async def _transcribed(pcm: bytes, candidates: Sequence[str]) -> Transcript:
    transcriber = PocketsphinxTranscriber(_unknown_words)
    try:
        await transcriber.set_grammar(_only(candidates))
        stream = await transcriber.open(language="en")
        for start in range(0, len(pcm), 3200):
            await stream.feed(pcm[start : start + 3200])
        transcript = await stream.transcript()
        await stream.close()
        return transcript if transcript.accepted else Transcript("")
    finally:
        await transcriber.close()


def _only(candidates: Sequence[str]) -> CommandGrammar:
    states = itertools.count(2)
    arcs = []
    for candidate in candidates:
        state = 0
        for word in candidate.split():
            following = next(states)
            arcs.append(Arc(state, following, word))
            state = following
        arcs.append(Arc(state, 1, ""))
    return CommandGrammar("en", tuple(arcs), 0, 1)


async def _unknown_words(words: Sequence[str], language: str) -> dict[str, list[str]]:
    raise AssertionError(f"candidates must be words of the CMU dictionary: {words}")
