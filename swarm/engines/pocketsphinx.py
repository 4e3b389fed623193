"""Speech to text for commands: pocketsphinx with a grammar of what can be said in this home now.

The decoder can hear nothing but sentences of its grammar, so it turns any noise into a command. A second decoder, a
free loop over phones, hears the same audio and tells what was no command (`swarm.engines.confidence`). Both run in
one process of their own and keep up with speech: the transcript is there a few milliseconds after the last audio.
numpy is imported there and not by the node, which has no other use for it.
Measured: see BENCHMARKS.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import math
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from wyoming.event import Event

from swarm.continuation import Continuations
from swarm.engine import RATE, WAKE_JOINT, CommandGrammar, Transcript
from swarm.engine_process import Answer, Conversation, EngineProcess, Send, module_argv, serve
from swarm.engines.confidence import Segment, confidence
from swarm.errors import EngineError, EngineUnavailable

log = logging.getLogger(__name__)

ACCEPT_SCORE = -0.5
"""Log odds: lower is no command. What it refuses and lets pass is in BENCHMARKS.md."""
LOG_BASE = math.log(1.0001)
MAX_UTTERANCE_BYTES = 20 * RATE * 2
NOISE_FLOOR_DBFS = -65.0
"""White noise added to all audio: features of digital silence, as synthetic speech and noise gates have it, mislead the
running mean that the decoder subtracts. Clean commands understood: 92 of 128 without, 124 with."""
FIRST_MEAN = (51.7, 3.5, 9.0, 9.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Where the running mean of the features starts; it adapts to microphone and room with every command."""
ADAPTATION = 0.2
"""How much of it each command is. Four people who take turns: 119 of 128 commands with 0.2, 116 when the last few
make all of it, 111 without adaptation."""
BABBLE = WAKE_JOINT * 2
"""Begins the names of single sounds, of which a few may come before a wake phrase: the pre-roll has half a second from
before it, in which a television may speak."""
BABBLE_SOUNDS = 6
"""So many at most. Beside a television 15 dB below the speaker 0 of 32 commands are understood without such sounds, 15
with them. With any number of them they swallow whole commands in noise: at 10 dB 23 of 64 are understood, else 30."""
BABBLE_WEIGHT = -300_000
"""Of each, log in base 1.0001: about what a sound explains better than a silence does."""
INCOMPLETE_MARGIN = 500.0
"""By how much (log base 1.0001 of scaled scores) the beginning of a sentence must explain the audio better
than any whole one. Of 96 whole commands none is above it; of 29 without their end that would be accepted, 24 are."""
MAX_ACTIVE = 1500
"""Hidden Markov models that are followed in each frame. Without a bound 0.154 s of CPU a second of speech and 78 of 88
right commands accepted; with it 0.129 s and 84."""
TIMEOUT_S = 10.0
"""Without an answer for so long it hangs. A machine on which everything runs at once takes more than 5 s."""
_OWN_PHONES = {"nabu": ["N AA B UW"], "mycroft": ["M AY K R AO F T"]}
"""Of wake words, which nobody should have to say the way a synthesizer guesses."""

Pronounce = Callable[[Sequence[str], str], Awaitable[dict[str, list[str]]]]


class _Words(msgspec.Struct, frozen=True):
    """What the child needs to listen for a grammar."""

    grammar: CommandGrammar
    dictionary: str
    """Lines of the CMU dictionary's form: `lamp L AE M P`."""


