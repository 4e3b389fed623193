"""A small Ollama server: the paths that mycoswarm uses, and the ways in which a server goes wrong.

::

    async with FakeOllama() as server:                       # answers "the answer is forty two."
        OllamaGenerator(server.url)

    async with FakeOllama(words=["First", " sentence.", " Second."], hold_after=2) as server:
        ...                                                  # two words are out, the rest waits
        server.go_on.set()

As a program, for a host of its own: `python -m tests.fake_ollama --port 11434 --pause-s 0.1` says "asked" at each
question.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from aiohttp import web

Mode = Literal["normal", "stall", "die", "cut", "html", "other_json", "error", "redirect"]


class FakeOllama:
    """An async context manager; `url` is where it listens, on a free loopback port."""

    def __init__(
        self,
        mode: Mode = "normal",
        *,
        models: Sequence[str] = ("tiny:latest",),
        words: Sequence[str] = ("the", " answer", " is", " forty", " two."),
        hold_after: int | None = None,
        redirect_to: str = "",
        pause_s: float = 0.0,
        port: int = 0,
    ) -> None:
        """After `hold_after` words something happens: `normal` waits for `go_on`; the others, which take half of the
        words by default, wait for ever (`stall`), cut the line (`die`) or end properly but too soon (`cut`).

        `html` and `other_json` answer every path with what is not Ollama's; `error` refuses a chat with status 500;
        `redirect` sends everybody to `redirect_to`. `pause_s` goes before each word.
        """
        self.mode: Mode = mode
        self.models = list(models)
        self.words = list(words)
        self.hold_after = hold_after
        self.go_on = asyncio.Event()
        """Lets the rest of the words out; never needed without `hold_after`."""
        self.held = asyncio.Event()
        """The words before the hold are out."""
        self.hung_up = asyncio.Event()
        """The other side left before the answer was over."""
        self.looks = 0
        """How often the models were asked for."""
        self.chats: list[dict[str, Any]] = []
        """The body of every question."""
        self.headers: list[dict[str, str]] = []
        """The headers of every request, names in lower case."""
        self.redirect_to = redirect_to
        self.pause_s = pause_s
        self.asked: Callable[[], None] = lambda: None
        """Called at every question."""
        self.url = ""
        self._port = port

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/tags", self._tags)
        app.router.add_post("/api/chat", self._chat)
        # Handlers are cancelled when the other side leaves, and the end does not wait for one that stalls.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._runner.cleanup()

    async def _tags(self, request: web.Request) -> web.StreamResponse:
        self.looks += 1
        self._note(request)
        if odd := self._odd_answer(request):
            return odd
        return web.json_response({"models": [{"model": name, "name": name} for name in self.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        self.chats.append(await request.json())
        self.asked()
        if odd := self._odd_answer(request):
            return odd
        if self.mode == "error":
            return web.json_response({"error": "model runner has crashed"}, status=500)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        hold = self.hold_after
        if hold is None and self.mode != "normal":
            hold = len(self.words) // 2
        try:
            for index, word in enumerate(self.words):
                if index == hold and self.mode == "cut":
                    return response
                if index == hold and self.mode == "die":
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                if index == hold:
                    await self._hold()
                await asyncio.sleep(self.pause_s)
                await response.write(_line(word, done=False))
            await response.write(_line("", done=True))
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up.set()
            raise
        return response

    async def _hold(self) -> None:
        self.held.set()
        if self.mode == "stall":
            await asyncio.Event().wait()
        await self.go_on.wait()

    def _odd_answer(self, request: web.Request) -> web.StreamResponse | None:
        if self.mode == "html":
            return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")
        if self.mode == "other_json":
            return web.json_response(["not", "ollama"])
        if self.mode == "redirect":
            raise web.HTTPTemporaryRedirect(self.redirect_to + request.path)
        return None

    def _note(self, request: web.Request) -> None:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})


def _line(word: str, *, done: bool) -> bytes:
    part = {"model": "tiny:latest", "message": {"role": "assistant", "content": word}, "done": done}
    return json.dumps(part).encode() + b"\n"


async def _serve(port: int, pause_s: float) -> None:
    async with FakeOllama(port=port, pause_s=pause_s) as server:
        server.asked = lambda: print("asked", flush=True)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    _options = argparse.ArgumentParser()
    _options.add_argument("--port", type=int, required=True)
    _options.add_argument("--pause-s", type=float, default=0.0)
    _given = _options.parse_args()
    asyncio.run(_serve(_given.port, _given.pause_s))
