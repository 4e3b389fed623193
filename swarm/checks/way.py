"""The way between this machine and another node of its swarm, layer by layer: which of them fails, and what to do.

::

    mDNS ─► TCP ─► TLS ─► clock ─► certificate        the nodes' port
                                   broker ─► ACL      the bus (`swarm.checks.bus_way`)

Everything is tried anew, with this machine's own key, beside the running node or without one. A layer that cannot be
looked at because one below it fails is skipped, and said to be.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from swarm.candidate import Candidate, Change
from swarm.certificates import NODE_LIFE_S, BadCertificate, NodeCertificate, NodeId, parse_node_certificate
from swarm.checks import Finding
from swarm.discovery import Discovery
from swarm.egress import is_lan
from swarm.identity import Identity
from swarm.interfaces import lan_interfaces
from swarm.peer_session import WARM_PATH, explain_certificate
from swarm.places import Address, place_text
from swarm.tls import TlsContexts, joining_context, peer_of
from swarm.trust import REASONS, Trust, judge

LISTEN_S = 2.5
"""For mDNS: the question goes out at once and after a second."""
CONNECT_S = 3.0
ANSWER_S = 5.0
MAX_ANSWER_BYTES = 16 * 1024
CLOCK_WARN_S = 10.0
"""The answer's own clock has whole seconds."""
RENEWAL_LATE_S = NODE_LIFE_S / 2 - 86_400.0
"""A certificate with less than this before it should have been renewed a day ago."""

LAYERS = ("mDNS", "TCP", "TLS", "clock", "certificate")