class PocketsphinxTranscriber:
    """Command mode; implements `swarm.engine.Transcriber`."""

    name = "pocketsphinx"
    commands_only = True

    def __init__(self, pronounce: Pronounce, *, rest_after_s: float | None = None) -> None:
        """`pronounce` gives phones (CMU set) for words that the CMU dictionary lacks. With `rest_after_s` its process
        of 60 MB is there only when it is needed: an utterance starts it while it is spoken, and unused for so long
        it ends. None: it starts with the grammar and stays."""
        if importlib.util.find_spec("pocketsphinx") is None:
            raise EngineUnavailable(
                "command mode needs the Python package pocketsphinx", hint="pip install pocketsphinx"
            )
        self._process = EngineProcess(module_argv(__spec__.name), self.name)
        self._pronounce = pronounce
        self._grammar: CommandGrammar | None = None
        self._primed: CommandGrammar | None = None
        """What the child of `_primed_pid` listens for."""
        self._primed_pid: int | None = None
        self._rest_after_s = rest_after_s
        self._rests_at: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """Listen for this grammar from the next utterance on."""
        self._grammar = grammar
        if self._rest_after_s is None or self.pid is not None:
            async with self._process.conversation() as conversation:
                await self._prime(conversation)
            self._rest_later()

    async def open(self, *, language: str) -> _Stream:
        """Begin an utterance; waits for the one under way to end."""
        if self._grammar is None:
            raise EngineError("command mode has no grammar yet", hint="it is built when the home's devices are known")
        self._stay_awake()
        closing = contextlib.AsyncExitStack()
        closing.callback(self._rest_later)
        try:
            conversation = await closing.enter_async_context(self._process.conversation())
            await self._prime(conversation)
            await conversation.tell(Event("audio-start"))
        except BaseException:
            await closing.aclose()
            raise
        return _Stream(conversation, closing)

    @property
    def pid(self) -> int | None:
        """Process id of the child that is ready now."""
        return self._process.pid

    async def close(self) -> None:
        """End the process."""
        self._stay_awake()
        if self._resting is not None:
            await asyncio.wait([self._resting])
        await self._process.close()

    def _stay_awake(self) -> None:
        if self._rests_at is not None:
            self._rests_at.cancel()

    def _rest_later(self) -> None:
        """From now on it is unused."""
        self._stay_awake()
        if self._rest_after_s is not None:
            self._rests_at = asyncio.get_running_loop().call_later(self._rest_after_s, self._rest)

    def _rest(self) -> None:
        self._primed = None
        self._resting = asyncio.create_task(self._process.rest(), name=f"{self.name} is unused")

    async def _prime(self, conversation: Conversation) -> None:
        """Give the grammar to a child that does not have it: a new one, or because it changed."""
        grammar = self._grammar
        if grammar is None or (self._primed is grammar and self._primed_pid == self.pid):
            return
        spoken = sorted({arc.word for arc in grammar.arcs if arc.word})
        words = _Words(grammar, await self._dictionary(spoken, grammar.language))
        await conversation.ask(Event("grammar", payload=msgspec.json.encode(words)), timeout_s=60.0)
        self._primed, self._primed_pid = grammar, self.pid

    async def _dictionary(self, words: Sequence[str], language: str) -> str:
        """Lines of the CMU dictionary, our own for words that it lacks, and for wake phrases their words' together."""
        parts = sorted({part for word in words for part in word.split(WAKE_JOINT)})
        phones = await asyncio.to_thread(_cmu_phones, frozenset(parts))
        unknown = [part for part in parts if part not in phones]
        if unknown:
            pronounced = await self._pronounce(unknown, language)
            phones |= {word: [" ".join(sounds)] for word, sounds in pronounced.items() if sounds}
        lines: list[str] = []
        for word in words:
            known = [phones.get(part, []) for part in word.split(WAKE_JOINT)]
            for number, ways in enumerate(itertools.product(*known), start=1):
                lines.append(f"{word}{f'({number})' if number > 1 else ''} {' '.join(ways)}")
        return "\n".join(lines) + "\n"


class _Stream:
    def __init__(self, conversation: Conversation, closing: contextlib.AsyncExitStack) -> None:
        self._conversation = conversation
        self._closing = closing
        self._fed = 0

    async def feed(self, pcm: bytes) -> None:
        if self._fed < MAX_UTTERANCE_BYTES:
            self._fed += len(pcm)
            await self._conversation.tell(Event("audio-chunk", payload=pcm), timeout_s=TIMEOUT_S)

    async def so_far(self) -> Transcript:
        return await self._ask("so-far")

    async def transcript(self) -> Transcript:
        return await self._ask("transcribe")

    async def _ask(self, question: str) -> Transcript:
        answer = await self._conversation.ask(Event(question), timeout_s=TIMEOUT_S)
        return msgspec.convert(answer.data, Transcript)

    async def close(self) -> None:
        with contextlib.suppress(EngineError):
            await self._conversation.tell(Event("audio-stop"))
        await self._closing.aclose()


