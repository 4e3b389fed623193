"""Files between nodes, over real nodes' ports."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import MalformedMessage, StorageError
from swarm.node_api import NodesPort
from swarm.peer_session import PeerRefused, Peers, read_bounded, refusal_of
from swarm.transfer import folder as folder_module
from swarm.transfer.content import PIECE_BYTES, Content, Digests, Measuring
from swarm.transfer.fetching import Fetching
from swarm.transfer.folder import ContentFolder
from swarm.transfer.pace import Pace
from swarm.transfer.serving import CONTENT_PATH, ContentRoutes
from tests.swarm.enrolled import Member, founder, member
from tests.swarm.plain_swarm import until

FILE = os.urandom(5 * PIECE_BYTES + 1234)


def kept(folder: ContentFolder, data: bytes = FILE) -> Content:
    """A file that this node has."""
    upload = folder.take_upload()
    upload.add(data)
    content, digests = upload.end()
    upload.keep(content, digests)
    return content


def pace(speaking: Callable[[], bool] = lambda: False) -> Pace:
    return Pace(speaking, rate_bytes_s=1e12)


class StoppedPace(Pace):
    """Stops after so many pieces, until the test lets it go on."""

    def __init__(self, after: int) -> None:
        super().__init__(lambda: False)
        self.stopped, self.goes_on = asyncio.Event(), asyncio.Event()
        self._left = after

    async def wait(self, size: int) -> None:
        if not self._left:
            self.stopped.set()
            await self.goes_on.wait()
        self._left -= 1


class Source:
    """A node that has files for others, and can be cut off and started again."""

    def __init__(self, node: Member, asker: Member, path: Path) -> None:
        self.node, self.folder = node, ContentFolder(path / "content")
        self.speaking = False
        self._asker = asker
        self._up = contextlib.AsyncExitStack()
        self.port: NodesPort

    @property
    def id(self) -> str:
        return self.node.node_id

    async def start(self) -> None:
        routes = ContentRoutes(self.folder, pace(lambda: self.speaking)).routes()
        self.port = await self._up.enter_async_context(self.node.serving(routes))
        self._asker.knows(self.node, self.port)

    async def stop(self) -> None:
        await self._up.aclose()


@contextlib.asynccontextmanager
async def sources(path: Path, count: int = 2) -> AsyncIterator[tuple[Peers, ContentFolder, list[Source]]]:
    """What asks, the folder into which it fetches, and sources that are up."""
    first = founder(path / "first")
    asker = await member(first, path / "asker")
    found = []
    for number in range(count):
        node = await member(first, path / f"source{number}")
        source = Source(node, asker, path / f"source{number}")
        await source.start()
        found.append(source)
    async with asker.asking() as peers:
        try:
            yield peers, ContentFolder(path / "asker" / "content"), found
        finally:
            for source in found:
                await source.stop()


def fetching(
    content: Content, folder: ContentFolder, peers: Peers, nodes: Sequence[Source], own: Pace | None = None
) -> Fetching:
    return Fetching(content, folder, own or pace(), lambda: [each.id for each in nodes], peers.__getitem__)


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 700))
def test_description_is_the_same_whatever_the_portions(data: bytes, portion: int) -> None:
    measured = Measuring()
    for at in range(0, len(data), portion):
        measured.add(data[at : at + portion])
    content, digests = measured.end()
    assert (content.sha256, content.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert content.piece_count == 1
    assert digests.fits(0, data)
    assert not digests.fits(0, data + b"x")


def test_pieces_cover_the_file_and_each_has_its_digest() -> None:
    measured = Measuring()
    measured.add(FILE)
    content, digests = measured.end()
    ranges = [content.piece_range(index) for index in range(content.piece_count)]
    assert b"".join(FILE[start:stop] for start, stop in ranges) == FILE
    assert all(digests.fits(index, FILE[start:stop]) for index, (start, stop) in enumerate(ranges))
    with pytest.raises(MalformedMessage):
        Digests(content, digests.data[:-1])


def test_file_comes_whole_and_is_had_for_others_then(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sources(tmp_path) as (peers, folder, (one, other)):
            content = kept(one.folder)
            whole = await fetching(content, folder, peers, [one, other]).run()
            assert whole.read_bytes() == FILE
            assert folder.has(content)
            assert folder.digests(content.sha256) == one.folder.digests(content.sha256)
            assert sorted(each.name for each in folder.folder.iterdir()) == [
                content.sha256,
                f"{content.sha256}.pieces",
            ]

    asyncio.run(scenario())


def test_transfer_goes_on_elsewhere_when_its_source_dies_in_the_middle(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sources(tmp_path) as (peers, folder, (one, other)):
            content = kept(one.folder)
            own = StoppedPace(after=2)
            fetch = fetching(content, folder, peers, [one, other], own)
            running = asyncio.create_task(fetch.run())
            await own.stopped.wait()
            assert fetch.position == 2 * PIECE_BYTES
            await one.stop()
            kept(other.folder)
            own.goes_on.set()
            assert (await running).read_bytes() == FILE

    asyncio.run(scenario())


def test_transfer_that_was_cut_begins_where_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sources(tmp_path, 1) as (peers, folder, (one,)):
            content = kept(one.folder)
            digests = one.folder.digests(content.sha256)
            assert digests is not None
            before = folder.begin(content, Digests(content, digests))
            before.add(FILE[:PIECE_BYTES])
            before.add(FILE[PIECE_BYTES : 2 * PIECE_BYTES])
            before.close()
            part = folder.folder / f"{content.sha256}.part"
            with part.open("r+b") as file:  # power was cut while the second piece was being written
                file.seek(PIECE_BYTES + 7)
                file.write(b"\0" * 50)
            again = folder.begin(content, Digests(content, digests))
            assert again.next == 1
            again.close()
            assert (await fetching(content, folder, peers, [one]).run()).read_bytes() == FILE

    asyncio.run(scenario())


def test_source_that_gives_something_else_is_not_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with sources(tmp_path) as (peers, folder, (one, liar)):
            content = kept(one.folder)
            shutil.copytree(one.folder.folder, liar.folder.folder)
            spoilt = liar.folder.folder / content.sha256
            with spoilt.open("r+b") as file:
                file.write(b"something else")
            nodes = [liar]
            fetch = fetching(content, folder, peers, nodes)
            running = asyncio.create_task(fetch.run())
            await until(lambda: "is not asked for this file again" in caplog.text)
            assert not folder.has(content)
            nodes.append(one)
            assert (await running).read_bytes() == FILE
            assert caplog.text.count("is not asked for this file again") == 1

    asyncio.run(scenario())


def test_source_with_other_digests_is_refused_before_a_piece_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with sources(tmp_path) as (peers, folder, (one, liar)):
            content = kept(one.folder)
            shutil.copytree(one.folder.folder, liar.folder.folder)
            (liar.folder.folder / f"{content.sha256}.pieces").write_bytes(os.urandom(32 * content.piece_count))
            nodes = [liar]
            running = asyncio.create_task(fetching(content, folder, peers, nodes).run())
            await until(lambda: "not the digests" in caplog.text)
            nodes.append(one)
            assert (await running).read_bytes() == FILE

    asyncio.run(scenario())


def test_description_that_is_wrong_itself_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sources(tmp_path, 1) as (peers, folder, (one,)):
            content = kept(one.folder)
            wrong = msgspec.structs.replace(content, sha256="0" * 64)
            for suffix in ("", ".pieces"):
                shutil.copy(one.folder.folder / f"{content.sha256}{suffix}", one.folder.folder / f"{'0' * 64}{suffix}")
            with pytest.raises(MalformedMessage, match="not what its description says"):
                await fetching(wrong, folder, peers, [one]).run()
            assert not folder.has(wrong)
            assert not list(folder.folder.glob("*.part"))

    asyncio.run(scenario())


def test_nothing_comes_while_somebody_speaks_here_or_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sources(tmp_path, 1) as (peers, folder, (one,)):
            content = kept(one.folder)
            one.speaking = True
            path = f"{CONTENT_PATH}/{content.sha256}"
            with pytest.raises(PeerRefused, match="somebody speaks"):
                async with peers[one.id].request("GET", path, headers={"Range": "bytes=0-99"}) as response:
                    raise refusal_of(response, await read_bounded(response))
            speaks_here = True
            fetch = fetching(content, folder, peers, [one], pace(lambda: speaks_here))
            running = asyncio.create_task(fetch.run())
            await until(lambda: (folder.folder / f"{content.sha256}.part").exists())
            one.speaking = False
            assert fetch.position == 0
            speaks_here = False
            assert (await running).read_bytes() == FILE

    asyncio.run(scenario())


@pytest.mark.parametrize("asked", ["bytes=0-99999999", "bytes=9999999999-9999999999", "bytes=5-2", "", "bytes=0-"])
def test_more_than_a_piece_is_not_given_at_once(tmp_path: Path, asked: str) -> None:
    async def scenario() -> None:
        async with sources(tmp_path, 1) as (peers, _, (one,)):
            content = kept(one.folder)
            path = f"{CONTENT_PATH}/{content.sha256}"
            async with peers[one.id].request("GET", path, headers={"Range": asked}) as response:
                assert response.status == 416
            async with peers[one.id].request("GET", f"{CONTENT_PATH}/..%2Fidentity") as response:
                assert response.status == 404

    asyncio.run(scenario())


def test_disk_without_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with sources(tmp_path, 1) as (peers, folder, (one,)):
            content = kept(one.folder)
            monkeypatch.setattr(folder_module, "LEAVE_BYTES", 2**60)
            with pytest.raises(StorageError, match="do not fit"):
                await fetching(content, folder, peers, [one]).run()
            assert not list(folder.folder.iterdir())

    asyncio.run(scenario())


def test_what_nobody_wants_any_more_is_removed(tmp_path: Path) -> None:
    before = ContentFolder(tmp_path / "content")
    content, gone = kept(before), kept(before, b"old")
    before.keep_only([])  # what a program has just given stays: it says what it is for in a moment
    assert before.has(gone)
    folder = ContentFolder(tmp_path / "content")  # this program, started anew
    left = folder.take_upload()
    left.add(b"the program that gave it was killed")
    (folder.folder / "README").write_text("not ours")
    folder.keep_only([content.sha256])
    assert folder.has(content)
    assert not folder.has(gone)
    assert left.path.exists()
    folder.forget_uploads()
    assert not left.path.exists()
    assert (folder.folder / "README").exists()
    left.drop()


def test_rate_is_kept_over_all_transfers_of_a_node() -> None:
    async def scenario() -> float:
        own = Pace(lambda: False, rate_bytes_s=1_000_000)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(own.wait(50_000) for _ in range(5)))
        return loop.time() - begun

    assert asyncio.run(scenario()) >= 0.2
