"""The checksums beside an image, and who signed them.

`STEM.SHA256SUMS` lists the image and what belongs to it, as sha256sum(1) does; `.sig` beside it is a detached signature
(`provisioning.signing`), and `signer.pem` the certificate of who made it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from provisioning.image.running import run
from provisioning.signing import Signer, keys_folder, sign
from swarm.errors import MycoswarmError
from swarm.private_file import write_private

MAX_BYTES = 64 * 1024
_TIMEOUT_S = 60.0


class NotVerified(MycoswarmError):
    """The image is not what was signed, or not signed by whom it should be."""


def plain_name(image: Path) -> Path:
    """`NAME.img`, of `NAME.img.zst` too."""
    return image.with_suffix("") if image.suffix == ".zst" else image


def bmap_path(image: Path) -> Path:
    """Where an image's block map is."""
    plain = plain_name(image)
    return plain.with_name(f"{plain.name}.bmap")


def sums_path(image: Path) -> Path:
    """Where its checksums are."""
    plain = plain_name(image)
    return plain.with_name(f"{plain.stem}.SHA256SUMS")


def sha256_of(path: Path) -> str:
    """Hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_signer() -> Signer | None:
    """The key of the person who works here, if one was made yet."""
    found = Signer(keys_folder())
    return found if found.key.exists() and found.certificate.exists() else None


def write_sums(image: Path, sums: dict[str, str], by: Signer | None) -> None:
    """Writes checksums, by file name, for their owner alone; signed, if somebody signs. Raises `MycoswarmError`."""
    path = sums_path(image)
    path.with_name(f"{path.name}.sig").unlink(missing_ok=True)
    write_private(path, "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())
    if by is not None:
        sign(path, by).chmod(0o600)


def check_sums(image: Path, *, certificate: Path | None = None) -> str:
    """Compares image and block map with the checksums beside them, and those with their signature.

    Says in a few words who vouches for it. With a `certificate`, only that one's signature counts; else the own one's
    or that of `signer.pem`. Raises `NotVerified`.
    """
    path = sums_path(image)
    if not path.exists():
        if certificate is not None:
            raise NotVerified(
                f"{image} has no checksums beside it ({path.name})", hint="get them together with the image"
            )
        return "nobody: there are no checksums beside it"
    listed = _listed(path)
    for each in (image, bmap_path(image)):
        if each.exists() and each.name not in listed:
            if each is image and image == plain_name(image):
                continue  # what was decompressed here; its block map is listed, and says everything about it
            raise NotVerified(f"{path.name} does not list {each.name}", hint="get both again")
        if each.exists() and listed[each.name] != sha256_of(each):
            raise NotVerified(
                f"{each} is damaged, or another one: its checksum is not that of {path.name}", hint="get both again"
            )
    signature = path.with_name(f"{path.name}.sig")
    if not signature.exists():
        if certificate is not None:
            raise NotVerified(f"{path.name} is not signed", hint="get its .sig too")
        return "its checksums, which nobody signed"
    return _signed_by(path, signature, certificate)


def _signed_by(path: Path, signature: Path, certificate: Path | None) -> str:
    own, beside = own_signer(), path.with_name("signer.pem")
    if certificate is not None:
        candidates = [(certificate, f"the key of {certificate}")]
    else:
        candidates = [(own.certificate, "your own key")] if own else []
        if beside.exists():
            not_own = ", which is not yours" if own else ""
            candidates.append((beside, f"the key {fingerprint(beside)}{not_own}"))
    if not candidates:
        return "its checksums; whose signature is beside them cannot be told without signer.pem"
    wrong: MycoswarmError | None = None
    for each, called in candidates:
        argv: list[str | Path] = ["openssl", "cms", "-verify", "-binary", "-inform", "PEM", "-purpose", "any"]
        argv += ["-CAfile", each, "-content", path, "-in", signature, "-out", "/dev/null"]
        try:
            run(argv, doing=f"checking the signature of {path.name}", timeout_s=_TIMEOUT_S)
        except MycoswarmError as error:
            wrong = error
            continue
        return called
    raise NotVerified(
        f"the signature of {path.name} is not right", hint="get image, checksums and signature again"
    ) from wrong


def fingerprint(certificate: Path) -> str:
    """The first 16 digits of the SHA-256 of a certificate, to compare with the maker's. Raises `NotVerified`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise NotVerified(f"{certificate} is no certificate: {error}", hint="get it again") from error
    digits = found.fingerprint(hashes.SHA256()).hex()[:16]
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def _listed(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        text = file.read(MAX_BYTES).decode("utf-8", errors="replace")
    listed = {}
    for line in text.splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  ([^/\x00]+)", line)
        if found is None:
            raise NotVerified(f"{path} is no list of checksums", hint="get it again")
        listed[found[2]] = found[1]
    return listed
