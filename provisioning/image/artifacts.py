"""What lies beside an image: compressed form, block map, lists of what is inside, checksums and their signature."""

from __future__ import annotations

import hashlib
from pathlib import Path

from provisioning.image.bmap import make_bmap
from provisioning.image.recipe import Recipe
from provisioning.image.running import run
from provisioning.image.sbom import bill_of_materials, installed, manifest
from provisioning.signing import Signer, sign
from provisioning.slots.version import ImageVersion

TIMEOUT_S = 1800.0


def write_artifacts(
    image: Path,
    spans: list[tuple[int, int]],
    *,
    system: Path,
    recipe: Recipe,
    version: ImageVersion,
    signer: Signer,
    epoch: int,
) -> list[Path]:
    """Writes them into the image's folder, the compressed image first; the plain image stays beside them.

    `spans`: the parts of the image that a card must get. `system`: the root as a tar. Raises `MycoswarmError`.
    """
    compressed = image.with_name(f"{image.name}.zst")
    run(["zstd", "-q", "-f", "-T0", "-3", str(image), "-o", str(compressed)], doing="compressing the image",
        timeout_s=TIMEOUT_S)  # fmt: skip
    bmap = image.with_name(f"{image.name}.bmap")
    bmap.write_text(make_bmap(image, spans).xml())
    parts = installed(system)
    packages = image.with_name(f"{image.stem}.packages.txt")
    packages.write_text(manifest(parts))
    materials = image.with_name(f"{image.stem}.cdx.json")
    materials.write_text(bill_of_materials(parts, name=recipe.name, version=str(version), epoch=epoch))
    certificate = image.with_name("signer.pem")
    certificate.write_bytes(signer.certificate.read_bytes())
    made = [compressed, bmap, packages, materials]
    sums = image.with_name(f"{image.stem}.SHA256SUMS")
    sums.write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in made))
    return [*made, sums, sign(sums, signer), certificate]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
