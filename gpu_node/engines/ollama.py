"""A language model on an Ollama server of this machine or the LAN.

Spoken to directly (https://github.com/ollama/ollama/blob/main/docs/api.md) and not by Ollama's own client: that costs
a node 20 MB of memory, and each question six milliseconds of the processor.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from urllib.parse import urlsplit

import msgspec

from gpu_node.engines.streamed_http import Answer, NoConnection, StreamedHttp
from swarm.egress import require_lan
from swarm.engine import ChatMessage
from swarm.errors import EngineError, EngineUnavailable, MycoswarmError

LOOK_S = 0.5
"""Longest look for a server and its models: a person waits for the answer."""
REMEMBER_S = 3.0
"""How long the result of a look is believed."""
MAX_ANSWER = 20_000
"""Characters of one answer, twenty minutes of speech; the rest is not read."""
MAX_LINE_BYTES = 1024 * 1024
"""Of the server's JSON."""


class _Said(msgspec.Struct, frozen=True):
    content: str = ""


class _Part(msgspec.Struct, frozen=True):
    """A line of the answer to `/api/chat`."""

    message: _Said = _Said()
    done: bool = False
    error: str = ""


class _Model(msgspec.Struct, frozen=True):
    model: str = ""


class _Models(msgspec.Struct, frozen=True):
    """The answer to `/api/tags`."""

    models: tuple[_Model, ...]


class _Refusal(msgspec.Struct, frozen=True):
    error: str


_encode = msgspec.json.Encoder().encode
_part = msgspec.json.Decoder(_Part)
_models = msgspec.json.Decoder(_Models)


