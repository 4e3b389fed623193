"""Native or GPL code in a process of its own: a crash, a leak or a stall stays there, and cancelling is a kill.

Parent and child exchange Wyoming events (github.com/OHF-Voice/wyoming) over the child's standard input and output.
The child calls `serve`; the parent holds an `EngineProcess`, which starts the child, starts it again when it dies, and
gives it to one user at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from wyoming.event import Event, async_write_event, write_event
from wyoming.event import read_event as read_event_from_file

from swarm.child import end_child, start_child
from swarm.errors import EngineError, EngineUnavailable, MalformedMessage, MycoswarmError
from swarm.wyoming.events import read_event

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Largest part of one event that is read from a child."""
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Wait before the next start after that many crashes in a row with no answer between them; the last one repeats."""

_READY = "ready"
_ERROR = "error"
_UNAVAILABLE = "unavailable"

Send = Callable[[Event], None]
Answer = Callable[[Event, Send], None]
"""What a child does with one event; what it sends reaches the parent at once."""


# ---- in the parent


def module_argv(module: str, *arguments: str) -> list[str]:
    """The command that runs `module` with this Python."""
    return [sys.executable, "-m", module, *arguments]


class EngineProcess:
    """A child that serves an engine. Used from one event loop; started by `start` or by its first user."""

    def __init__(
        self,
        argv: Sequence[str],
        name: str,
        *,
        start_timeout_s: float = 30.0,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self.name = name
        self._backoff_s = backoff_s
        self._argv = argv
        self._start_timeout_s = start_timeout_s
        self._turn = asyncio.Lock()
        self._child: asyncio.Future[_Child] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Return when the child is ready to work.

        Raises `EngineUnavailable` when the child says that it cannot be built here, else `EngineError`.
        """
        await self._ready_child()

    @contextlib.asynccontextmanager
    async def conversation(self, *, wait_s: float = 30.0) -> AsyncIterator[Conversation]:
        """Have the child to oneself; waits at most `wait_s` for one's turn, and for a child that is starting.

        Left while an answer is still due (cancelled, failed or given up), the child is killed and the next one starts
        at once. Raises `EngineError`; while a child that crashed again and again is left alone, immediately.
        """
        try:
            async with asyncio.timeout(wait_s):
                await self._turn.acquire()
        except TimeoutError:
            raise EngineError(f"{self.name} is busy: no turn within {wait_s:g} s") from None
        try:
            child = await self._ready_child()
            conversation = Conversation(self.name, child)
            try:
                yield conversation
            finally:
                if conversation.answer_due:
                    child.killed_by_us = not child.lost
                    self._discard(child)
        finally:
            self._turn.release()

    async def request(self, event: Event, *, timeout_s: float) -> Event:
        """A conversation of one question with one answer."""
        async with self.conversation() as conversation:
            return await conversation.ask(event, timeout_s=timeout_s)

    @property
    def pid(self) -> int | None:
        """Process id of the child that is ready now."""
        if self._supervisor is None or self._supervisor.done():
            return None
        if self._child is None or not self._child.done() or self._child.exception() is not None:
            return None
        return self._child.result().process.pid

    async def rest(self) -> None:
        """End the child, after the conversation under way, until somebody needs one again."""
        async with self._turn:
            await self._end()

    async def close(self) -> None:
        """Kill the child and start no other. Safe to call twice."""
        self._closed = True
        await self._end()

    async def _end(self) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])

    async def _ready_child(self) -> _Child:
        if self._closed:
            raise EngineError(f"{self.name} was closed")
        if self._supervisor is None or self._supervisor.done():
            self._child = _future()
            self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise {self.name}")
        assert self._child is not None
        # Shielded: a user who gives up waiting must not take the child from the next one.
        return await asyncio.shield(self._child)

    async def _supervise(self) -> None:
        """Keep one child ready; ends when the engine cannot be built here."""
        crashes = 0
        try:
            while True:
                assert self._child is not None
                try:
                    child = await _launch(self._argv, self.name, self._start_timeout_s)
                except EngineUnavailable as error:
                    self._child.set_exception(error)
                    return
                except EngineError as error:
                    crashes += 1
                    failure = error
                else:
                    self._child.set_result(child)
                    try:
                        await child.process.wait()
                    finally:
                        await end_child(child.process)
                    self._discard(child)
                    if child.killed_by_us:
                        crashes = 0
                        continue
                    crashes = 1 if child.answered else crashes + 1
                    failure = EngineError(await child.why_dead(self.name))
                delay = self._backoff_s[min(crashes, len(self._backoff_s)) - 1]
                if delay:
                    self._child.set_exception(
                        EngineError(f"{failure}; this was crash {crashes} in a row, the next start is in {delay:g} s")
                    )
                    await asyncio.sleep(delay)
                    self._child = _future()
        finally:
            if self._child is not None and not self._child.done():
                self._child.set_exception(EngineError(f"{self.name} was closed"))

    def _discard(self, child: _Child) -> None:
        child.kill()
        current = self._child
        if current is not None and current.done() and not current.exception() and current.result() is child:
            self._child = _future()


