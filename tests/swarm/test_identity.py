from __future__ import annotations

import asyncio
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from swarm.certificates import (
    BACKDATED_S,
    NODE_LIFE_S,
    RENEWABLE_AFTER_END_S,
    BadCertificate,
    bundle_of,
    id_of,
    is_node_id,
    is_signed,
    new_authority,
    parse_authority,
    parse_bundle,
    parse_node_certificate,
    public_der,
    renewal_due,
)
from swarm.errors import MycoswarmError, StorageError
from swarm.identity import forget_identity, open_identity
from swarm.trust import Standing, judge
from tests.swarm.held_trust import create_trust

NOW = 1_800_000_000.0
ANY = Ed25519PrivateKey.generate()


def new_key() -> bytes:
    return public_der(Ed25519PrivateKey.generate().public_key())


def forged(
    signer: Ed25519PrivateKey,
    *,
    uri: str,
    name: str,
    ca: bool = False,
    key: Ed25519PublicKey | None = None,
    ecdsa: bool = False,
) -> str:
    """What somebody with a key of an authority, or with any key, can make."""
    other = ec.generate_private_key(ec.SECP256R1()).public_key() if ecdsa else Ed25519PrivateKey.generate().public_key()
    start = datetime.fromtimestamp(NOW, UTC)
    common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(common_name)
        .issuer_name(common_name)
        .public_key(key or other)
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(signer, None)
        .public_bytes(Encoding.PEM)
        .decode()
    )