@dataclass(frozen=True)
class Known:
    """What is known of the other node before anything is tried."""

    node: NodeId
    name: str
    places: tuple[Address, ...] = ()
    """Of its nodes' port, as the running node knows them."""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What came of it."""

    findings: list[Finding]
    """One for each of `LAYERS`."""
    places: tuple[Address, ...]
    """Where the other node may be; those that take connections when there are any."""


async def examine_way(
    known: Known, identity: Identity, trust: Trust, *, state_dir: Path, multicast: bool = True
) -> Looked:
    """Try all layers, from the lowest."""
    found, mdns = await _listen(known, trust, state_dir, multicast=multicast)
    said = [(host, each.port) for each in found for host in each.addresses]
    places = tuple(each for each in dict.fromkeys((*said, *known.places)) if is_lan(each[0]))
    if not places:
        nowhere = Finding("TCP", "fail", f"no address of {known.name} is known", "name it in swarm.peers, if it is on")
        return Looked(_rest([mdns, nowhere], "there is no connection"), ())
    open_places, tcp = await _reach(known, places)
    if not open_places:
        return Looked(_rest([mdns, tcp], "there is no connection"), places)
    way = _Way(known, TlsContexts(identity, trust), identity, trust)
    proved = await way.prove(open_places)
    return Looked(_rest([mdns, tcp, *proved], "the layer before it fails"), tuple(open_places))


def _rest(findings: list[Finding], why: str) -> list[Finding]:
    return findings + [Finding(layer, "skip", why) for layer in LAYERS[len(findings) :]]


# ---- mDNS


async def _listen(
    known: Known, trust: Trust, state_dir: Path, *, multicast: bool
) -> tuple[tuple[Candidate, ...], Finding]:
    """What mDNS and learned addresses say of the node, best first, and the finding."""
    said = asyncio.Event()

    def changed(change: Change) -> None:
        if change.candidate.node_id == known.node and change.candidate.source == "mdns":
            said.set()

    interfaces = lan_interfaces()
    listens = multicast and bool(interfaces)
    discovery = Discovery(
        swarm_id=trust.swarm_id, state_dir=state_dir, on_change=changed, known=trust.is_member, multicast=listens
    )
    await discovery.start()
    try:
        if listens:
            try:
                async with asyncio.timeout(LISTEN_S):
                    await said.wait()
            except TimeoutError:
                pass
        found = discovery.candidates(known.node)
    finally:
        await discovery.close()
    heard = [each for each in found if each.source == "mdns"]
    return found, _mdns_finding(known, heard, multicast=multicast, interfaces=len(interfaces))


def _mdns_finding(known: Known, heard: Sequence[Candidate], *, multicast: bool, interfaces: int) -> Finding:
    if not multicast:
        return Finding("mDNS", "ok", "switched off here: swarm.multicast = false")
    if not interfaces:
        return Finding(
            "mDNS",
            "fail",
            "this machine has no network interface with an address of a LAN",
            "connect it to the network",
        )
    if not heard:
        return Finding(
            "mDNS",
            "warn",
            f"{known.name} does not announce itself within {LISTEN_S:g} s",
            "is it on? Else let multicast pass (UDP 5353) in firewalls, access points and between VLANs, or name its "
            "address in swarm.peers",
        )
    where = ", ".join(place_text(host, heard[0].port) for host in heard[0].addresses[:3])
    return Finding("mDNS", "ok", f"{known.name} announces itself at {where}")


# ---- TCP


async def _reach(known: Known, places: Sequence[Address]) -> tuple[list[Address], Finding]:
    tried = await asyncio.gather(*(why_no_connection(each) for each in places))
    there = [place for place, why in zip(places, tried, strict=True) if not why]
    if there:
        return there, Finding("TCP", "ok", f"{place_text(*there[0])} takes connections")
    host, port = places[0]
    why = tried[0]
    if why == "refused":
        to_do = (
            f"start it there: mycoswarm up; and see with mycoswarm nodes that it belongs to this swarm (port {port})"
        )
    elif why == "silent":
        to_do = f"is it on? Else let TCP port {port} pass in the firewalls between the two"
    else:
        to_do = f"is this machine in the same network as {host}?"
    said = {"refused": "refuses: nothing listens there", "silent": f"does not answer within {CONNECT_S:g} s"}
    found = "; ".join(
        f"{place_text(*place)} {said.get(reason, reason)}"
        for place, reason in list(zip(places, tried, strict=True))[:3]
    )
    return [], Finding("TCP", "fail", found, to_do)


async def why_no_connection(address: Address) -> str:
    """`refused`, `silent`, or what else is wrong; empty when somebody takes connections there."""
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"
    writer.transport.abort()
    return ""


# ---- TLS, clock, certificate


@dataclass(frozen=True)
class _Way:
    known: Known
    contexts: TlsContexts
    identity: Identity
    trust: Trust
    clock: Callable[[], float] = time.time

    async def prove(self, places: Sequence[Address]) -> list[Finding]:
        """From TLS on, at the first place that is the node's."""
        others = []
        for place in places:
            findings = await self._prove_at(place)
            if findings[-1].check != "certificate" or findings[-1].status != "fail" or len(places) == 1:
                return findings
            others.append(findings)
        return others[0]

    async def _prove_at(self, place: Address) -> list[Finding]:
        where = place_text(*place)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(
                    *place, ssl=self.contexts.client(), server_hostname=self.known.node
                )
        except ssl.SSLCertVerificationError as error:
            return await self._mistrusted(place, error)
        except TimeoutError:
            found = f"{where} takes the connection and says nothing within {CONNECT_S:g} s"
            return [Finding("TLS", "fail", found, "the program there hangs: end it and start it anew")]
        except OSError as error:  # ssl.SSLError too
            said = str(getattr(error, "reason", None) or error.strerror or error).lower().replace("_", " ")
            found = f"{where} speaks no TLS 1.3 with this node: {said}"
            return [Finding("TLS", "fail", found, "another program has that port: end it, or give swarm.port another")]
        try:
            secure = writer.get_extra_info("ssl_object").version()
            certificate = peer_of(writer.transport).certificate
            status, date = await self._ask(reader, writer)
        finally:
            writer.transport.abort()
        tls = Finding("TLS", "ok", f"{secure} with {where}")
        if status == 0:
            return [tls, *self._unwanted()]
        clock = self._clocks(date)
        if status == 403:
            to_do = "its clock or the one here is wrong; if neither is: start the node here, which renews it"
            found = f"{self.known.name} says that the certificate of this machine has ended"
            return [tls, clock, Finding("certificate", "fail", found, to_do)]
        return [tls, clock, self._good(certificate)]

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str]:
        """Status and date of the answer to a request; 0 when the connection ends without one."""
        writer.write(f"GET {WARM_PATH} HTTP/1.1\r\nHost: {self.known.node}\r\nConnection: close\r\n\r\n".encode())
        try:
            async with asyncio.timeout(ANSWER_S):
                head = (await reader.read(MAX_ANSWER_BYTES)).partition(b"\r\n\r\n")[0].decode("latin-1")
        except (OSError, TimeoutError):
            return 0, ""
        lines = head.split("\r\n")
        words = lines[0].split()
        date = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("date:")), "")
        return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), date

    def _clocks(self, date: str) -> Finding:
        try:
            ahead_s = parsedate_to_datetime(date).timestamp() - self.clock()
        except (TypeError, ValueError):
            return Finding("clock", "warn", f"{self.known.name} does not say what time it is", "give both one version")
        if abs(ahead_s) < CLOCK_WARN_S:
            return Finding("clock", "ok", "the clocks of both agree")
        found = (
            f"the clock of {self.known.name} is {_span(ahead_s)} {'ahead of' if ahead_s > 0 else 'behind'} this one's"
        )
        to_do = "set the wrong one (timedatectl set-ntp true): certificates and timers go by it"
        return Finding("clock", "warn", found, to_do)

    def _good(self, certificate: NodeCertificate) -> Finding:
        left_s = certificate.not_after - self.clock()
        found = f"{self.known.name} proved itself; its certificate has {_span(left_s)} left, and ours is accepted"
        if left_s < RENEWAL_LATE_S:
            to_do = "it should have been renewed: is a machine on that admits others? mycoswarm nodes shows which do"
            return Finding("certificate", "warn", found, to_do)
        return Finding("certificate", "ok", found)

    def _unwanted(self) -> list[Finding]:
        """The other node ended the connection once it had seen who this one is."""
        clock = Finding("clock", "skip", f"{self.known.name} says nothing to this machine")
        own = self.identity.certificate
        standing = judge(own, self.trust, self.clock()) if own else "expired"
        if standing not in ("admitted", "renew_only"):
            found = f"{self.known.name} refuses the certificate of this machine: {REASONS[standing]}"
        else:
            found = f"{self.known.name} refuses this machine, whose certificate looks right from here"
        to_do = (
            f"the log of {self.known.name} says why. Revoked: mycoswarm leave here, and join with a new invitation; "
            "not valid yet: its clock is far behind"
        )
        return [clock, Finding("certificate", "fail", found, to_do)]

    async def _mistrusted(self, place: Address, error: ssl.SSLCertVerificationError) -> list[Finding]:
        """This node does not accept what the other one showed."""
        layer, reason, _ = explain_certificate(error)
        shown = await _shown_at(place)
        tls = Finding("TLS", "ok", f"{place_text(*place)} speaks TLS 1.3")
        if layer == "clock" and shown is not None:
            return [tls, *self._of_another_time(shown)]
        clock = Finding("clock", "skip", "the layer after it fails first")
        if shown is None:
            found = f"what answers at {place_text(*place)} is no node of a swarm: {reason}"
            return [tls, clock, Finding("certificate", "fail", found, "another program has that address and port")]
        if shown.swarm_id != self.trust.swarm_id:
            found = f"what answers at {place_text(*place)} belongs to another swarm ({shown.swarm_id})"
            to_do = f"let it leave that swarm and join this one, if it is meant to be {self.known.name}"
        elif shown.node_id != self.known.node:
            found = f"another node of this swarm ({shown.node_id}) answers at {place_text(*place)}"
            to_do = f"{self.known.name} has another address now: switch it on, and it is found again"
        elif self.trust.is_revoked(shown.node_id):
            found, to_do = f"{self.known.name} was revoked", "let it leave, and join with a new invitation"
        else:
            found = f"{self.known.name} shows a certificate that this machine does not believe: {reason}"
            to_do = "its enroller may be unknown here: start this node beside one that knows it, and wait a moment"
        return [tls, clock, Finding("certificate", "fail", found, to_do)]

    def _of_another_time(self, shown: NodeCertificate) -> list[Finding]:
        now = self.clock()
        own = self.identity.certificate
        here = f"by the clock here it is {_date(now)}"
        off = own is not None and not own.not_before <= now < own.not_after
        valid = (
            f"the certificate of {self.known.name} counts from {_date(shown.not_before)} to {_date(shown.not_after)}"
        )
        if off:
            found = f"{valid}, and neither it nor the one of this machine counts now: {here}"
            return [Finding("clock", "fail", found, "set the clock of this machine: timedatectl set-ntp true")]
        if now < shown.not_before:
            found = f"{valid}, and {here}"
            return [Finding("clock", "fail", found, "set the wrong clock: timedatectl set-ntp true")]
        to_do = (
            f"if that date is right, {self.known.name} could not renew it: start it while a machine is on that admits "
            "others; else set the clock here"
        )
        clock = Finding("clock", "ok", here)
        return [clock, Finding("certificate", "fail", valid, to_do)]


async def _shown_at(place: Address) -> NodeCertificate | None:
    """The certificate that is shown there, unproved; None when it is none of ours."""
    context = joining_context()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(*place, ssl=context, server_hostname="any")
        writer.transport.abort()
        return parse_node_certificate(context.server_certificate or b"")
    except (OSError, TimeoutError, BadCertificate):
        return None


def _span(seconds: float) -> str:
    """A length of time, for people."""
    seconds = abs(seconds)
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= 0.95 * unit:  # 59 minutes and 58 seconds are an hour
            count = round(seconds / unit)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a second"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
