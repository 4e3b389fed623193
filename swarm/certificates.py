"""What nodes prove themselves with: node ids, enrollers' certificates, node certificates. Pure: times are arguments.

A node's identity is its Ed25519 key; everything else is said about that key. An *enroller* has an authority (CA) of its
own, a second key that never leaves its machine and signs node certificates. Names inside certificates are derived from
keys, so a certificate cannot claim an id that its key does not have:

- node id, authority id: first 26 characters of the lower-case base32 of SHA-256 over the SubjectPublicKeyInfo in DER
  (130 bits); the swarm's id is the founding authority's id
- subject: CN = the id of the certified key; issuer: CN = the id of the authority's key
- SAN: one URI `mycoswarm://<swarm id>/<node id>`; in an authority's certificate the node id is the enroller's

Times (RFC 5280 validity). A node certificate ends `NODE_LIFE_S` after it was issued and is renewed at half of that, so
a peer's clock may be three days ahead. It begins `BACKDATED_S` *before* it was issued: a small board has no clock of
its own and wakes with the time of its last shutdown or of its image; it must be able to trust its peers before it hears
the right time, and a certificate that begins earlier gives nobody anything. An authority's certificate has no end
(99991231235959Z, RFC 5280 4.1.2.5): it is trusted for being in the bundle and removed from there.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from swarm.errors import MycoswarmError

NODE_LIFE_S = 7 * 86_400.0
RENEW_BEFORE_END_S = NODE_LIFE_S / 2
BACKDATED_S = 365 * 86_400.0
RENEWABLE_AFTER_END_S = 365 * 86_400.0
"""A member that was off for longer than its certificate's life may still renew it, for this long, and read in the
ledger at whom; nothing else."""
MAX_CERTIFICATE_BYTES = 8 * 1024
"""One certificate in PEM; ours have 1 kB."""
MAX_AUTHORITIES = 64
"""In one bundle."""

NodeId: TypeAlias = str
"""26 characters of a to z and 2 to 7."""

_ID = re.compile(r"[a-z2-7]{26}")
_URI = re.compile(r"mycoswarm://([a-z2-7]{26})/([a-z2-7]{26})")
_NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class BadCertificate(MycoswarmError):
    """A certificate that is none of ours: says which one and what is wrong with it."""


def is_node_id(text: str) -> bool:
    """Whether `text` has the form of a node id."""
    return _ID.fullmatch(text) is not None


def public_der(key: Ed25519PublicKey) -> bytes:
    """The SubjectPublicKeyInfo in DER, 44 bytes: how a public key travels."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def id_of(public_key: bytes) -> NodeId:
    """The id of the key whose SubjectPublicKeyInfo in DER is `public_key`."""
    return base64.b32encode(hashlib.sha256(public_key).digest())[:26].decode().lower()


def load_public_key(public_key: bytes) -> Ed25519PublicKey:
    """The key; raises `BadCertificate` when `public_key` is no Ed25519 SubjectPublicKeyInfo in DER."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, TypeError) as error:
        raise BadCertificate(f"not a public key: {error}") from error
    except UnsupportedAlgorithm as error:
        raise BadCertificate(f"not a public key that can be used: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadCertificate("not an Ed25519 public key")
    return key


def is_signed(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` was made by the owner of `public_key` (DER)."""
    try:
        load_public_key(public_key).verify(signature, data)
    except (BadCertificate, InvalidSignature):
        return False
    return True


# ---- node certificates


@dataclass(frozen=True)
class NodeCertificate:
    """A node certificate whose form and names are in order. Who issued it is only claimed, until it is verified."""

    pem: str = field(repr=False)
    node_id: NodeId
    swarm_id: str
    issuer: str
    """Id of the authority."""
    not_before: float
    """Seconds since 1970."""
    not_after: float
    public_key: bytes = field(repr=False)
    """SubjectPublicKeyInfo in DER."""


def parse_node_certificate(data: str | bytes) -> NodeCertificate:
    """The certificate in PEM (text) or DER (bytes). Raises `BadCertificate`."""
    certificate = _load(data)
    public_key, swarm_id, node_id = _names(certificate)
    if id_of(public_key) != node_id:
        raise BadCertificate(f"a certificate says that it is of the node {node_id}, but has another node's key")
    if _is_authority(certificate):
        raise BadCertificate(f"the certificate of {node_id} is an authority's, not a node's")
    return NodeCertificate(
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        node_id=node_id,
        swarm_id=swarm_id,
        issuer=_common_name(certificate.issuer),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        public_key=public_key,
    )


def renewal_due(certificate: NodeCertificate, bundle: Bundle, now: float) -> bool:
    """Whether to get a new one: at half of its life, or when its issuer is an authority no more."""
    return now >= certificate.not_after - RENEW_BEFORE_END_S or certificate.issuer not in bundle.current


# ---- authorities


@dataclass(frozen=True)
class AuthorityCertificate:
    """An enroller's certificate: with it in the bundle, the nodes that it admits are admitted."""

    pem: str = field(repr=False)
    authority_id: str
    swarm_id: str
    enroller: NodeId
    """The node that has the authority's key."""
    pin: bytes = field(repr=False)
    """SHA-256 over the SubjectPublicKeyInfo: what a join token names it by."""

    def issued(self, certificate: NodeCertificate) -> bool:
        """Whether the signature of `certificate` is this authority's."""
        return _is_issued_by(_load(certificate.pem), _load(self.pem))


