"""What runs on the hosts of a LAN (`tests.hosts`): `serve ADDRESS` is a Wyoming service for that address and announces
itself; `look` prints what announces itself, and whether each answers a ping."""

from __future__ import annotations

import asyncio
import logging
import sys

from wyoming.client import AsyncTcpClient
from wyoming.info import Info
from wyoming.ping import Ping

from swarm.wyoming.announcing import Listed, announce, listed, own_zeroconf
from swarm.wyoming.listener import AllowList, Talk, WyomingListener


async def serve(allowed: str) -> None:
    listener = WyomingListener("asr", allow=AllowList([allowed]), info=Info(), talk=lambda client: Talk())
    await listener.start("", 10300)
    async with own_zeroconf() as find:
        print("serving")
        await announce({"asr": 10300}, node="attic", unique="3f2a", address="", find=find)


async def look() -> None:
    found: tuple[Listed, ...] = ()
    while not found:
        found = await listed()
    for each in found:
        print(each.name, each.url, await answer(each.url))


async def answer(url: str) -> str:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    try:
        async with AsyncTcpClient(host.strip("[]"), int(port), read_timeout=10.0) as client:
            await client.write_event(Ping("there?").event())
            event = await client.read_event()
            return "parted" if event is None else event.type
    except ConnectionError:
        return "parted"


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    asyncio.run(serve(sys.argv[2]) if sys.argv[1] == "serve" else look())
