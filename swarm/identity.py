"""Who this node is: its key, its certificate, its authority if it is an enroller; files in one folder.

::

    identity/node.key          Ed25519 private key (PKCS#8, PEM); made once, never replaced
    identity/node.crt          node certificate; there once the node belongs to a swarm
    identity/authority.key     private key of the authority; only on an enroller
    identity/authority.crt
    identity/enrolment.crt      what the enrolment port shows: of this node's key, always signed by its own authority

All are private to the node's user and replaced whole (`swarm.private_file`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from swarm.certificates import (
    Authority,
    BadCertificate,
    NodeCertificate,
    NodeId,
    id_of,
    new_authority,
    parse_authority,
    parse_node_certificate,
    public_der,
)
from swarm.errors import MycoswarmError, StorageError
from swarm.private_file import make_private_folder, read_private, write_private

FOLDER = "identity"
"""Below the state folder."""
_AGAIN = "let the node join again: mycoswarm join"


class Identity:
    """This node. Reading is cheap; what changes it writes to disk and waits for it."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey) -> None:
        """See `open_identity`."""
        self.folder = folder
        self._key = key
        self.public_key = public_der(key.public_key())
        """SubjectPublicKeyInfo in DER."""
        self.node_id: NodeId = id_of(self.public_key)
        self._certificate: NodeCertificate | None = None
        self._authority: Authority | None = None

    @property
    def certificate(self) -> NodeCertificate | None:
        """What it shows to other nodes; None while it belongs to no swarm."""
        return self._certificate

    @property
    def authority(self) -> Authority | None:
        """Its right to admit nodes; None when it is no enroller."""
        return self._authority

    @property
    def key_path(self) -> Path:
        """The private key, for OpenSSL."""
        return self.folder / "node.key"

    @property
    def enrolment_path(self) -> Path:
        """The certificate that `renew_enrolment` made, for OpenSSL."""
        return self.folder / "enrolment.crt"

    @property
    def certificate_path(self) -> Path:
        """The certificate, for OpenSSL."""
        return self.folder / "node.crt"

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature of the node, 64 bytes. Begin `data` with what it is for, so it can be nothing else."""
        return self._key.sign(data)

    def install(self, certificate: NodeCertificate) -> None:
        """Show this certificate from now on. Raises `BadCertificate` when it is of another key, `StorageError`."""
        if certificate.public_key != self.public_key:
            raise BadCertificate(f"the certificate is of {certificate.node_id}, and this node is {self.node_id}")
        write_private(self.certificate_path, certificate.pem.encode())
        self._certificate = certificate

    def found_swarm(self, *, now: float) -> Authority:
        """Begin a swarm with this node as its first enroller. Raises `MycoswarmError` if it belongs to one."""
        if self._certificate is not None:
            raise MycoswarmError(
                f"this node belongs to the swarm {self._certificate.swarm_id}", hint="leave it first: mycoswarm leave"
            )
        return self._become(new_authority(self.node_id, None, now=now), now=now)

    def become_enroller(self, *, now: float) -> Authority:
        """The node's authority, made if it has none; others honour it once it is in their bundle.

        Raises `MycoswarmError` if the node belongs to no swarm.
        """
        if self._certificate is None:
            raise MycoswarmError("this node belongs to no swarm, so it cannot admit others", hint="mycoswarm join")
        return self._authority or self._become(new_authority(self.node_id, self._certificate.swarm_id, now=now))

    def renew_enrolment(self, *, now: float) -> NodeCertificate:
        """A certificate for the enrolment port, in the file `enrolment_path`.

        An enroller's usual certificate may be from another one. Raises `MycoswarmError` when this node is none.
        """
        if self._authority is None:
            raise MycoswarmError("this node is no enroller", hint="only a hub that a person marked so admits others")
        certificate = self._authority.issue(self.public_key, now=now)
        write_private(self.enrolment_path, certificate.pem.encode())
        return certificate

    def _become(self, authority: Authority, *, now: float | None = None) -> Authority:
        write_private(self.folder / "authority.key", _private_pem(authority.key))
        write_private(self.folder / "authority.crt", authority.certificate.pem.encode())
        self._authority = authority
        if now is not None:
            self.install(authority.issue(self.public_key, now=now))
        return authority

    def _load(self) -> None:
        certificate = _read_text(self.certificate_path)
        if certificate is not None:
            self._certificate = _whole(certificate, self.certificate_path, self.public_key)
        pem, key = _read_text(self.folder / "authority.crt"), read_private(self.folder / "authority.key")
        if pem is not None and key is not None:  # a power cut between the two writes leaves no authority
            authority = Authority(_private_key(key, self.folder / "authority.key"), parse_authority(pem))
            if id_of(public_der(authority.key.public_key())) == authority.certificate.authority_id:
                self._authority = authority


def open_identity(folder: Path) -> Identity:
    """The identity kept in `folder`, with a fresh key if there is none. Raises `StorageError`, `BadCertificate`."""
    make_private_folder(folder)
    path = folder / "node.key"
    data = read_private(path)
    if data is None:
        key = Ed25519PrivateKey.generate()
        write_private(path, _private_pem(key))
    else:
        key = _private_key(data, path)
    identity = Identity(folder, key)
    identity._load()
    return identity


def forget_identity(folder: Path) -> None:
    """Leave for good: key, certificates, bundle, ledger. The next `open_identity` makes another node.

    A node that was revoked stays so under its old id, so the key goes too. Raises `StorageError`.
    """
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            try:
                path.unlink()
            except OSError as error:
                raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error


def _whole(pem: str, path: Path, public_key: bytes) -> NodeCertificate:
    try:
        certificate = parse_node_certificate(pem)
    except BadCertificate as error:
        raise BadCertificate(f"{path}: {error}", hint=f"remove it and {_AGAIN}") from error
    if certificate.public_key != public_key:
        raise BadCertificate(f"{path} is not of this node's key", hint=f"remove it and {_AGAIN}")
    return certificate


def _read_text(path: Path) -> str | None:
    data = read_private(path)
    return None if data is None else data.decode("ascii", "replace")


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private_key(data: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{path} holds no key that can be read: {error}", hint=f"restore it, or move the folder away and {_AGAIN}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StorageError(f"{path} holds no Ed25519 key", hint=f"move the folder away and {_AGAIN}")
    return key
