"""The nodes' port and its clients, over real TLS on loopback: who gets in, who does not, and who is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from swarm.certificates import BACKDATED_S, NODE_LIFE_S, RENEWABLE_AFTER_END_S, new_authority
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.https_listener import Limits
from swarm.identity import Identity
from swarm.node_api import NodesPort, Refused, asking_node, build_nodes_app, json_answer
from swarm.peer_session import Layer, PeerRefused, PeerUnreachable, identify
from swarm.renewal import Renewal
from swarm.switching import switch
from tests.buses import free_port, until
from tests.swarm.enrolled import Member, founder, member, rogue_context


class Echo(asyncio.Protocol):
    """Says what it hears."""

    former: asyncio.BaseProtocol
    connection: asyncio.Transport

    def __init__(self) -> None:
        self.heard = b""
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.connection.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.former.connection_lost(exc)


class Heard(Echo):
    """Notes what it hears."""

    def data_received(self, data: bytes) -> None:
        self.heard += data


class Tasks:
    """Routes that remember who reached them."""

    def __init__(self) -> None:
        self.askers: list[str] = []
        self.streaming = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/v1/task", self.task),
            web.post("/v1/task", self.echo),
            web.get("/v1/stream", self.stream),
            web.get("/v1/ws", self.websocket),
            web.get("/v1/bare", self.bare),
            web.get("/v1/fail/{how}", self.fail),
        ]

    async def task(self, request: web.Request) -> web.Response:
        self.askers.append(asking_node(request).node_id)
        return json_answer({"task": "secret"})

    async def echo(self, request: web.Request) -> web.Response:
        self.askers.append(asking_node(request).node_id)
        return web.Response(body=await request.read())

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.streaming += 1
        try:
            while True:
                await response.write(b"token\n")
                if request.query.get("then") == "wait":
                    await asyncio.Event().wait()
                await asyncio.sleep(0.005)
        finally:
            self.streaming -= 1

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.streaming += 1
        try:
            async for message in ws:
                await ws.send_str(message.data)
        finally:
            self.streaming -= 1
        return ws

    async def bare(self, request: web.Request) -> web.StreamResponse:
        echo = Echo()
        echo.former = (connection := await switch(request, "echo")).get_protocol()
        echo.connection = connection
        connection.set_protocol(echo)
        await echo.lost.wait()
        raise ConnectionResetError

    async def fail(self, request: web.Request) -> web.Response:
        match request.match_info["how"]:
            case "busy":
                raise Refused(503, "no slot is free", hint="later", retry_after_s=2.4)
            case "malformed":
                raise MalformedMessage("not a task")
            case "storage":
                raise MycoswarmError("the disk is full", hint="make room")
            case "large":
                return web.Response(body=b"x" * 17 * 1024 * 1024)
            case "text":
                return web.Response(text="not JSON")
            case _:
                raise KeyError("secret detail")


class Reply(msgspec.Struct):
    task: str


async def two_nodes(tmp_path: Path) -> tuple[Member, Member]:
    first = founder(tmp_path / "first")
    return first, await member(first, tmp_path / "second")


async def raw(port: int, sent: bytes, *, context: ssl.SSLContext | None = None, seconds: float = 10.0) -> bytes:
    """All bytes that come back until the other side ends the connection, which it must."""
    got = b""
    deadline = asyncio.timeout(seconds)
    with contextlib.suppress(OSError):
        async with deadline:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="any" if context else None
            )
            try:
                writer.write(sent)
                await writer.drain()
                while chunk := await reader.read(65536):
                    got += chunk
            finally:
                writer.transport.abort()
    assert not deadline.expired(), "the connection stays open"
    return got


GET = b"GET /v1/task HTTP/1.1\r\nHost: any\r\n\r\n"


# ---- members


def test_member_asks_a_member_and_the_handler_knows_who_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        async with first.serving(tasks.routes()) as port, second.asking() as peers:
            second.knows(first, port)
            session = peers[first.node_id]
            await session.warm()
            for _ in range(3):
                assert await session.call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
            assert tasks.askers == [second.node_id] * 3
            assert port.connections == 1, "the warm connection serves all"
            body = b"x" * 50_000
            async with session.request(
                "POST", "/v1/task", data=gzip.compress(body), headers={"Content-Encoding": "gzip"}
            ) as response:
                assert await response.read() == body
            async with session.websocket("/v1/ws") as ws:
                await ws.send_str("hello")
                assert await ws.receive_str() == "hello"

    asyncio.run(scenario())


def test_connection_is_tls_1_3_with_both_certificates_and_no_older_one_is_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        async with first.serving(Tasks().routes()) as port:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port.port, ssl=second.contexts.client(), server_hostname=first.node_id
            )
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            writer.transport.abort()
            older = rogue_context(certificate=second.identity)
            older.maximum_version = ssl.TLSVersion.TLSv1_2
            assert await raw(port.port, GET, context=older) == b""

    asyncio.run(scenario())


def test_error_is_told_as_json_and_the_asker_gets_it_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        async with first.serving(Tasks().routes()) as port, second.asking() as peers:
            second.knows(first, port)
            session = peers[first.node_id]

            async def refusal(how: str) -> PeerRefused:
                with pytest.raises(PeerRefused) as caught:
                    await session.call("GET", f"/v1/fail/{how}", reply=Reply, timeout_s=5)
                return caught.value

            busy = await refusal("busy")
            assert (busy.status, str(busy), busy.hint, busy.retry_after_s) == (503, "no slot is free", "later", 2.0)
            assert (await refusal("malformed")).status == 400
            assert (await refusal("storage")).status == 503
            broken = await refusal("else")
            assert broken.status == 500 and "secret detail" not in str(broken)
            assert (await refusal("large")).status == 502
            with pytest.raises(PeerRefused, match="Not Found"):
                await session.call("GET", "/v1/nothing", reply=Reply, timeout_s=5)
            with pytest.raises(PeerUnreachable, match="no message of ours"):
                await session.call("GET", "/v1/fail/text", reply=Reply, timeout_s=5)
            with pytest.raises(PeerRefused, match="no WebSocket"):
                async with session.websocket("/v1/task"):
                    pass
            with pytest.raises(PeerRefused, match="does not speak echo") as refused:
                async with session.switched("/v1/task", "echo"):
                    pass
            assert refused.value.status == 200
            with pytest.raises(PeerRefused) as refused:
                async with session.switched("/v1/bare", "tennis"):
                    pass
            assert refused.value.status == 426


def test_connection_that_left_http_is_cut_with_the_session_or_by_a_revocation(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        async with first.serving(Tasks().routes()) as port, second.asking() as peers, asyncio.timeout(10):
            second.knows(first, port)
            async with peers[first.node_id].switched("/v1/bare", "echo") as connection:
                said = Heard()
                said.former, said.connection = connection.get_protocol(), connection
                connection.set_protocol(said)
                connection.write(b"hello")
                await until(lambda: said.heard == b"hello")
                assert port.connections == 1
            await said.lost.wait()
            await until(lambda: port.connections == 0)
            with pytest.raises(PeerUnreachable, match="cut here"):
                async with peers[first.node_id].switched("/v1/bare", "echo"):
                    peers._drop(first.node_id)
                    await asyncio.Event().wait()
            async with peers[first.node_id].switched("/v1/bare", "echo") as connection:
                said = Heard()
                said.former, said.connection = connection.get_protocol(), connection
                connection.set_protocol(said)
                await first.trust.revoke(second.node_id)
                await said.lost.wait()

    asyncio.run(scenario())


# ---- strangers


def test_strangers_get_no_byte_of_a_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        other_swarm = founder(tmp_path / "other")
        now = time.time()
        revoked = await member(first, tmp_path / "revoked")
        await first.trust.revoke(revoked.node_id)
        strangers: dict[str, Identity | None] = {
            "no certificate": None,
            "another swarm": other_swarm.identity,
            "revoked": revoked.identity,
            "expired, not in the roster": (
                await member(first, tmp_path / "expired", issued=now - NODE_LIFE_S - 1, listed=False)
            ).identity,
            "expired long ago": (
                await member(first, tmp_path / "old", issued=now - NODE_LIFE_S - RENEWABLE_AFTER_END_S - 1)
            ).identity,
            "not valid for another hour": (
                await member(first, tmp_path / "early", issued=now + BACKDATED_S + 3600)
            ).identity,
        }
        tasks = Tasks()
        async with first.serving(tasks.routes()) as port:
            assert await raw(port.port, GET) == b"", "plain HTTP"
            for name, identity in strangers.items():
                got = await raw(port.port, GET, context=rogue_context(certificate=identity))
                assert got == b"", name
            friend = await member(first, tmp_path / "friend")
            got = await raw(
                port.port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
                context=rogue_context(certificate=friend.identity),
            )  # fmt: skip
            assert b"secret" in got, "the same way in is open to a member"
        assert tasks.askers == [friend.node_id]

    asyncio.run(scenario())


def test_certificate_of_the_right_authority_for_another_swarm_is_refused(tmp_path: Path) -> None:
    """An authority's key says which swarm it is of, but only the bundle decides that; names must agree too."""

    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        async with second.serving(tasks.routes()) as port:
            first.knows(second, port)
            second.trust.swarm_id = "x" * 26
            got = await raw(port.port, GET, context=rogue_context(certificate=first.identity))
            assert got == b"" and tasks.askers == []

    asyncio.run(scenario())


