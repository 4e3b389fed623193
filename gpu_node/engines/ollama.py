"""A language model on an Ollama server of this machine or the LAN."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from swarm.egress import require_lan
from swarm.engine import ChatMessage
from swarm.errors import EngineError, EngineUnavailable, MycoswarmError

if TYPE_CHECKING:
    import httpx
    from ollama import ChatResponse

LOOK_S = 0.5
"""Longest look for a server and its models: a person waits for the answer."""
REMEMBER_S = 3.0
"""How long the result of a look is believed."""
MAX_ANSWER = 20_000
"""Characters of one answer, twenty minutes of speech; the rest is not read."""


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
        import ollama

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
        # No proxy and no redirect may carry a question out of the LAN.
        self._client = ollama.AsyncClient(
            host=url, trust_env=False, follow_redirects=False, event_hooks={"request": [_without_secrets]}
        )

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
        deadline = self._clock() + timeout_s
        try:
            async with aclosing(self._chat(model, messages)) as parts:
                length, patience_s = 0, self._load_s
                while length < MAX_ANSWER:
                    part = await self._next(parts, deadline, patience_s, timeout_s)
                    if part is None:
                        return
                    patience_s = self._stall_s
                    if part:
                        length += len(part)
                        yield part
        except EngineError:
            self._looked_at = None  # look again before the next question
            raise

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _next(
        self, parts: AsyncIterator[str], deadline: float, patience_s: float, timeout_s: float
    ) -> str | None:
        left = deadline - self._clock()
        try:
            async with asyncio.timeout(min(left, patience_s)):
                return await anext(parts, None)
        except TimeoutError:
            if left <= patience_s:
                raise EngineError(f"{self._where} had not finished its answer after {timeout_s:g} s") from None
            raise EngineError(f"{self._where} sent nothing for {patience_s:g} s") from None

    async def _chat(self, model: str, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
        """The answer's pieces; an empty one is a token of a model that thinks before it speaks."""
        finished = False
        history = [{"role": message.role, "content": message.content} for message in messages]
        with _Failures(self._where):
            stream = await self._client.chat(model, history, stream=True)
            # A generator in truth: closed here, it closes the connection and Ollama stops generating.
            async with aclosing(cast("AsyncGenerator[ChatResponse, None]", stream)) as responses:
                async for response in responses:
                    finished = bool(response.done)
                    yield response.message.content or ""
        if not finished:
            raise EngineError(f"{self._where} stopped in the middle of its answer")

    async def _look(self) -> str:
        try:
            async with asyncio.timeout(LOOK_S):
                await asyncio.to_thread(require_lan, self._host)
                with _Failures(self._where):
                    names = [model.model for model in (await self._client.list()).models if model.model]
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


class _Failures:
    """Turns the errors of the client library into `EngineError` about `where`."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        import httpx
        import ollama

        if isinstance(error, ollama.ResponseError):
            status = f" ({error.status_code})" if error.status_code > 0 else ""
            said = " ".join(error.error.split())[:200]
            raise EngineError(f"{self._where} answered with an error{status}: {said}") from error
        if isinstance(error, (ConnectionError, httpx.ConnectError)):
            raise EngineUnavailable(f"no Ollama server answers: {self._where} cannot be reached") from error
        if isinstance(error, httpx.HTTPError):
            raise EngineError(f"the connection to {self._where} broke: {error or type(error).__name__}") from error
        # The library takes what it reads for JSON objects: other JSON fails as AttributeError or TypeError.
        if isinstance(error, (ValueError, AttributeError, TypeError)):
            raise EngineError(f"{self._where} sent what is not Ollama's JSON: is it another program's port?") from error


async def _without_secrets(request: httpx.Request) -> None:
    """The library would send the key of an Ollama account to any server."""
    request.headers.pop("authorization", None)
