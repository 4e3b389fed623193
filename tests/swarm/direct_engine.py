"""The same engine behind nothing but an aiohttp handler: what a node's added time is measured against."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing

from aiohttp import web

from swarm.task import event_bytes, parse_request
from tests.swarm.token_engine import TokenEngine


async def main(options: dict[str, float]) -> None:
    engine = TokenEngine(first_s=options.get("first_s", 0.0), word_s=options.get("word_s", 0.0))

    async def answer(request: web.Request) -> web.StreamResponse:
        task = parse_request(await request.read())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        number = 0
        async with aclosing(engine.run(task)) as pieces:
            async for piece in pieces:
                number += 1
                await response.write(event_bytes(number, piece))
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