def parse_authority(pem: str) -> AuthorityCertificate:
    """An authority's certificate in PEM, signed by itself. Raises `BadCertificate`."""
    certificate = _load(pem)
    public_key, swarm_id, enroller = _names(certificate)
    authority_id = id_of(public_key)
    if not _is_authority(certificate):
        raise BadCertificate(f"the certificate of {_common_name(certificate.subject):.40} is no authority's")
    if not (_common_name(certificate.subject) == _common_name(certificate.issuer) == authority_id):
        raise BadCertificate(f"the certificate of the authority {authority_id} carries another's name")
    if not _is_issued_by(certificate, certificate):
        raise BadCertificate(f"the certificate of the authority {authority_id} is not signed by it")
    return AuthorityCertificate(
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        authority_id=authority_id,
        swarm_id=swarm_id,
        enroller=enroller,
        pin=hashlib.sha256(public_key).digest(),
    )


@dataclass(frozen=True)
class Authority:
    """The right to admit nodes: an enroller's own key and its certificate."""

    key: Ed25519PrivateKey = field(repr=False)
    certificate: AuthorityCertificate

    def issue(self, public_key: bytes, *, now: float, life_s: float = NODE_LIFE_S) -> NodeCertificate:
        """A node certificate for the owner of `public_key` (DER), that ends `life_s` after `now`.

        Raises `BadCertificate` for a key of another kind.
        """
        key, node_id, swarm_id = load_public_key(public_key), id_of(public_key), self.certificate.swarm_id
        certificate = (
            _begin(node_id, self.certificate.authority_id, key, self.key.public_key(), swarm_id, node_id)
            .not_valid_before(datetime.fromtimestamp(min(now, now + life_s) - BACKDATED_S, UTC))
            .not_valid_after(datetime.fromtimestamp(now + life_s, UTC))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self.key, algorithm=None)
        )
        return parse_node_certificate(certificate.public_bytes(Encoding.PEM).decode())


def new_authority(enroller: NodeId, swarm_id: str | None, *, now: float) -> Authority:
    """A fresh authority of the node `enroller` in the swarm; None founds a swarm, whose id is then the authority's."""
    key = Ed25519PrivateKey.generate()
    public_key = key.public_key()
    authority_id = id_of(public_der(public_key))
    certificate = (
        _begin(authority_id, authority_id, public_key, public_key, swarm_id or authority_id, enroller)
        .not_valid_before(datetime.fromtimestamp(now, UTC) - timedelta(seconds=BACKDATED_S))
        .not_valid_after(_NO_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, algorithm=None)
    )
    return Authority(key, parse_authority(certificate.public_bytes(Encoding.PEM).decode()))


@dataclass(frozen=True)
class Bundle:
    """The authorities of a swarm, by id."""

    current: Mapping[str, AuthorityCertificate]
    """Whoever they admitted is admitted."""
    retired: Mapping[str, AuthorityCertificate] = field(default_factory=lambda: MappingProxyType({}))
    """They admit nobody any more; the members that they admitted before remain, and renew with another."""

    @cached_property
    def pem(self) -> str:
        """All certificates, as OpenSSL reads them."""
        return "".join(each.pem for each in (*self.current.values(), *self.retired.values()))


def bundle_of(current: tuple[AuthorityCertificate, ...], retired: tuple[AuthorityCertificate, ...] = ()) -> Bundle:
    """The bundle; an authority that is in both is retired."""
    gone = {each.authority_id: each for each in retired}
    return Bundle({each.authority_id: each for each in current if each.authority_id not in gone}, gone)


def parse_bundle(pem: str) -> tuple[AuthorityCertificate, ...]:
    """All authorities in a PEM text, at most `MAX_AUTHORITIES`. Raises `BadCertificate`."""
    parts = re.findall(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----", pem)
    if len(parts) > MAX_AUTHORITIES:
        raise BadCertificate(f"{len(parts)} authorities in one bundle; more than {MAX_AUTHORITIES} are not read")
    return tuple(parse_authority(part) for part in parts)


# ---- X.509


def _begin(
    subject: str, issuer: str, key: Ed25519PublicKey, issuer_key: Ed25519PublicKey, swarm_id: str, node_id: str
) -> x509.CertificateBuilder:
    uri = x509.UniformResourceIdentifier(f"mycoswarm://{swarm_id}/{node_id}")
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load(data: str | bytes) -> x509.Certificate:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise BadCertificate(f"a certificate of {len(data)} bytes; more than {MAX_CERTIFICATE_BYTES} are not read")
    try:
        if isinstance(data, str):
            return x509.load_pem_x509_certificate(data.encode("ascii"))
        return x509.load_der_x509_certificate(data)
    except ValueError as error:  # UnicodeEncodeError too
        raise BadCertificate(f"not a certificate: {error}") from error


def _names(certificate: x509.Certificate) -> tuple[bytes, str, str]:
    """Public key in DER, swarm id, node id."""
    try:
        key = certificate.public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise BadCertificate("a certificate without a mycoswarm:// name") from error
    except (ValueError, x509.DuplicateExtension) as error:
        raise BadCertificate(f"a certificate that cannot be read: {error}") from error
    except UnsupportedAlgorithm as error:
        raise BadCertificate(f"a certificate with a key of another kind: {error}") from error
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    found = _URI.fullmatch(uris[0]) if len(uris) == 1 else None
    if found is None:
        raise BadCertificate("a certificate without one mycoswarm:// name")
    if not isinstance(key, Ed25519PublicKey):
        raise BadCertificate("a certificate whose key is no Ed25519 key")
    return public_der(key), found.group(1), found.group(2)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _common_name(name: x509.Name) -> str:
    values = [each.value for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(values[0]) if len(values) == 1 else ""


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
