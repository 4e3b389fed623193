"""A broker that the home already has, with TLS and a password."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from swarm.broker import Broker, find_mosquitto, parse_broker_url
from swarm.bus import Bus
from swarm.child import end_child, start_child
from swarm.config import BusSection
from swarm.errors import BusError
from tests.buses import background, free_port, until
from tests.swarm.bus_hubs import hub_before, on_the_bus
from tests.swarm.enrolled import founder, member

needs_passwords = pytest.mark.skipif(
    shutil.which("mosquitto_passwd") is None, reason="mosquitto_passwd is not installed (Debian: mosquitto)"
)


def test_a_url_with_tls_takes_its_own_usual_port_and_needs_an_authority_that_can_be_read(tmp_path: Path) -> None:
    address = parse_broker_url("mqtts://me:word@nas")
    assert (address.host, address.port, address.username, address.password) == ("nas", 8883, "me", "word")
    assert address.tls is not None
    assert address.tls().verify_mode is ssl.CERT_REQUIRED
    missing = parse_broker_url("mqtts://nas:1", authority=str(tmp_path / "none.pem"))
    assert missing.tls is not None
    with pytest.raises(BusError, match=r"none\.pem cannot be read"):
        missing.tls()
    with pytest.raises(BusError, match="asks for no TLS"):
        parse_broker_url("mqtt://nas", authority="x.pem")


@needs_passwords
def test_the_nodes_bus_and_a_hubs_port_log_in_to_it_by_tls(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with existing_broker(tmp_path) as port:
            broker = await configured(f"mqtts://home:secret@localhost:{port}", tmp_path / "ca.pem")
            own = Bus(broker.address, "hub")
            hub = founder(tmp_path / "hub")
            attic = await member(hub, tmp_path / "attic")
            heard: list[bytes] = []
            own.subscribe("home/lamp", lambda _, payload: heard.append(payload))
            async with background(own.run()), hub_before(hub, lambda: broker.address) as front:
                await own.wait_subscribed()
                async with on_the_bus(attic, front) as bus:
                    await bus.wait_connected()
                    await bus.publish("home/lamp", "on")
                    await until(lambda: heard == [b"on"])

    asyncio.run(scenario())


@needs_passwords
def test_it_is_refused_when_another_signed_its_certificate_and_refuses_a_wrong_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with existing_broker(tmp_path) as port:
            new_certificate(tmp_path, "other", "other.test")
            for url, authority, why in (
                (f"mqtts://home:secret@localhost:{port}", "other.pem", "CERTIFICATE_VERIFY_FAILED"),
                (f"mqtts://home:secret@127.0.0.1:{port}", "ca.pem", "CERTIFICATE_VERIFY_FAILED"),
                (f"mqtts://home:wrong@localhost:{port}", "ca.pem", "Not authorized"),
            ):
                caplog.clear()
                bus = Bus((await configured(url, tmp_path / authority)).address, "hub")
                async with background(bus.run()):
                    await until(lambda: why in caplog.text)  # noqa: B023
                    assert not bus.connected

    asyncio.run(scenario())


async def configured(url: str, authority: Path) -> Broker:
    broker = Broker(BusSection(broker=url, authority=str(authority)), authority.parent)
    await broker.start()
    return broker


@contextlib.asynccontextmanager
async def existing_broker(folder: Path) -> AsyncIterator[int]:
    """Mosquitto as a person sets it up: TLS for `localhost`, user `home` with `secret`."""
    new_certificate(folder, "ca", "localhost")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "home", "secret"], check=True)  # noqa: ASYNC221
    port, program = free_port(), find_mosquitto()
    assert program is not None
    (folder / "existing.conf").write_text(
        f"listener {port} 127.0.0.1\ncertfile {folder}/ca.pem\nkeyfile {folder}/ca.key\n"
        f"password_file {folder}/users\nallow_anonymous false\nuser root\n"
    )
    process = await start_child([program, "-c", str(folder / "existing.conf")])
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.01)
        yield port
    finally:
        await end_child(process)


def new_certificate(folder: Path, name: str, host: str) -> None:
    """Signed by itself: `name.pem`, `name.key`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
