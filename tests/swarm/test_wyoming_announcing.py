from __future__ import annotations

import asyncio
from contextlib import suppress

from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from swarm.wyoming.announcing import TYPE, announce
from tests.wyoming_peers import PATIENCE_S


def test_services_are_announced_while_they_are_there() -> None:
    async def test() -> None:
        seen: asyncio.Queue[tuple[str, ServiceStateChange]] = asyncio.Queue()

        def heard(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if "attic-3f2a" in name:
                seen.put_nowait((name, state_change))

        async with AsyncZeroconf(interfaces=["127.0.0.1"]) as own, AsyncZeroconf(interfaces=["127.0.0.1"]) as other:
            browser = AsyncServiceBrowser(other.zeroconf, TYPE, handlers=[heard])

            async def find() -> AsyncZeroconf:
                return own

            announcing = asyncio.create_task(
                announce({"asr": 10300}, node="attic", unique="3f2a", address="127.0.0.1", find=find)
            )
            async with asyncio.timeout(PATIENCE_S):
                name, change = await seen.get()
                assert (name, change) == (f"attic-3f2a asr.{TYPE}", ServiceStateChange.Added)
                info = AsyncServiceInfo(TYPE, name)
                assert await info.async_request(other.zeroconf, 5_000)
                assert (info.port, info.parsed_addresses()) == (10300, ["127.0.0.1"])
                announcing.cancel()
                with suppress(asyncio.CancelledError):
                    await announcing
                while change is not ServiceStateChange.Removed:
                    _, change = await seen.get()
            await browser.async_cancel()

    asyncio.run(test())
