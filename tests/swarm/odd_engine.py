"""An engine that does what it is told, good or bad; run as a child by the tests of `swarm.engine_process`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from wyoming.event import Event

from swarm.engine_process import Answer, Send, serve
from swarm.errors import EngineError


def build() -> Answer:
    if "--missing-library" in sys.argv:
        import no_such_library  # type: ignore[import-not-found]  # noqa: F401
    if "--exit" in sys.argv:
        sys.exit(3)
    if "--exit-unless" in sys.argv and not Path(sys.argv[-1]).exists():
        sys.exit(3)
    if "--never-ready" in sys.argv:
        time.sleep(1000)
    return answer


def answer(event: Event, send: Send) -> None:
    match event.type:
        case "echo":
            send(event)
        case "count":
            for number in range(event.data["to"]):
                send(Event("number", {"number": number}, bytes(event.data.get("bytes", 0))))
            send(Event("done"))
        case "chatter":
            print("a library prints")
            os.write(1, b"so does native code\n")
            send(event)
        case "fail":
            raise EngineError("cannot do that", hint="do something else")
        case "bug":
            raise KeyError("oops")
        case "big":
            send(Event("big", payload=bytes(17 * 1024 * 1024)))
        case "hang":
            time.sleep(1000)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)


if __name__ == "__main__":
    serve(build)