def test_member_whose_certificate_ended_while_it_was_off_may_renew_it_and_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        late = await member(first, tmp_path / "late", issued=time.time() - NODE_LIFE_S - 3600)
        tasks = Tasks()
        async with first.serving(tasks.routes()) as port, late.asking() as peers:
            late.knows(first, port)
            with pytest.raises(PeerRefused, match="ended") as caught:
                await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5)
            assert caught.value.status == 403 and tasks.askers == []
            await Renewal(late.identity, late.trust, peers).renew()
            assert await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")

    asyncio.run(scenario())


@pytest.mark.parametrize(("listed", "status"), [(True, 403), (False, None)])
def test_certificate_that_ends_during_a_connection_ends_what_its_owner_may(
    tmp_path: Path, listed: bool, status: int | None
) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        second = await member(first, tmp_path / "second", listed=listed)
        tasks, later = Tasks(), [0.0]
        async with (
            first.serving(tasks.routes(), clock=lambda: time.time() + later[0]) as port,
            second.asking() as peers,
        ):
            second.knows(first, port)
            await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5)
            later[0] = NODE_LIFE_S
            with pytest.raises((PeerRefused, PeerUnreachable)) as caught:
                await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5)
            assert getattr(caught.value, "status", None) == status
        assert tasks.askers == [second.node_id]

    asyncio.run(scenario())