def test_node_keeps_its_key_and_certificate_over_restarts_and_its_files_to_itself(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "identity"
    first = open_identity(folder)
    first.found_swarm(now=time.time())
    again = open_identity(folder)
    assert again.node_id == first.node_id and is_node_id(again.node_id)
    assert again.certificate == first.certificate is not None
    assert again.authority is not None and first.authority is not None
    assert again.authority.certificate == first.authority.certificate
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {"node.key", "node.crt", "authority.key", "authority.crt"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_key_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    open_identity(tmp_path)
    (tmp_path / "node.key").chmod(0o644)
    open_identity(tmp_path)
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600


def test_node_that_forgets_itself_is_another_node_afterwards(tmp_path: Path) -> None:
    before = open_identity(tmp_path)
    before.found_swarm(now=NOW)
    forget_identity(tmp_path)
    after = open_identity(tmp_path)
    assert after.node_id != before.node_id and after.certificate is None and after.authority is None
    forget_identity(tmp_path / "never was")


@pytest.mark.parametrize("name", ["node.key", "node.crt"])
def test_damaged_file_is_named_and_never_replaced(tmp_path: Path, name: str) -> None:
    open_identity(tmp_path).found_swarm(now=NOW)
    (tmp_path / name).write_bytes(b"\xff\x00 not PEM")
    with pytest.raises((StorageError, BadCertificate), match=name):
        open_identity(tmp_path)
    assert (tmp_path / name).read_bytes() == b"\xff\x00 not PEM"


def test_authority_whose_two_files_do_not_belong_together_is_none(tmp_path: Path) -> None:
    identity = open_identity(tmp_path)
    identity.found_swarm(now=NOW)
    (tmp_path / "authority.crt").write_text(new_authority(identity.node_id, None, now=NOW).certificate.pem)
    assert open_identity(tmp_path).authority is None


def test_certificate_of_another_key_is_not_installed(tmp_path: Path) -> None:
    identity = open_identity(tmp_path)
    authority = identity.found_swarm(now=NOW)
    with pytest.raises(BadCertificate, match="this node is"):
        identity.install(authority.issue(new_key(), now=NOW))


def test_node_founds_one_swarm_only_and_admits_only_once_it_belongs_to_one(tmp_path: Path) -> None:
    identity = open_identity(tmp_path)
    with pytest.raises(MycoswarmError, match="no swarm"):
        identity.become_enroller(now=NOW)
    authority = identity.found_swarm(now=NOW)
    assert authority.certificate.swarm_id == authority.certificate.authority_id
    assert identity.become_enroller(now=NOW) is authority
    with pytest.raises(MycoswarmError, match="belongs to the swarm"):
        identity.found_swarm(now=NOW)


def test_certificate_says_what_its_key_and_authority_are() -> None:
    authority = new_authority("a" * 26, "b" * 26, now=NOW)
    key = new_key()
    certificate = authority.issue(key, now=NOW)
    assert certificate == parse_node_certificate(certificate.pem)
    assert (certificate.node_id, certificate.swarm_id) == (id_of(key), "b" * 26)
    assert certificate.issuer == authority.certificate.authority_id and authority.certificate.enroller == "a" * 26
    assert (certificate.not_before, certificate.not_after) == (NOW - BACKDATED_S, NOW + NODE_LIFE_S)
    assert authority.certificate.issued(certificate)
    assert not new_authority("a" * 26, "b" * 26, now=NOW).certificate.issued(certificate)


def test_certificate_that_names_another_node_than_its_key_is_no_certificate_of_ours() -> None:
    with pytest.raises(BadCertificate, match="another node's key"):
        parse_node_certificate(forged(ANY, uri=f"mycoswarm://{'b' * 26}/{'c' * 26}", name="x"))


@pytest.mark.parametrize("uri", ["https://example.org", "mycoswarm://short/name", f"mycoswarm://{'b' * 26}/{'c' * 27}"])
def test_certificate_without_our_name_is_none_of_ours(uri: str) -> None:
    with pytest.raises(BadCertificate, match="mycoswarm:// name"):
        parse_node_certificate(forged(ANY, uri=uri, name="x"))


def test_certificate_of_another_kind_of_key_is_none_of_ours() -> None:
    with pytest.raises(BadCertificate, match="Ed25519"):
        parse_node_certificate(forged(ANY, uri=f"mycoswarm://{'b' * 26}/{'c' * 26}", name="x", ecdsa=True))


def test_node_certificate_is_no_authority_and_an_authority_no_node() -> None:
    authority = new_authority("a" * 26, None, now=NOW)
    with pytest.raises(BadCertificate, match="no authority's"):
        parse_authority(authority.issue(new_key(), now=NOW).pem)
    key = ANY.public_key()
    uri = f"mycoswarm://{'b' * 26}/{id_of(public_der(key))}"
    assert parse_node_certificate(forged(ANY, uri=uri, name="x", key=key))
    with pytest.raises(BadCertificate, match="not a node's"):
        parse_node_certificate(forged(ANY, uri=uri, name="x", key=key, ca=True))


def test_authority_that_takes_another_ones_name_or_is_not_signed_by_itself_is_refused() -> None:
    key = ANY.public_key()
    uri, own_name = f"mycoswarm://{'b' * 26}/{'a' * 26}", id_of(public_der(key))
    assert parse_authority(forged(ANY, uri=uri, name=own_name, key=key, ca=True)).authority_id == own_name
    with pytest.raises(BadCertificate, match="another's name"):
        parse_authority(forged(ANY, uri=uri, name="c" * 26, key=key, ca=True))
    with pytest.raises(BadCertificate, match="not signed by it"):
        parse_authority(forged(Ed25519PrivateKey.generate(), uri=uri, name=own_name, key=key, ca=True))


@pytest.mark.parametrize("data", ["", "-----BEGIN CERTIFICATE-----\n", "x" * 9000, b"\x30\x82", "\u00e4", b"0" * 9000])
def test_what_is_no_certificate_is_refused_and_not_crashed_on(data: str | bytes) -> None:
    with pytest.raises(BadCertificate):
        parse_node_certificate(data)
    assert not isinstance(data, str) or parse_bundle(data) == ()


def test_bundle_of_too_many_authorities_is_refused() -> None:
    pem = new_authority("a" * 26, None, now=NOW).certificate.pem
    assert len(parse_bundle(pem * 64)) == 64
    with pytest.raises(BadCertificate, match="65"):
        parse_bundle(pem * 65)


def test_signature_is_checked_against_key_and_data(tmp_path: Path) -> None:
    identity = open_identity(tmp_path)
    signature = identity.sign(b"for this: text")
    assert is_signed(identity.public_key, signature, b"for this: text")
    assert not is_signed(identity.public_key, signature, b"for this: other")
    assert not is_signed(new_key(), signature, b"for this: text")
    assert not is_signed(b"no key", signature, b"for this: text")


@pytest.mark.parametrize(
    ("age_s", "due"), [(0, False), (NODE_LIFE_S / 2 - 1, False), (NODE_LIFE_S / 2, True), (2 * NODE_LIFE_S, True)]
)
def test_certificate_is_renewed_from_half_of_its_life_on(age_s: float, due: bool) -> None:
    authority = new_authority("a" * 26, None, now=NOW)
    certificate = authority.issue(new_key(), now=NOW)
    assert renewal_due(certificate, bundle_of((authority.certificate,)), NOW + age_s) is due


def test_certificate_whose_authority_retired_is_renewed_at_once() -> None:
    authority = new_authority("a" * 26, None, now=NOW)
    certificate = authority.issue(new_key(), now=NOW)
    assert renewal_due(certificate, bundle_of((), (authority.certificate,)), NOW)


@pytest.mark.parametrize(
    ("age_s", "known", "expected"),
    [
        (0.0, False, "admitted"),
        (NODE_LIFE_S - 1, False, "admitted"),
        (NODE_LIFE_S, False, "expired"),
        (NODE_LIFE_S, True, "renew_only"),
        (NODE_LIFE_S + RENEWABLE_AFTER_END_S, True, "expired"),
        (-BACKDATED_S, False, "admitted"),
        (-BACKDATED_S - 1, True, "not_yet_valid"),
    ],
)
def test_standing_over_the_life_of_a_certificate(tmp_path: Path, age_s: float, known: bool, expected: Standing) -> None:
    authority = new_authority("a" * 26, None, now=NOW)
    trust = create_trust(tmp_path, authority.certificate.swarm_id, (authority.certificate,))
    certificate = authority.issue(new_key(), now=NOW)
    if known:
        asyncio.run(trust.admit(certificate.node_id, "attic"))
    assert judge(certificate, trust, NOW + age_s) == expected
