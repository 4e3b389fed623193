import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gpu_node.engines.streamed_http import HIGH_WATER_BYTES, NoConnection, StreamedHttp

SOON = 10.0


class Scripted:
    """A server that answers each request with the next of these pieces, sent one by one; None hangs up."""

    def __init__(self, *answers: list[bytes | None]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            self.requests.append(head + body)
            pieces = self.answers.pop(0)
            for piece in pieces:
                if piece is None:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)
        writer.close()


@asynccontextmanager
async def asking(script: Scripted) -> AsyncIterator[StreamedHttp]:
    server = await asyncio.start_server(script.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = StreamedHttp(f"http://127.0.0.1:{port}/prefix/")
    try:
        async with asyncio.timeout(SOON):
            yield http
    finally:
        http.close()
        server.close()
        await server.wait_closed()


async def told(http: StreamedHttp) -> tuple[int, bytes]:
    answer = await http.ask("POST", "/path", b"question")
    try:
        body = b""
        while more := await answer.read():
            body += more
        return answer.status, body
    finally:
        answer.release()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ([CHUNKED + b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"], 200, b"abcde"),
        ([CHUNKED[:20], CHUNKED[20:] + b"3", b"\r\na", b"bc\r", b"\n0\r\n", b"\r\n"], 200, b"abc"),
        ([CHUNKED + b"3;x=y\r\nabc\r\n0\r\n\r\n"], 200, b"abc"),
        ([b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nab", b"cde"], 404, b"abcde"),
        ([b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"], 204, b""),
        ([b"HTTP/1.0 200 OK\r\n\r\nuntil", b" the end", None], 200, b"until the end"),
    ],
)
def test_reads_every_form_of_body(pieces: list[bytes | None], status: int, body: bytes) -> None:
    async def check() -> None:
        script = Scripted(pieces)
        async with asking(script) as http:
            assert await told(http) == (status, body)
        assert script.requests[0].startswith(b"POST /prefix/path HTTP/1.1\r\nHost: 127.0.0.1:")
        assert script.requests[0].endswith(b"\r\n\r\nquestion")

    asyncio.run(check())


def test_connection_is_used_again_and_a_closed_one_is_not() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def check() -> None:
        script = Scripted([whole], [whole], [whole, None], [whole], [None], [whole])
        async with asking(script) as http:
            for connections in (1, 1, 1, 2):
                assert await told(http) == (200, b"ok")
                assert script.connections == connections
                await asyncio.sleep(0.02)
            # It was kept, and is closed at the very moment of the next question, of which nothing was done.
            assert await told(http) == (200, b"ok")
            assert script.connections == 3

    asyncio.run(check())


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([None], ConnectionError),
        ([CHUNKED + b"3\r\nab", None], ConnectionError),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", None], ConnectionError),
        ([b"220 mail.example ESMTP\r\n\r\n"], ValueError),
        ([CHUNKED + b"zz\r\nabc\r\n"], ValueError),
        ([CHUNKED + b"%x\r\n" % (HIGH_WATER_BYTES + 1)], ValueError),
        ([b"a" * 40_000], ValueError),
    ],
)
def test_what_is_cut_short_or_no_http_is_an_error(pieces: list[bytes | None], error: type[Exception]) -> None:
    async def check() -> None:
        async with asking(Scripted(pieces)) as http:
            with pytest.raises(error):
                await told(http)

    asyncio.run(check())


def test_nobody_there_is_said() -> None:
    async def check() -> None:
        server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(NoConnection):
            await StreamedHttp(f"http://127.0.0.1:{port}").ask("GET", "/")

    asyncio.run(check())
