"""What is inside an image: Debian's packages and Python's, for people and as a CycloneDX bill of materials.

Read from the root itself (dpkg's status, the METADATA of each installed distribution), not from what was asked for.
"""

from __future__ import annotations

import json
import tarfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import quote

DPKG_STATUS = "var/lib/dpkg/status"
SITE = "usr/lib/mycoswarm/lib/"
NAMESPACE = uuid.UUID("6d79636f-7377-4172-8dff-73626f6d0000")


@dataclass(frozen=True, order=True)
class Part:
    """One package."""

    kind: str
    """`deb` or `pypi`, as package URLs (purl) call it."""
    name: str
    version: str
    architecture: str = ""
    licence: str = ""
    """What a Python package says of it; Debian's are in /usr/share/doc/NAME/copyright of the image."""

    @property
    def purl(self) -> str:
        """The package URL, https://github.com/package-url/purl-spec."""
        name, version = quote(self.name, safe=""), quote(self.version, safe="")
        if self.kind == "deb":
            return f"pkg:deb/debian/{name}@{version}?arch={self.architecture}"
        return f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"


def installed(root: Path) -> list[Part]:
    """The packages in a root, a tar; sorted."""
    found: list[Part] = []
    with tarfile.open(root) as tar:
        for entry in tar:
            name = entry.name.removeprefix("./")
            if name == DPKG_STATUS:
                found += _debian(_text(tar, entry))
            elif name.startswith(SITE) and name.endswith(".dist-info/METADATA"):
                found.append(_python(_text(tar, entry)))
    return sorted(set(found))


def manifest(parts: list[Part]) -> str:
    """One package a line: kind, name, version, architecture."""
    return "".join(f"{each.kind}\t{each.name}\t{each.version}\t{each.architecture or '-'}\n" for each in parts)


def bill_of_materials(parts: list[Part], *, name: str, version: str, epoch: int) -> str:
    """The parts as CycloneDX 1.6 in JSON. The same parts make the same bytes."""
    components = []
    for each in parts:
        component: dict[str, object] = {
            "type": "library",
            "bom-ref": each.purl,
            "name": each.name,
            "version": each.version,
            "purl": each.purl,
        }
        if each.licence:
            component["licenses"] = [{"license": {"name": each.licence}}]
        components.append(component)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, name + version + manifest(parts))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "operating-system", "bom-ref": name, "name": name, "version": version},
        },
        "components": components,
    }
    return json.dumps(document, indent=1) + "\n"


def _text(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = tar.extractfile(entry)
    assert file is not None
    return file.read().decode(errors="replace")


def _debian(status: str) -> list[Part]:
    parts = []
    for stanza in status.split("\n\n"):
        if not stanza.strip():
            continue
        fields = HeaderParser().parsestr(stanza.lstrip("\n"))
        if fields["Status"] == "install ok installed":
            parts.append(Part("deb", str(fields["Package"]), str(fields["Version"]), str(fields["Architecture"])))
    return parts


def _python(metadata: str) -> Part:
    fields = HeaderParser().parsestr(metadata)
    licence = str(fields["License-Expression"] or fields["License"] or "").strip().splitlines()
    return Part("pypi", str(fields["Name"]), str(fields["Version"]), licence=licence[0][:100] if licence else "")
