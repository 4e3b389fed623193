"""A real browser, without a screen: pages as people get them, clicked and typed by the DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium")
START_S = 60.0
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)")


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """A method of the protocol (chromedevtools.github.io/devtools-protocol)."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": arguments})
        while True:
            answer = await self._socket.receive_json(timeout=START_S)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result = answer["result"]
                assert isinstance(result, dict)
                return result

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def text(self) -> str:
        found = await self.call("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
        return str(found["result"]["value"])

    async def address(self) -> str:
        found = await self.call("Runtime.evaluate", expression="location.href")
        return str(found["result"]["value"])

    async def shows(self, wanted: str) -> str:
        """Wait until the page has this text."""
        ends = asyncio.get_running_loop().time() + START_S
        while wanted not in (text := await self.text()):
            assert asyncio.get_running_loop().time() < ends, f"{wanted!r} is not in {text!r}"
            await asyncio.sleep(0.05)
        return text

    async def click(self, selector: str) -> None:
        """With the mouse, in the middle of what the CSS selector finds."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        assert node, f"nothing is {selector}"
        await self.call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        corners = (await self.call("DOM.getBoxModel", nodeId=node))["model"]["content"]
        place = {"x": (corners[0] + corners[4]) / 2, "y": (corners[1] + corners[5]) / 2}
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)


@asynccontextmanager
async def browser(*, scripts: bool = True, resolve: str = "") -> AsyncIterator[Page]:
    """`resolve`: rules such as `MAP * 127.0.0.1:8080`, as a captive portal's DNS answers."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-features=HttpsUpgrades"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", f"--host-resolver-rules={resolve}"),
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as http:
                async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    [tab, *_] = [each for each in await answer.json() if each["type"] == "page"]
                async with http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    if not scripts:
                        await page.call("Emulation.setScriptExecutionDisabled", value=True)
                    yield page
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _port(file: Path) -> int:
    ends = asyncio.get_running_loop().time() + START_S
    while (port := _written(file)) is None:
        assert asyncio.get_running_loop().time() < ends, "Chromium did not start"
        await asyncio.sleep(0.05)
    return port


def _written(file: Path) -> int | None:
    found = re.match(r"(\d+)\n", file.read_text()) if file.exists() else None
    return int(found[1]) if found else None