class OllamaGenerator:
    """`swarm.engine.Generator` by the server at `url`, with `model` or, when that is empty, the only one there."""

    name = "ollama"

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        stall_s: float = 10.0,
        load_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stall_s` bounds the wait for a next token, `load_s` that for the first: a cold model is read from disk.

        Raises `EngineUnavailable` when `url` is none.
        """
        self._url = url
        self._host = _host_of(url)
        self._wanted = model
        self._stall_s = stall_s
        self._load_s = load_s
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looked_at: float | None = None
        self._model: str | None = None
        self._why = "nobody has looked for it yet"
        self._http = StreamedHttp(url)

    @property
    def why_unavailable(self) -> str:
        """Why the last `available` was None, for people; empty when it was not."""
        return self._why

    async def available(self) -> str | None:
        """The model that would answer now; None within half a second when there is none (see `why_unavailable`)."""
        async with self._looking:
            if self._looked_at is None or self._clock() - self._looked_at > REMEMBER_S:
                try:
                    self._model, self._why = await self._look(), ""
                except MycoswarmError as error:
                    self._model, self._why = None, error.for_person()
                self._looked_at = self._clock()
            return self._model

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncGenerator[str, None]:
        """Stream the answer. Raises `EngineUnavailable` when no model is there, `EngineError` when it fails."""
        model = await self.available()
        if model is None:
            raise EngineUnavailable(self._why)
        length = 0
        try:
            async with aclosing(self._chat(model, messages, timeout_s)) as parts:
                async for part in parts:
                    if part:
                        length += len(part)
                        yield part
                    if length >= MAX_ANSWER:
                        return
        except EngineError:
            self._looked_at = None  # look again before the next question
            raise

    async def close(self) -> None:
        """Close the connections."""
        self._http.close()

    async def _chat(self, model: str, messages: Sequence[ChatMessage], timeout_s: float) -> AsyncGenerator[str, None]:
        """The answer's pieces; an empty one is a token of a model that thinks before it speaks."""
        patience = _Patience(timeout_s, self._load_s)
        finished, rest = False, b""
        body = _encode({"model": model, "messages": messages, "stream": True})
        with _Failures(self._where, patience):
            response = await self._request("POST", "/api/chat", body, until=patience.until)
            try:
                while chunk := await response.read(patience.until) or (rest and b"\n"):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in filter(None, lines):
                        part = _part.decode(line)
                        if part.error:
                            raise self._refused(part.error)
                        finished = part.done
                        yield part.message.content
                    if lines:
                        patience.again(self._stall_s)
                    elif len(rest) > MAX_LINE_BYTES:
                        raise ValueError("a line without an end")
            finally:
                response.release()  # hangs up when the answer is not over: Ollama stops generating
        if not finished:
            raise EngineError(f"{self._where} stopped in the middle of its answer")

    async def _request(self, method: str, path: str, body: bytes = b"", *, until: float = math.inf) -> Answer:
        """The answer's head; whoever asked releases it."""
        answer = await self._http.ask(method, path, body, until=until)
        if answer.status != 200:
            try:
                said = (await answer.read(until))[:2000].decode(errors="replace")
            finally:
                answer.release()
            raise self._refused(_reason(said), answer.status)
        return answer

    async def _told(self, path: str) -> bytes:
        response = await self._request("GET", path)
        try:
            told = b""
            while chunk := await response.read():
                told += chunk
                if len(told) > MAX_LINE_BYTES:
                    raise ValueError("an answer without an end")
            return told
        finally:
            response.release()

    def _refused(self, said: str, status: int = 0) -> EngineError:
        shown = f" ({status})" if status else ""
        return EngineError(f"{self._where} answered with an error{shown}: {' '.join(said.split())[:200]}")

    async def _look(self) -> str:
        try:
            async with asyncio.timeout(LOOK_S):
                await asyncio.to_thread(require_lan, self._host)
                with _Failures(self._where):
                    told = await self._told("/api/tags")
                    names = [model.model for model in _models.decode(told).models if model.model]
        except TimeoutError:
            raise EngineUnavailable(f"{self._where} did not answer within {LOOK_S:g} s") from None
        if self._wanted:
            for name in (self._wanted, f"{self._wanted}:latest"):
                if name in names:
                    return name
            raise EngineUnavailable(
                f"{self._where} has no model {self._wanted}", hint=f"it has: {', '.join(names[:20]) or 'none'}"
            )
        if not names:
            raise EngineUnavailable(f"{self._where} has no model", hint="ollama pull MODEL")
        if len(names) > 1:
            raise EngineUnavailable(
                f"{self._where} has {len(names)} models and none is chosen",
                hint=f"set language_model.model to one of: {', '.join(names[:20])}",
            )
        return names[0]

    @property
    def _where(self) -> str:
        return f"the Ollama server at {self._url}"


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:
        pass
    raise EngineUnavailable(
        f'"{url}" is not the address of an Ollama server', hint="it looks like http://192.168.1.10:11434"
    )


def _reason(said: str) -> str:
    try:
        return msgspec.json.decode(said, type=_Refusal).error
    except msgspec.DecodeError:
        return said


class _Patience:
    """How long is waited for what comes next, and for all of it; on the event loop's clock."""

    def __init__(self, timeout_s: float, first_s: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._timeout_s = timeout_s
        self._deadline = self._now() + timeout_s
        self.again(first_s)

    def again(self, seconds: float) -> None:
        """Something came; the next may take so long."""
        self._seconds = seconds
        self.until = min(self._now() + seconds, self._deadline)

    def what_happened(self) -> str:
        """When it is at its end."""
        if self.until == self._deadline:
            return f"had not finished its answer after {self._timeout_s:g} s"
        return f"sent nothing for {self._seconds:g} s"


class _Failures:
    """Turns the errors of the connection, and of reading what came, into `EngineError` about `where`."""

    def __init__(self, where: str, patience: _Patience | None = None) -> None:
        self._where = where
        self._patience = patience

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, NoConnection):
            raise EngineUnavailable(f"no Ollama server answers: {self._where} cannot be reached") from error
        if isinstance(error, ConnectionError):
            raise EngineError(f"the connection to {self._where} broke: {error or type(error).__name__}") from error
        if isinstance(error, TimeoutError) and self._patience is not None:
            raise EngineError(f"{self._where} {self._patience.what_happened()}") from None
        if isinstance(error, ValueError):
            raise EngineError(f"{self._where} sent what is not Ollama's JSON: is it another program's port?") from error
