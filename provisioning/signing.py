"""Who builds images signs them, and their updates: one key, made at the first build, kept in the person's own folder.

The certificate is in each image as the only one whose updates it takes (RAUC's keyring); what a person downloads beside
an image is signed with it too. The form of both is CMS (RFC 5652), which openssl checks without us::

    openssl cms -verify -binary -inform PEM -CAfile signer.pem -content SHA256SUMS -in SHA256SUMS.sig -out /dev/null

Whoever loses the key can make no update that existing nodes take; whoever steals it can. Keep a copy of the folder.
"""

from __future__ import annotations

import datetime
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import MycoswarmError
from swarm.private_file import write_private

KEY, CERTIFICATE = "key.pem", "certificate.pem"
SINCE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
UNTIL = datetime.datetime(2090, 1, 1, tzinfo=datetime.UTC)
"""A node without a clock must be able to check, and an image must not end by itself."""


@dataclass(frozen=True)
class Signer:
    """Key and certificate of the person who builds, as PEM files."""

    folder: Path

    @property
    def key(self) -> Path:
        """The private key, readable for its owner only."""
        return self.folder / KEY

    @property
    def certificate(self) -> Path:
        """What nodes get."""
        return self.folder / CERTIFICATE


def keys_folder() -> Path:
    """`~/.local/share/mycoswarm/keys`, or where `XDG_DATA_HOME` says."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "mycoswarm" / "keys"


def signer(folder: Path | None = None) -> Signer:
    """The person's signer, made now if there is none. Raises `MycoswarmError` for a folder with a half of it."""
    found = Signer(folder or keys_folder())
    have = [path.exists() for path in (found.key, found.certificate)]
    if all(have):
        return found
    if any(have):
        raise MycoswarmError(
            f"{found.folder} has only one of {KEY} and {CERTIFICATE}",
            hint="put the other back from your copy, or move this one away to begin with a new key",
        )
    found.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, certificate = _new()
    write_private(found.key, key)
    write_private(found.certificate, certificate)
    return found


def sign(path: Path, by: Signer) -> Path:
    """Writes `PATH.sig` beside the file: a detached signature. Raises `MycoswarmError`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import pkcs7

    try:
        key = serialization.load_pem_private_key(by.key.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(by.certificate.read_bytes())
    except (ValueError, TypeError) as error:
        raise MycoswarmError(f"the key in {by.folder} cannot be used: {error}") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise MycoswarmError(f"the key in {by.folder} is of a kind that is not used here", hint="it must be on a curve")
    made = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(path.read_bytes())
        .add_signer(certificate, key, hashes.SHA256())
        .sign(
            serialization.Encoding.PEM,
            [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities],
        )
    )
    signature = path.with_name(f"{path.name}.sig")
    signature.write_bytes(made)
    return signature


def _new() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"mycoswarm updates {secrets.token_hex(4)}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(SINCE)
        .not_valid_after(UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
