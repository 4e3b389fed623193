"""Leaving HTTP on a connection of the nodes' port: both sides agree on another protocol, then it is theirs (RFC 9110,
7.8).

aiohttp knows one protocol to switch to, the WebSocket. What needs no frames is spoken without them::

    GET /v1/link HTTP/1.1              HTTP/1.1 101 Switching Protocols
    Upgrade: mycoswarm-link            Upgrade: mycoswarm-link
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from swarm.errors import MycoswarmError


class NotSwitched(MycoswarmError):
    """The server goes on with HTTP: it does not know the protocol, or not this client."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered with status {status} instead of switching")
        self.status = status


async def ask_to_switch(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    protocol: str,
    *,
    host: str,
    headers: Mapping[str, str] | None = None,
) -> asyncio.Transport:
    """The transport of a connection that nothing was asked on yet, once the server agreed; whoever speaks first is the
    client. Raises `NotSwitched`, `OSError`."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", f"Upgrade: {protocol}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionResetError("the connection was closed instead of switched") from error
    status = head[9:12]  # HTTP/1.1 101 …
    if status != b"101":
        raise NotSwitched(int(status) if status.isdigit() else 0)
    return transport


async def switch(request: web.Request, protocol: str) -> asyncio.Transport:
    """The transport of a connection whose client asked for `protocol`, agreed; the handler returns when it is closed.
    Raises `web.HTTPUpgradeRequired` when the client asked for something else, `ConnectionResetError`."""
    headers = {"Connection": "Upgrade", "Upgrade": protocol}
    if request.headers.get("Upgrade") != protocol:
        raise web.HTTPUpgradeRequired(headers=headers)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the connection is closed")
    await web.StreamResponse(status=101, headers=headers).prepare(request)
    return transport