class Conversation:
    """One user's exchange of events with the child."""

    def __init__(self, name: str, child: _Child) -> None:
        self._name = name
        self._child = child
        self.answer_due = False
        """True from a question until its last answer."""

    async def tell(self, event: Event, *, timeout_s: float = 10.0) -> None:
        """Send an event that has no answer."""
        await self._send(event, timeout_s)
        self.answer_due = False

    async def ask(self, event: Event, *, timeout_s: float) -> Event:
        """Send an event and return its one answer. Raises `EngineError` when there is none within `timeout_s`."""
        await self._send(event, timeout_s)
        answer = await self._receive(timeout_s)
        self._answered()
        return answer

    async def stream(self, event: Event, *, last: str, timeout_s: float) -> AsyncGenerator[Event, None]:
        """Send an event and yield its answers up to and including the one of type `last`.

        `timeout_s` bounds the wait for each of them. Raises `EngineError`.
        """
        await self._send(event, timeout_s)
        while True:
            answer = await self._receive(timeout_s)
            if answer.type == last:
                self._answered()
            yield answer
            if answer.type == last:
                return

    async def _send(self, event: Event, timeout_s: float) -> None:
        self.answer_due = True
        try:
            async with asyncio.timeout(timeout_s):
                await async_write_event(event, self._child.stdin)
        except TimeoutError:
            raise EngineError(f"{self._name} took no input for {timeout_s:g} s and was stopped") from None
        except OSError:
            raise await self._dead() from None

    async def _receive(self, timeout_s: float) -> Event:
        try:
            async with asyncio.timeout(timeout_s):
                event = await _read_event(self._child.stdout)
        except TimeoutError:
            raise EngineError(f"{self._name} did not answer within {timeout_s:g} s and was stopped") from None
        except (EOFError, OSError):
            raise await self._dead() from None
        except MalformedMessage as error:
            raise EngineError(f"{self._name} wrote what is no event and was stopped: {error}") from None
        if event.type == _ERROR:
            self._answered()
            raise _error_of(event, self._name)
        return event

    def _answered(self) -> None:
        self.answer_due = False
        self._child.answered = True

    async def _dead(self) -> EngineError:
        self._child.lost = True
        return EngineError(await self._child.why_dead(self._name))


class _Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout
        self.process = process
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.answered = False
        self.lost = False
        """Died by itself while somebody waited for its answer."""
        self.killed_by_us = False

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        # Or what it wrote and nobody read would keep `process.wait` waiting. Not the whole transport: its close() asks
        # for the exit status itself, and asyncio then misses it.
        self.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]

    async def why_dead(self, name: str) -> str:
        """How a child died that is dying or dead; what it wrote to standard error is in the log."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):  # a child closes its pipes a moment before it ends, or hangs there
                await self.process.wait()
        self.kill()
        code = await self.process.wait()
        return f"{name} died of {_signal_name(-code)}" if code < 0 else f"{name} ended with exit status {code}"


async def _launch(argv: Sequence[str], name: str, timeout_s: float) -> _Child:
    """A child that said it is ready."""
    pipe = asyncio.subprocess.PIPE
    try:
        child = _Child(await start_child(argv, stdin=pipe, stdout=pipe))
    except OSError as error:
        raise EngineUnavailable(f"cannot start {name}: {error}") from error
    try:
        async with asyncio.timeout(timeout_s):
            event = await _read_event(child.stdout)
        if event.type == _ERROR:
            raise _error_of(event, name)
        if event.type != _READY:
            raise MalformedMessage(f"{event.type} where {_READY} was expected")
    except BaseException as error:
        try:
            if isinstance(error, TimeoutError):
                error = EngineError(f"{name} was not ready within {timeout_s:g} s of its start")
            elif isinstance(error, (EOFError, OSError)):
                error = EngineError(await child.why_dead(name))
            elif isinstance(error, MalformedMessage):
                error = EngineError(f"{name} wrote what is no event when it started: {error}")
        finally:
            await end_child(child.process)
        raise error from None
    return child


def _future() -> asyncio.Future[_Child]:
    future: asyncio.Future[_Child] = asyncio.get_running_loop().create_future()
    # A failed start that nobody waited for is no news: the next user hears of it.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


async def _read_event(stdout: asyncio.StreamReader) -> Event:
    """The next event. Raises EOFError at the end, `MalformedMessage` for what is no event."""
    event = await read_event(stdout, max_part_bytes=MAX_EVENT_BYTES)
    if event is None:
        raise EOFError
    return event


def _error_of(event: Event, name: str) -> EngineError:
    kind = EngineUnavailable if event.data.get("code") == _UNAVAILABLE else EngineError
    return kind(f"{name}: {event.data.get('text', 'failed')}", hint=str(event.data.get("hint", "")))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# ---- in the child


def serve(build: Callable[[], Answer]) -> None:
    """Build an engine, answer the events on standard input with it, return when they end.

    An error in `build` reaches the parent as `EngineUnavailable`, a missing library included; an error in an answer as
    `EngineError`, after which the child serves on. Whatever else prints, prints to standard error.
    """
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as sink:
        os.dup2(2, 1)

        def send(event: Event) -> None:
            write_event(event, sink)

        try:
            answer = build()
        except Exception as error:  # noqa: BLE001  whatever it is, the parent waits to hear why
            _report(error, send, _UNAVAILABLE)
            return
        send(Event(_READY))
        while (event := read_event_from_file(sys.stdin.buffer)) is not None:
            try:
                answer(event, send)
            except BrokenPipeError:
                return
            except Exception as error:  # noqa: BLE001  the parent waits for an answer, and the next may succeed
                _report(error, send, "failed")


def _report(error: Exception, send: Send, code: str) -> None:
    data = {"text": str(error), "code": code}
    if isinstance(error, MycoswarmError):
        data["hint"] = error.hint
    else:
        traceback.print_exception(error)
        data["text"] = f"{type(error).__name__}: {error}"
    send(Event(_ERROR, data))