def _cmu_phones(words: frozenset[str]) -> dict[str, list[str]]:
    """Every pronunciation of each word that the CMU dictionary has, as phones parted by blanks."""
    spec = importlib.util.find_spec("pocketsphinx")
    assert spec is not None and spec.origin is not None
    found: dict[str, list[str]] = dict(_OWN_PHONES)
    with (Path(spec.origin).parent / "model" / "en-us" / "cmudict-en-us.dict").open(encoding="utf-8") as lines:
        for line in lines:
            entry, _, phones = line.rstrip("\n").partition(" ")
            word = entry.split("(")[0]
            if word in words:
                found.setdefault(word, []).append(phones)
    return found


# ---- in the child


class _Recognizer:
    """The two decoders and the utterance they hear."""

    def __init__(self) -> None:
        import numpy as np

        self._decoders: tuple[Any, ...] = ()
        self._continuations: Continuations | None = None
        self._pronunciations: dict[str, list[str]] = {}
        self._conjunction = ""
        self._means = [np.array(FIRST_MEAN), np.array(FIRST_MEAN)]
        self._heard = 0
        self._listening = False
        self._accepted = False
        self._noise = np.random.default_rng(0).standard_normal(RATE) * 32768 * 10 ** (NOISE_FLOOR_DBFS / 20)

    def answer(self, event: Event, send: Send) -> None:
        match event.type:
            case "grammar":
                self._listen_for(msgspec.json.decode(event.payload or b"", type=_Words))
                send(Event("grammar-ready"))
            case "audio-start":
                self._begin()
            case "audio-chunk":
                self._hear(event.payload or b"")
            case "so-far":
                send(Event("transcript", msgspec.to_builtins(self._so_far())))
            case "transcribe":
                transcript = self._transcribe()
                self._accepted = transcript.accepted and transcript.text != ""
                send(Event("transcript", msgspec.to_builtins(transcript)))
            case "audio-stop":
                self._end()

    def _listen_for(self, words: _Words) -> None:
        from pocketsphinx import Decoder, get_model_path

        model = Path(get_model_path()) / "en-us"
        entries = [line.split() for line in words.dictionary.splitlines()]
        known = {word: sounds for word, *sounds in entries}
        babble = {BABBLE + sound: sound for sounds in known.values() for sound in sounds}
        with tempfile.NamedTemporaryFile("w", suffix=".dict", encoding="utf-8") as dictionary:
            dictionary.write(words.dictionary)
            dictionary.writelines(f"{name} {sound}\n" for name, sound in babble.items())
            dictionary.flush()
            common = {"hmm": str(model / "en-us"), "dict": dictionary.name, "lm": None, "loglevel": "FATAL"}
            # Without bestpath=False some clips stall for minutes; beams narrower than these lose whole sentences.
            commands = Decoder(**common, bestpath=False, beam=1e-80, pbeam=1e-80, wbeam=1e-60, maxhmmpf=MAX_ACTIVE)
            phones = Decoder(
                **common, bestpath=False, allphone=str(model / "en-us-phone.lm.bin"), lw=2.0, beam=1e-20, pbeam=1e-20
            )
        commands.add_fsg("commands", _acceptor(commands, words.grammar, frozenset(known), frozenset(babble)))
        commands.activate_search("commands")
        self._decoders = (commands, phones)
        self._continuations = Continuations(words.grammar)
        self._pronunciations, self._conjunction = known, words.grammar.conjunction

    def _begin(self) -> None:
        self._heard = 0
        self._accepted = False
        for decoder, mean in zip(self._decoders, self._means, strict=True):
            decoder.set_cmn(",".join(f"{value:.4f}" for value in mean))
            decoder.start_utt()
        self._listening = True

    def _hear(self, pcm: bytes) -> None:
        import numpy as np

        samples = np.frombuffer(pcm, dtype="<i2") + np.take(
            self._noise, range(self._heard, self._heard + len(pcm) // 2), mode="wrap"
        )
        self._heard += len(pcm) // 2
        floored = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
        for decoder in self._decoders:
            decoder.process_raw(floored, False, False)

    def _so_far(self) -> Transcript:
        """The likeliest words, whether they make a whole sentence or only its beginning."""
        words, _ = _hypothesis(self._decoders[0])
        return self._transcript(words)

    def _transcribe(self) -> Transcript:
        """The likeliest whole sentence, or the words so far where they explain the audio better than any whole one.

        Words so far that are no sentence mean nothing to whoever understands them: nobody acts on half a command.
        """
        so_far = self._so_far()
        begun, begun_likelihood = _hypothesis(self._decoders[0])
        for decoder in self._decoders:
            decoder.end_utt()
        self._listening = False
        words, likelihood = _hypothesis(self._decoders[0])
        if so_far.text and words != begun and begun_likelihood - likelihood > INCOMPLETE_MARGIN:
            return so_far
        return self._transcript(words)

    def _transcript(self, words: Sequence[str]) -> Transcript:
        """With the score of what the decoders hold now. Wake phrases are left out of the text."""
        assert self._continuations is not None
        score = self._score()
        return Transcript(
            text=" ".join(word for word in words if WAKE_JOINT not in word),
            accepted=any(WAKE_JOINT not in word for word in words) and score >= ACCEPT_SCORE,
            score=round(score, 1),
            continuation=self._continuations.after(words),
        )

    def _score(self) -> float:
        commands, phones = self._decoders
        return confidence(_segments(commands), _segments(phones), self._pronunciations, self._conjunction)

    def _end(self) -> None:
        import numpy as np

        if self._listening:
            for decoder in self._decoders:
                decoder.end_utt()
            self._listening = False
        if self._accepted:  # what was no command says nothing about how commands sound here
            for mean, decoder in zip(self._means, self._decoders, strict=True):
                heard = np.array([float(value) for value in decoder.get_cmn(False).split(",")])
                mean += ADAPTATION * (heard - mean)


def _acceptor(decoder: Any, grammar: CommandGrammar, known: frozenset[str], babble: frozenset[str]) -> Any:
    """The grammar for the decoder, without the words that nobody can pronounce, with `babble` before wake phrases."""
    from pocketsphinx import FsgModel

    states = 1 + max(max(arc.source, arc.target) for arc in grammar.arcs)
    acceptor = FsgModel("commands", decoder.get_logmath(), decoder.config["lw"], states + BABBLE_SOUNDS)
    acceptor.set_start_state(grammar.start)
    acceptor.set_final_state(grammar.final)

    def add(source: int, target: int, word: str, weight: float) -> None:
        acceptor.trans_add(source, target, round(weight), acceptor.word_add(word))

    for arc in grammar.arcs:
        weight = math.log(arc.weight) / LOG_BASE
        if not arc.word:
            acceptor.null_trans_add(arc.source, arc.target, round(weight))
        elif arc.word in known:
            add(arc.source, arc.target, arc.word, weight)
    wake_phrases = [arc for arc in grammar.arcs if WAKE_JOINT in arc.word and arc.word in known]
    for count in range(BABBLE_SOUNDS if wake_phrases else 0):
        for sound in sorted(babble):
            add(grammar.start if count == 0 else states + count - 1, states + count, sound, BABBLE_WEIGHT)
        for arc in wake_phrases:
            add(states + count, arc.target, arc.word, math.log(arc.weight) / LOG_BASE)
    return acceptor


def _hypothesis(decoder: Any) -> tuple[list[str], float]:
    """Words heard so far and their log likelihood in base 1.0001."""
    best = decoder.hyp()
    if best is None:
        return [], -math.inf
    words = [word for word in best.hypstr.split() if not word.startswith(BABBLE)]
    return words, math.log(max(best.score, 1e-300)) / LOG_BASE


def _segments(decoder: Any) -> list[Segment]:
    return [
        Segment(found.word, found.start_frame, found.end_frame, math.log(max(found.ascore, 1e-300)) / LOG_BASE)
        for found in decoder.seg() or ()
    ]


def _build() -> Answer:
    from pocketsphinx import Decoder  # noqa: F401  a missing library is told at the start

    return _Recognizer().answer


if __name__ == "__main__":
    serve(_build)
