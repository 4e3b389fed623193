"""Joining over real TLS on loopback: by token, by a code that a person compares, and with somebody in between."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarm.certificates import Authority, NodeCertificate
from swarm.enrolment import LIMITS, MAX_REQUESTS_EACH, REQUEST_VALID_S, Enrolment
from swarm.enrolment_messages import (
    ASK_PATH,
    TOKEN_PATH,
    CodeAsk,
    CodeAsked,
    CodeReveal,
    CodeState,
    Joined,
    TokenJoin,
    code_of,
    commitment_of,
    is_committed,
    plain_code,
    plain_name,
    proof_of_key,
)
from swarm.errors import MycoswarmError
from swarm.identity import Identity, open_identity
from swarm.joining import Admission, Confirm, JoinFailed, _enroller_at, join_by_code, join_by_token, settle
from swarm.peer_session import Address, PeerRefused
from swarm.roster import introduced
from swarm.tokens import LINGER_S, JoinToken
from tests.buses import free_port, until
from tests.swarm.enrolled import Member, founder, member, rogue_context
from tests.swarm.held_trust import create_trust, load_trust
from tests.swarm.test_node_api import GET, Tasks, raw


@dataclass
class Desk:
    """An enroller that lets machines in, with a clock of its own."""

    enroller: Member
    port: int = field(default_factory=free_port)
    now: float = field(default_factory=time.time)
    nodes_port: int = 0
    admitting: Callable[[str], None] = lambda node_id: None
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    enrolment: Enrolment = field(init=False)

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.port)

    @contextlib.asynccontextmanager
    async def staffed(self) -> AsyncIterator[Enrolment]:
        async def admit(node_id: str, name: str, roles: tuple[str, ...]) -> None:
            self.admitting(node_id)
            self.roles[node_id] = roles
            await self.enroller.trust.admit(node_id, name)

        self.enrolment = Enrolment(
            self.enroller.identity,
            self.enroller.trust,
            name="hub",
            nodes_port=self.nodes_port,
            admit=admit,
            clock=lambda: self.now,
        )
        running = asyncio.create_task(self.enrolment.run("127.0.0.1", self.port))
        try:
            yield self.enrolment
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def invitation(self, *, valid_s: float = 60.0) -> JoinToken:
        token = await self.enrolment.invite(valid_s=valid_s, addresses=[self.address])
        await self.opened()
        return token

    async def opened(self) -> None:
        await until(lambda: self.enrolment.port == self.port)

    async def accepts_codes(self) -> None:
        self.enrolment.accept_codes()
        await self.opened()

    async def one_pending(self) -> str:
        await until(lambda: len(self.enrolment.pending()) == 1)
        return self.enrolment.pending()[0].code


def asking(shown: list[str], answer: asyncio.Future[bool] | bool = True) -> Confirm:
    """A person at the joiner, who sees the code and says whether it is the same."""

    async def confirm(code: str, enroller: str) -> bool:
        assert enroller == "hub"
        shown.append(code)
        return answer if isinstance(answer, bool) else await answer

    return confirm


async def refused(joining: asyncio.Future[Admission] | asyncio.Task[Admission], match: str) -> None:
    with pytest.raises(JoinFailed, match=match):
        await joining


def join(identity: Identity, token: JoinToken) -> asyncio.Task[Admission]:
    return asyncio.create_task(join_by_token(identity, token, name="attic"))


# ---- by token


def test_machine_with_a_token_becomes_a_member_that_others_serve(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        tasks = Tasks()
        async with first.serving(tasks.routes()) as nodes:
            desk = Desk(first, nodes_port=nodes.port)
            async with desk.staffed():
                token = await desk.invitation()
                identity = open_identity(tmp_path / "new")
                admission = await join(identity, token)
                assert admission.nodes == (("127.0.0.1", nodes.port),) and admission.enroller == first.node_id
                settle(identity, admission)
                trust = create_trust(identity.folder, first.trust.swarm_id, introduced(identity.folder))
                assert first.trust.members()[identity.node_id] == "attic"
                new = Member(identity, trust, {})
                new.addresses[first.node_id] = list(admission.nodes)
                async with new.asking() as peers:
                    assert await peers[first.node_id].call("GET", "/v1/task", reply=dict, timeout_s=5)
        again = open_identity(tmp_path / "new")
        assert again.certificate == admission.certificate

    asyncio.run(scenario())


def test_secret_is_not_sent_to_a_machine_that_did_not_make_the_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        right, rogue = Desk(founder(tmp_path / "right")), Desk(founder(tmp_path / "rogue"))
        async with right.staffed(), rogue.staffed():
            token = await right.invitation()
            await rogue.invitation()
            identity = open_identity(tmp_path / "new")
            elsewhere = msgspec.structs.replace(token, addresses=(rogue.address,))
            await refused(join(identity, elsewhere), "not the one that made this token")
            assert right.enroller.trust.members() == rogue.enroller.trust.members() == {}
            # With the right address behind it the imitation only costs a moment.
            both = msgspec.structs.replace(token, addresses=(rogue.address, right.address))
            assert (await join(identity, both)).enroller == right.enroller.node_id

    asyncio.run(scenario())


def test_rogue_that_shows_the_right_authority_without_its_key_is_found_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        right, rogue = Desk(founder(tmp_path / "right")), Desk(founder(tmp_path / "rogue"))
        stolen, own = right.enroller.identity.authority, rogue.enroller.identity.authority
        assert stolen is not None and own is not None
        claimed = dataclasses.replace(stolen.certificate, enroller=rogue.enroller.node_id)
        rogue.enroller.identity._authority = Authority(own.key, claimed)
        rogue.enroller.trust.swarm_id = right.enroller.trust.swarm_id
        async with right.staffed(), rogue.staffed():
            token = await right.invitation()
            await rogue.invitation()
            elsewhere = msgspec.structs.replace(token, addresses=(rogue.address,))
            await refused(join(open_identity(tmp_path / "new"), elsewhere), "do not belong together")

    asyncio.run(scenario())


def test_member_that_is_no_enroller_cannot_pose_as_the_one_that_admitted_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        right, rogue = Desk(first), Desk(await member(first, tmp_path / "rogue"))
        identity, authority = rogue.enroller.identity, first.identity.authority
        assert authority is not None
        identity._authority = Authority(Ed25519PrivateKey.generate(), authority.certificate)

        def show_its_usual_certificate(*, now: float) -> NodeCertificate:
            assert identity.certificate is not None
            shutil.copy(identity.certificate_path, identity.enrolment_path)
            return identity.certificate

        identity.renew_enrolment = show_its_usual_certificate  # type: ignore[method-assign]
        async with right.staffed(), rogue.staffed():
            token = await right.invitation()
            await rogue.invitation()
            elsewhere = msgspec.structs.replace(token, addresses=(rogue.address,))
            await refused(join(open_identity(tmp_path / "new"), elsewhere), "another one's authority")

    asyncio.run(scenario())


def test_joiner_takes_no_certificate_that_is_not_what_was_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk, other = Desk(founder(tmp_path / "first")), founder(tmp_path / "other")
        joiner, stranger = open_identity(tmp_path / "new"), open_identity(tmp_path / "stranger")
        own, foreign = desk.enroller.identity.authority, other.identity.authority
        assert own is not None and foreign is not None
        right = own.issue(joiner.public_key, now=time.time()).pem
        bundle = own.certificate.pem
        async with desk.staffed():
            await desk.invitation()
            async with _enroller_at(desk.address) as enroller:
                good = Joined(right, bundle, desk.enroller.node_id, 7)
                assert enroller.checked(good, joiner).nodes == (("127.0.0.1", 7),)
                for wrong in (
                    Joined(own.issue(stranger.public_key, now=time.time()).pem, bundle, "", 0),
                    Joined(foreign.issue(joiner.public_key, now=time.time()).pem, bundle, "", 0),
                    Joined(right, foreign.certificate.pem, "", 0),
                    Joined(right, bundle + foreign.certificate.pem, "", 0),
                    Joined(right, "", "", 0),
                    Joined("no certificate", bundle, "", 0),
                ):
                    with pytest.raises(JoinFailed, match="gave a certificate"):
                        enroller.checked(wrong, joiner)

    asyncio.run(scenario())


def test_token_is_refused_when_it_expired_was_withdrawn_or_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        async with desk.staffed() as enrolment:
            keeps_open = await desk.invitation(valid_s=10_000)
            expired, withdrawn, used = [await desk.invitation() for _ in range(3)]
            await enrolment.withdraw(withdrawn.id)
            await join(open_identity(tmp_path / "quick"), used)
            desk.now += 61
            late = open_identity(tmp_path / "late")
            await refused(join(late, expired), "expired")
            await refused(join(late, withdrawn), "does not open")
            await refused(join(late, used), "used by another")
            guessed = msgspec.structs.replace(keeps_open, secret=secrets.token_bytes(16))
            await refused(join(late, guessed), "does not open")
            assert list(desk.enroller.trust.members()) == [open_identity(tmp_path / "quick").node_id]
            assert late.certificate is None

    asyncio.run(scenario())


def test_one_of_two_racing_joiners_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        async with desk.staffed():
            token = await desk.invitation()
            racers = [open_identity(tmp_path / f"racer{number}") for number in range(6)]
            ends = await asyncio.gather(*(join(each, token) for each in racers), return_exceptions=True)
            winners = [each for each in ends if isinstance(each, Admission)]
            assert len(winners) == 1 and all("used" in str(each) for each in ends if not isinstance(each, Admission))
            assert list(desk.enroller.trust.members()) == [winners[0].certificate.node_id]

    asyncio.run(scenario())


def test_tokens_outlive_a_restart_of_the_enroller_used_or_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        desk = Desk(first)
        async with desk.staffed():
            used, unused = await desk.invitation(), await desk.invitation()
            await join(open_identity(tmp_path / "one"), used)
        trust = load_trust(tmp_path / "first")
        assert trust is not None
        restarted = Desk(Member(open_identity(tmp_path / "first"), trust, {}), port=desk.port)
        async with restarted.staffed():
            await restarted.opened()
            await refused(join(open_identity(tmp_path / "two"), used), "used by another")
            assert await join(open_identity(tmp_path / "two"), unused)

    asyncio.run(scenario())


def test_joiner_whose_answer_was_lost_gets_in_with_the_same_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        def crash(node_id: str) -> None:
            raise MycoswarmError("the power went")

        desk = Desk(founder(tmp_path / "first"), admitting=crash)
        identity = open_identity(tmp_path / "new")
        async with desk.staffed():
            token = await desk.invitation()
            await refused(join(identity, token), "the power went")
            desk.admitting = lambda node_id: None
            await refused(join(open_identity(tmp_path / "other"), token), "used by another")
            assert await join(identity, token)

    asyncio.run(scenario())


def test_revoked_node_does_not_come_back_with_a_new_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        identity = open_identity(tmp_path / "new")
        async with desk.staffed():
            await join(identity, await desk.invitation())
            await desk.enroller.trust.revoke(identity.node_id)
            await refused(join(identity, await desk.invitation()), "was revoked")
            await desk.accepts_codes()
            asks = join_by_code(identity, desk.address, name="attic", confirm=asking([]))
            await refused(asyncio.create_task(asks), "was revoked")

    asyncio.run(scenario())


def test_second_enroller_lets_machines_in_without_the_founder(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        second = await member(first, tmp_path / "second")
        third = await member(first, tmp_path / "third")
        authority = second.identity.become_enroller(now=time.time())
        for each in (second, third):
            await each.trust.add_authority(authority.certificate)
        desk = Desk(second)
        async with desk.staffed():
            identity = open_identity(tmp_path / "new")
            settle(identity, await join(identity, await desk.invitation()))
            trust = create_trust(identity.folder, first.trust.swarm_id, introduced(identity.folder))
        assert trust.swarm_id == first.trust.swarm_id and len(trust.bundle().current) == 2
        new = Member(identity, trust, {})
        async with third.serving(Tasks().routes()) as port, new.asking() as peers:
            new.knows(third, port)
            assert await peers[third.node_id].call("GET", "/v1/task", reply=dict, timeout_s=5)

    asyncio.run(scenario())


# ---- the port


def test_port_is_open_only_while_somebody_may_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        async with desk.staffed() as enrolment:
            with pytest.raises(OSError):
                await asyncio.open_connection(*desk.address)
            await desk.invitation()
            await enrolment.withdraw(None)
            await until(lambda: enrolment.port is None)
            with pytest.raises(OSError):
                await asyncio.open_connection(*desk.address)
            await desk.accepts_codes()
            enrolment.accept_codes(0)
            await until(lambda: enrolment.port is None)
            token = await desk.invitation()
            await join(open_identity(tmp_path / "new"), token)
            assert enrolment.port is not None, "for a moment: the answer may be lost"
            desk.now += LINGER_S
            enrolment.accept_codes(0)
            await until(lambda: enrolment.port is None)

    asyncio.run(scenario())


def test_enrolment_port_has_nothing_but_enrolment(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "first")
        desk = Desk(first)
        async with desk.staffed():
            await desk.invitation()
            got = await raw(
                desk.port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), context=rogue_context()
            )
            assert got.startswith(b"HTTP/1.1 404")
            big = b"POST /v1/enrolment/token HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n"
            got = await raw(desk.port, big, context=rogue_context())
            assert got.startswith(b"HTTP/1.1 413")
            bad = b"POST /v1/enrolment/token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[1,2]"
            got = await raw(desk.port, bad, context=rogue_context())
            assert got.startswith(b"HTTP/1.1 400")

    asyncio.run(scenario())


def test_stranger_cannot_hold_the_enrolment_port(tmp_path: Path) -> None:
    assert LIMITS.life_s is not None and LIMITS.life_s <= 15

    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        async with desk.staffed():
            token = await desk.invitation()
            silent = [await asyncio.open_connection(*desk.address) for _ in range(60)]
            assert await join(open_identity(tmp_path / "new"), token)
            for _, writer in silent:
                writer.transport.abort()

    asyncio.run(scenario())


def test_key_must_be_the_joiners_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        owner, thief = open_identity(tmp_path / "owner"), open_identity(tmp_path / "thief")
        async with desk.staffed():
            token = await desk.invitation()
            async with _enroller_at(desk.address) as enroller:
                proof = proof_of_key(enroller.certificate, owner.public_key, token.id)
                asked = TokenJoin(token.id, token.secret, owner.public_key, "x", thief.sign(proof))
                with pytest.raises(PeerRefused, match="not signed"):
                    await enroller.post(TOKEN_PATH, asked, Joined)
            assert await join(owner, token), "the token is not used up by that"

    asyncio.run(scenario())


# ---- by code


def test_machine_is_let_in_when_a_person_compared_the_codes(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        identity = open_identity(tmp_path / "new")
        shown: list[str] = []
        async with desk.staffed() as enrolment:
            await desk.accepts_codes()
            joining = asyncio.create_task(
                join_by_code(identity, desk.address, name="at\x1b[31mtic", confirm=asking(shown))
            )
            code = await desk.one_pending()
            await until(lambda: shown)
            assert shown == [code]
            pending = enrolment.pending()[0]
            assert (pending.name, pending.node_id, pending.address) == ("at?[31mtic", identity.node_id, "127.0.0.1")
            await enrolment.approve(code.replace(" ", "-"))
            settle(identity, await joining)
            assert desk.enroller.trust.is_member(identity.node_id)
            assert enrolment.pending() == []

    asyncio.run(scenario())


def test_machine_is_not_let_in_when_the_person_at_the_enroller_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        identity = open_identity(tmp_path / "new")
        async with desk.staffed() as enrolment:
            await desk.accepts_codes()
            joining = asyncio.create_task(join_by_code(identity, desk.address, name="attic", confirm=asking([])))
            enrolment.refuse(await desk.one_pending())
            await refused(joining, "refused this node")
            assert desk.enroller.trust.members() == {} and enrolment.pending() == []

    asyncio.run(scenario())


def test_machine_does_not_join_when_its_own_person_sees_another_code(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        identity = open_identity(tmp_path / "new")
        async with desk.staffed() as enrolment:
            await desk.accepts_codes()
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            joining = asyncio.create_task(
                join_by_code(identity, desk.address, name="attic", confirm=asking([], answer))
            )
            await enrolment.approve(await desk.one_pending())  # approval alone does not decide it
            await asyncio.sleep(0)
            assert not joining.done()
            answer.set_result(False)
            await refused(joining, "not the same")

    asyncio.run(scenario())


def test_machine_in_the_middle_makes_the_codes_differ(tmp_path: Path) -> None:
    """It enrols the joiner into a swarm of its own and asks to be let into the real one, all at the same time."""

    async def scenario() -> None:
        real, middle = Desk(founder(tmp_path / "real")), Desk(founder(tmp_path / "middle"))
        shown: list[str] = []
        async with real.staffed() as enrolment, middle.staffed() as forged:
            await real.accepts_codes()
            await middle.accepts_codes()
            victim = asyncio.create_task(
                join_by_code(open_identity(tmp_path / "new"), middle.address, name="attic", confirm=asking(shown))
            )
            seen_by_middle: list[str] = []
            spy = asyncio.create_task(
                join_by_code(
                    open_identity(tmp_path / "spy"), real.address, name="attic", confirm=asking(seen_by_middle)
                )
            )
            await middle.one_pending()
            real_code = await real.one_pending()
            await until(lambda: shown and seen_by_middle)
            assert seen_by_middle == [real_code] and shown != [real_code]
            with pytest.raises(MycoswarmError) as caught:
                await enrolment.approve(shown[0])  # the person reads the joiner's screen and types that
            assert "stands between" in caught.value.hint
            assert real.enroller.trust.members() == {}
            assert forged.pending()[0].code == shown[0]
            for task in (victim, spy):
                task.cancel()
            await asyncio.gather(victim, spy, return_exceptions=True)

    asyncio.run(scenario())


def test_request_cannot_be_passed_on_to_another_enroller(tmp_path: Path) -> None:
    async def scenario() -> None:
        real = Desk(founder(tmp_path / "real"))
        rogue = founder(tmp_path / "rogue").identity.certificate
        assert rogue is not None
        victim = open_identity(tmp_path / "new")
        commitment = commitment_of(b"n" * 32, victim.public_key)
        proof = proof_of_key(ssl.PEM_cert_to_DER_cert(rogue.pem), victim.public_key, commitment)
        asked = CodeAsk(victim.public_key, "attic", commitment, victim.sign(proof))
        async with real.staffed() as enrolment:
            await real.accepts_codes()
            async with _enroller_at(real.address) as enroller:
                with pytest.raises(PeerRefused, match="not signed"):
                    await enroller.post(ASK_PATH, asked, CodeAsked)
            assert enrolment.pending() == []

    asyncio.run(scenario())


def test_nonce_that_was_not_promised_gets_no_code(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        identity = open_identity(tmp_path / "new")
        async with desk.staffed() as enrolment:
            await desk.accepts_codes()
            async with _enroller_at(desk.address) as enroller:
                commitment = commitment_of(b"n" * 32, identity.public_key)
                proof = proof_of_key(enroller.certificate, identity.public_key, commitment)
                asked = await enroller.post(
                    ASK_PATH, CodeAsk(identity.public_key, "x", commitment, identity.sign(proof)), CodeAsked
                )
                path = f"{ASK_PATH}/{asked.request_id}"
                assert enrolment.pending() == []
                with pytest.raises(PeerRefused, match="promised"):
                    await enroller.post(path, CodeReveal(b"m" * 32), CodeState)
                with pytest.raises(PeerRefused, match="not known"):  # one try only: no search for a fitting code
                    await enroller.post(path, CodeReveal(b"n" * 32), CodeState)
            assert enrolment.pending() == []

    asyncio.run(scenario())


def test_machines_ask_by_code_only_while_a_person_waits_for_it_and_not_too_many(tmp_path: Path) -> None:
    async def scenario() -> None:
        desk = Desk(founder(tmp_path / "first"))
        async with desk.staffed() as enrolment:
            await desk.invitation(valid_s=10 * REQUEST_VALID_S)

            def ask(name: str) -> asyncio.Task[Admission]:
                identity = open_identity(tmp_path / name)
                return asyncio.create_task(join_by_code(identity, desk.address, name=name, confirm=asking([])))

            await refused(ask("early"), "waits for a code")
            await desk.accepts_codes()
            held = [ask(f"held{number}") for number in range(MAX_REQUESTS_EACH)]
            await until(lambda: len(enrolment.pending()) == MAX_REQUESTS_EACH)
            await refused(ask("one more"), "too many")
            old = enrolment.pending()[0].code
            desk.now += REQUEST_VALID_S
            assert enrolment.pending() == []
            with pytest.raises(MycoswarmError):
                await enrolment.approve(old)
            for task in held:
                task.cancel()
            await asyncio.gather(*held, return_exceptions=True)

    asyncio.run(scenario())


def test_joiner_stops_when_the_connection_leads_to_another_machine(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = Desk(founder(tmp_path / "first")), founder(tmp_path / "second")
        async with first.staffed():
            token = await first.invitation()
            async with _enroller_at(first.address) as enroller:
                imitation = Desk(second, port=first.port)
                await first.enrolment.withdraw(None)
                await until(lambda: first.enrolment.port is None)
                async with imitation.staffed():
                    await imitation.invitation()
                    asked = TokenJoin(token.id, token.secret, b"k" * 44, "x", b"s" * 64)
                    with pytest.raises(JoinFailed, match="another machine answered"):
                        await enroller.post(TOKEN_PATH, asked, Joined)

    asyncio.run(scenario())


def test_joiner_that_finds_nobody_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        identity = open_identity(tmp_path / "new")
        nowhere = JoinToken(b"i" * 8, b"s" * 16, b"p" * 32, "s" * 26)
        await refused(join(identity, nowhere), "no enroller is found")
        outside = msgspec.structs.replace(nowhere, addresses=(("8.8.8.8", 443),))
        await refused(join(identity, outside), "outside the LAN")
        nobody = msgspec.structs.replace(nowhere, addresses=(("127.0.0.1", free_port()),))
        await refused(join(identity, nobody), "cannot ask the enroller")

    asyncio.run(scenario())


# ---- the code


def test_code_depends_on_each_part_of_both_sides() -> None:
    parts: dict[str, bytes | str | tuple[bytes, bytes]] = {
        "server_certificate": b"certificate",
        "authority_pin": b"p" * 32,
        "swarm_id": "s" * 26,
        "joiner": b"j" * 44,
        "nonces": (b"a" * 32, b"b" * 32),
    }
    others: dict[str, bytes | str | tuple[bytes, bytes]] = {
        "server_certificate": b"certificatE",
        "authority_pin": b"q" * 32,
        "swarm_id": "t" * 26,
        "joiner": b"k" * 44,
        "nonces": (b"b" * 32, b"a" * 32),
    }
    codes = {code_of(**parts)} | {code_of(**{**parts, name: other}) for name, other in others.items()}  # type: ignore[arg-type]
    assert len(codes) == 6
    assert all(len(code) == 7 and len(plain_code(code)) == 6 for code in codes)


def test_codes_are_spread_evenly() -> None:
    def code(number: int) -> str:
        return code_of(
            server_certificate=b"c",
            authority_pin=b"p",
            swarm_id="s",
            joiner=b"j",
            nonces=(number.to_bytes(32, "big"), b"n" * 32),
        )

    codes = [code(number) for number in range(2000)]
    assert len(set(codes)) > 1990 and len({each[0] for each in codes}) == 10


def test_commitment_binds_to_nonce_and_key() -> None:
    commitment = commitment_of(b"n" * 32, b"k" * 44)
    assert is_committed(commitment, b"n" * 32, b"k" * 44)
    assert not is_committed(commitment, b"m" * 32, b"k" * 44)
    assert not is_committed(commitment, b"n" * 32, b"l" * 44)
    assert b"n" * 32 not in commitment


def test_name_of_a_stranger_steers_no_terminal() -> None:
    assert plain_name("\x1b]0;x\x07attic\r\n" + "y" * 100).isprintable()
    assert plain_name("\n") == "?" and plain_name("  ") == "unnamed"