def impostor_is_found_out(
    tmp_path: Path, imitate: Callable[[Member, Path], AsyncIterator[tuple[Member, Member]]]
) -> PeerUnreachable:
    """What a member says who looks for a node where the impostor listens."""

    async def scenario() -> PeerUnreachable:
        async for asker, impostor in imitate(founder(tmp_path / "first"), tmp_path):
            tasks = Tasks()
            async with impostor.serving(tasks.routes()) as port:
                wanted = "w" * 26 if asker.node_id in impostor.addresses else impostor.node_id
                asker.addresses[wanted] = [("127.0.0.1", port.port)]
                async with asker.asking() as peers:
                    with pytest.raises(PeerUnreachable) as caught:
                        await peers[wanted].call("POST", "/v1/task", {"text": "private"}, reply=Reply, timeout_s=5)
                assert tasks.askers == []
            return caught.value
        raise AssertionError

    return asyncio.run(scenario())


async def _another_member(first: Member, tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    second, third = await member(first, tmp_path / "second"), await member(first, tmp_path / "third")
    third.addresses[second.node_id] = []  # marks that it is looked for under another id
    yield second, third


async def _another_swarm(first: Member, tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    yield await member(first, tmp_path / "second"), founder(tmp_path / "rogue")


async def _expired(first: Member, tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    yield (
        await member(first, tmp_path / "second"),
        await member(first, tmp_path / "third", issued=time.time() - NODE_LIFE_S - 1),
    )


async def _early(first: Member, tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    yield (
        await member(first, tmp_path / "second"),
        await member(first, tmp_path / "third", issued=time.time() + BACKDATED_S + 3600),
    )


@pytest.mark.parametrize(
    ("imitate", "layer"),
    [
        (_another_member, "identity"),
        (_another_swarm, "certificate"),
        (_expired, "clock"),
        (_early, "clock"),
    ],
)
def test_client_tells_nothing_to_a_server_that_is_not_the_one_it_wants(
    tmp_path: Path, imitate: Callable[[Member, Path], AsyncIterator[tuple[Member, Member]]], layer: Layer
) -> None:
    assert impostor_is_found_out(tmp_path, imitate).layer == layer


def test_client_does_not_even_show_its_certificate_to_an_impostor(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        rogue = founder(tmp_path / "rogue")
        shown: list[bytes | None] = []

        class Curious(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                shown.append(self.getpeercert(binary_form=True))

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(rogue.identity.certificate_path, rogue.identity.key_path)
        context.load_verify_locations(cadata=first.trust.bundle().pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.sslobject_class = Curious

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            shown.append(await reader.read())

        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
        async with server, second.asking() as peers:
            second.addresses[first.node_id] = [("127.0.0.1", server.sockets[0].getsockname()[1])]
            with pytest.raises(PeerUnreachable):
                await peers[first.node_id].warm()
        assert shown == []

    asyncio.run(scenario())


def test_address_that_another_node_has_now_is_skipped_for_the_next_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        third = await member(first, tmp_path / "third")
        tasks = Tasks()
        async with first.serving(tasks.routes()) as right, third.serving() as wrong, second.asking() as peers:
            second.addresses[first.node_id] = [("127.0.0.1", wrong.port), ("127.0.0.1", right.port)]
            assert await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
            assert await identify(second.contexts, ("127.0.0.1", wrong.port)) == third.node_id

    asyncio.run(scenario())


def test_whoever_cannot_be_asked_is_named_with_the_layer_that_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)

        async def layer() -> Layer:
            with pytest.raises(PeerUnreachable, match=first.node_id) as caught:
                await peers[first.node_id].warm()
            return caught.value.layer

        async with second.asking() as peers:
            assert await layer() == "address"
            second.addresses[first.node_id] = [("8.8.8.8", 443)]
            assert await layer() == "address", "nothing leaves the LAN"
            second.knows(first, free_port())
            assert await layer() == "tcp"
            plain = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
            async with plain:
                second.knows(first, plain.sockets[0].getsockname()[1])
                assert await layer() in ("tls", "tcp", "connection")
            await second.trust.revoke(first.node_id)
            with pytest.raises(PeerUnreachable, match="revoked"):
                _ = peers[first.node_id]
        async with first.serving() as port:
            with pytest.raises(PeerUnreachable, match="revoked"):
                await identify(second.contexts, ("127.0.0.1", port.port))
        with pytest.raises(PeerUnreachable, match="cannot connect") as caught:
            await identify(second.contexts, ("127.0.0.1", free_port()))
        assert caught.value.layer == "tcp"

    asyncio.run(scenario())


# ---- revocation


def test_revocation_cuts_a_stream_and_a_websocket_in_the_middle(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        third = await member(first, tmp_path / "third")
        tasks = Tasks()
        async with (
            first.serving(tasks.routes()) as port,
            second.asking() as revoked,
            third.asking() as trusted,
            contextlib.AsyncExitStack() as held,
            asyncio.timeout(10),
        ):
            for each in (second, third):
                each.knows(first, port)
            other = await held.enter_async_context(trusted[first.node_id].request("GET", "/v1/stream"))
            stream = await held.enter_async_context(revoked[first.node_id].request("GET", "/v1/stream"))
            silent = await held.enter_async_context(revoked[first.node_id].request("GET", "/v1/stream?then=wait"))
            socket = await held.enter_async_context(revoked[first.node_id].websocket("/v1/ws"))
            for response in (stream, silent, other):
                assert await response.content.readline() == b"token\n"
            await until(lambda: tasks.streaming == 4)
            await first.trust.revoke(second.node_id)
            for response in (stream, silent):
                with pytest.raises((aiohttp.ClientError, ConnectionError)):
                    while True:
                        assert await response.content.readline(), "ended as if it were complete"
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            await until(lambda: tasks.streaming == 1)
            assert port.connections == 1
            assert await other.content.readline() == b"token\n"
            with pytest.raises(PeerUnreachable):
                await revoked[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5)
        assert tasks.askers == []

    asyncio.run(scenario())


def test_client_cuts_its_own_connections_to_a_node_that_is_revoked(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        async with first.serving(tasks.routes()) as port, second.asking() as peers, asyncio.timeout(10):
            second.knows(first, port)
            with pytest.raises(PeerUnreachable):
                async with peers[first.node_id].request("GET", "/v1/stream") as response:
                    await response.content.readline()
                    await second.trust.revoke(first.node_id)
                    while await response.content.readline():
                        pass
                    raise AssertionError("ended as if it were complete")
            await until(lambda: port.connections == 0 and tasks.streaming == 0)

    asyncio.run(scenario())


# ---- renewal


def test_renewed_certificate_is_shown_in_the_next_connection_without_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        shown: list[float] = []

        async def look(request: web.Request) -> web.Response:
            shown.append(asking_node(request).certificate.not_after)
            return json_answer({})

        async with first.serving([web.get("/v1/look", look)]) as port, second.asking() as peers:
            second.knows(first, port)
            session = peers[first.node_id]
            await session.call("GET", "/v1/look", reply=dict, timeout_s=5)
            before = second.identity.certificate
            await until(lambda: int(time.time()) > int(before.not_after - NODE_LIFE_S) if before else False)
            await Renewal(second.identity, second.trust, peers).renew()
            await session.call("GET", "/v1/look", reply=dict, timeout_s=5)
            assert shown[1] > shown[0] and second.identity.certificate != before

    asyncio.run(scenario())


def test_renewal_runs_at_start_and_enrollers_renew_their_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        before = {each.node_id: each.identity.certificate for each in (first, second)}
        async with first.serving() as port, second.asking() as peers, first.asking() as own:
            second.knows(first, port)
            running = [
                asyncio.create_task(Renewal(each.identity, each.trust, asking).run())
                for each, asking in ((first, own), (second, peers))
            ]
            await until(lambda: all(each.identity.certificate is not before[each.node_id] for each in (first, second)))
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(scenario())


def test_only_a_member_renews_and_only_at_an_enroller(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        unlisted = await member(first, tmp_path / "unlisted", listed=False)
        async with first.serving() as port, unlisted.asking() as peers, second.serving() as no_enroller:
            unlisted.knows(first, port)
            with pytest.raises(MycoswarmError, match="not in the roster"):
                await Renewal(unlisted.identity, unlisted.trust, peers).renew()
            unlisted.knows(second, no_enroller)
            with pytest.raises(PeerRefused) as caught:
                await peers[second.node_id].call("POST", "/v1/renew", reply=dict, timeout_s=5)
            assert caught.value.status == 404

    asyncio.run(scenario())


def test_certificate_that_the_enroller_did_not_sign_is_not_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        other = founder(tmp_path / "other").identity.authority
        assert other is not None
        forged = other.issue(second.identity.public_key, now=time.time())
        # A swarm's id is no secret, so it is the signature that counts.
        alike = new_authority(first.node_id, first.trust.swarm_id, now=time.time())
        also_forged = alike.issue(second.identity.public_key, now=time.time())
        for certificate in (forged, also_forged):

            async def renew(request: web.Request, pem: str = certificate.pem) -> web.Response:
                return json_answer({"certificate": pem})

            before = second.identity.certificate
            async with first.serving([web.post("/v1/renew", renew)], renews=False) as port, second.asking() as peers:
                second.knows(first, port)
                with pytest.raises(MycoswarmError, match="did not sign"):
                    await Renewal(second.identity, second.trust, peers).renew()
            assert second.identity.certificate is before

    asyncio.run(scenario())


def test_new_enroller_renews_with_another_until_its_own_authority_is_in_the_bundle(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        authority = second.identity.become_enroller(now=time.time())
        async with first.serving() as port, second.asking() as peers:
            second.knows(first, port)
            for expected in (first.trust.swarm_id, authority.certificate.authority_id):
                await Renewal(second.identity, second.trust, peers).renew()
                assert second.identity.certificate is not None and second.identity.certificate.issuer == expected
                await second.trust.add_authority(authority.certificate)

    asyncio.run(scenario())


def test_swarm_goes_on_with_a_second_enroller_when_the_founder_is_lost_and_revoked(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        third = await member(first, tmp_path / "third")
        authority = second.identity.become_enroller(now=time.time())
        for each in (second, third):  # as the ledger tells all nodes
            await each.trust.add_authority(authority.certificate)
            await each.trust.admit(second.node_id, "second")
            await each.trust.admit(third.node_id, "third")
        fourth = await member(second, tmp_path / "fourth")
        tasks = Tasks()
        async with third.serving(tasks.routes()) as port, fourth.asking() as asking:
            fourth.knows(third, port)
            assert await asking[third.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
            for each in (second, third, fourth):
                await each.trust.revoke(first.node_id)
            got = await raw(port.port, GET, context=rogue_context(certificate=first.identity))
            assert got == b"" and tasks.askers == [fourth.node_id]
            # What the founder's key signs from now on is worth nothing, what it signed for a member still is.
            newcomer = await member(first, tmp_path / "newcomer")
            got = await raw(port.port, GET, context=rogue_context(certificate=newcomer.identity))
            assert got == b""
            async with second.asking() as peers, second.serving() as second_port, third.asking() as renewing:
                second.knows(third, port)
                assert await peers[third.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
                third.knows(second, second_port)
                await Renewal(third.identity, third.trust, renewing).renew()
                assert third.identity.certificate is not None
                assert third.identity.certificate.issuer == authority.certificate.authority_id

    asyncio.run(scenario())


# ---- what members cannot do either

HEAD = b"POST /v1/task HTTP/1.1\r\nHost: any\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"X: " + b"x" * 9000 + b"\r\n\r\n", b"400"),
        (HEAD + b"".join(b"X%d: x\r\n" % n for n in range(100)) + b"\r\n", b"400"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: -5\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + (b"x" * 65535 + b"\r\nffff\r\n") * 4, b"413"),
        (
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(bytes(10**7)))
            + gzip.compress(bytes(10**7)), b"413",
        ),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", b"400"),
    ],
    ids=[
        "long header", "many headers", "long line", "binary", "two lengths", "negative", "declared huge",
        "bad chunk", "huge chunks", "zip bomb", "no gzip",
    ],
)  # fmt: skip
def test_malformed_or_oversize_request_reaches_no_handler(tmp_path: Path, sent: bytes, status: bytes) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        async with first.serving(tasks.routes()) as port:
            got = await raw(port.port, sent, context=rogue_context(certificate=second.identity))
            assert got.startswith((b"HTTP/1.1 " + status, b"HTTP/1.0 " + status)), got[:200]
            await until(lambda: port.connections == 0)
            assert tasks.askers == []
            got = await raw(
                port.port, GET.replace(b"any\r\n", b"any\r\nConnection: close\r\n"),
                context=rogue_context(certificate=second.identity),
            )  # fmt: skip
            assert b"secret" in got, "the node is well"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /v1/ta", HEAD + b"Content-Length: 5000\r\n\r\nslow", GET + b"GET /v1/ta"],
    ids=["nothing", "headers", "body", "headers of a second request"],
)
def test_request_that_never_ends_is_cut(tmp_path: Path, begun: bytes) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        limits = Limits(request_s=0.3) if begun else Limits(idle_s=0.3)
        async with first.serving(tasks.routes(), limits=limits) as port:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port.port, ssl=rogue_context(certificate=second.identity), server_hostname="any"
            )

            async def drip() -> None:
                while True:  # a byte now and then must not extend the time
                    writer.write(b"x")
                    await asyncio.sleep(0.05)

            writer.write(begun)
            dripping = asyncio.create_task(drip()) if begun else None
            async with asyncio.timeout(10):
                with contextlib.suppress(OSError):
                    await reader.read()
            if dripping is not None:
                dripping.cancel()
            writer.transport.abort()
            await until(lambda: port.connections == 0)
            assert len(tasks.askers) == (GET in begun)

    asyncio.run(scenario())


def test_slow_answer_is_no_slow_request_and_the_connection_stays_usable(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        async with first.serving(tasks.routes(), limits=Limits(request_s=0.2)) as port, second.asking() as peers:
            second.knows(first, port)
            session = peers[first.node_id]
            async with session.websocket("/v1/ws") as ws:
                began = time.monotonic()
                while time.monotonic() - began < 0.6:
                    await ws.send_str("x")
                    assert await ws.receive_str() == "x"
            async with session.request("GET", "/v1/stream") as response:
                began = time.monotonic()
                while time.monotonic() - began < 0.6:
                    assert await response.content.readline() == b"token\n"

    asyncio.run(scenario())


def test_machine_outside_the_lan_is_not_even_greeted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        async with first.serving(Tasks().routes()) as port:
            monkeypatch.setattr("swarm.https_listener.is_lan", lambda address: address != "127.0.0.1")
            assert await raw(port.port, GET, context=rogue_context(certificate=second.identity)) == b""

    asyncio.run(scenario())


def test_half_open_connections_keep_nobody_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        limits = Limits(handshakes=4, handshake_s=30)
        async with first.serving(Tasks().routes(), limits=limits) as port, second.asking() as peers:
            second.knows(first, port)
            silent = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(12)]
            assert await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
            async with asyncio.timeout(10):
                for reader, _ in silent[:8]:
                    with contextlib.suppress(OSError):
                        assert await reader.read() == b""
            for _, writer in silent:
                writer.transport.abort()

    asyncio.run(scenario())


def test_handshake_that_never_ends_is_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, _ = await two_nodes(tmp_path)
        async with first.serving(limits=Limits(handshake_s=0.2)) as port:
            got = await raw(port.port, b"\x16\x03\x01\x02\x00\x01")
            assert got == b""

    asyncio.run(scenario())


def test_connection_ends_with_its_life_whatever_it_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        tasks = Tasks()
        async with first.serving(tasks.routes(), limits=Limits(life_s=0.3)) as port, second.asking() as peers:
            second.knows(first, port)
            with pytest.raises(PeerUnreachable):
                async with asyncio.timeout(10), peers[first.node_id].request("GET", "/v1/stream") as response:
                    while await response.content.readline():
                        pass

    asyncio.run(scenario())


def test_authority_that_was_added_later_counts_at_the_next_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        authority = second.identity.become_enroller(now=time.time())
        await second.trust.add_authority(authority.certificate)
        third = await member(second, tmp_path / "third")
        tasks = Tasks()
        async with first.serving(tasks.routes()) as port, third.asking() as peers:
            third.knows(first, port)
            with pytest.raises(PeerUnreachable):
                await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5)
            await first.trust.add_authority(authority.certificate)
            assert await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
        assert tasks.askers == [third.node_id]

    asyncio.run(scenario())


def test_one_member_cannot_take_all_connections(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        third = await member(first, tmp_path / "third")
        async with first.serving(Tasks().routes(), limits=Limits(connections_each=3)) as port:
            context = rogue_context(certificate=second.identity)
            held = [
                await asyncio.open_connection("127.0.0.1", port.port, ssl=context, server_hostname="any")
                for _ in range(6)
            ]
            await until(lambda: port.connections == 3)
            async with third.asking() as peers:
                third.knows(first, port)
                assert await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
            for _, writer in held:
                writer.transport.abort()
            await until(lambda: port.connections == 0)

    asyncio.run(scenario())


def test_nodes_meet_over_ipv6_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        port = NodesPort(build_nodes_app(Tasks().routes(), first.trust), first.contexts, first.trust)
        await port.start("::1", 0)
        second.addresses[first.node_id] = [("::1", port.port)]
        async with second.asking() as peers:
            assert await peers[first.node_id].call("GET", "/v1/task", reply=Reply, timeout_s=5) == Reply("secret")
        await port.close()

    asyncio.run(scenario())


def test_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await two_nodes(tmp_path)
        async with first.serving() as port:
            with pytest.raises(MycoswarmError, match=f"port {port.port}"):
                await NodesPort(build_nodes_app([], second.trust), second.contexts, second.trust).start(
                    "127.0.0.1", port.port
                )

    asyncio.run(scenario())
