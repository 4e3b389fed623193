"""Compiles the modules of a folder for the Python that runs this: `python3 -m provisioning.package.bytecode FOLDER`.

Like `compileall --invalidation-mode unchecked-hash`, which compiles all anew each time; here what was compiled from the
same text stays. An image's build brings what the last one compiled, as an emulated processor takes minutes for it.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
from pathlib import Path

UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
HEAD = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
"""How bytecode begins that is used without a look at its source; the source's hash follows (PEP 552)."""


def compile_modules(folder: Path) -> int:
    """Compile what is below `folder`, remove bytecode that no module there has, and tell how many were compiled. Raises
    `py_compile.PyCompileError` for what is no Python."""
    compiled = 0
    for place, folders, files in os.walk(folder):  # pathlib takes twice as long
        folders.sort()
        wanted = set()
        for name in sorted(files):
            if name.endswith(".py"):
                bytecode = f"{name[:-3]}.{sys.implementation.cache_tag}.pyc"
                wanted.add(bytecode)
                source = f"{place}/{name}"
                if not _is_compiled(source, f"{place}/__pycache__/{bytecode}"):
                    py_compile.compile(source, doraise=True, invalidation_mode=UNCHECKED)
                    compiled += 1
        if "__pycache__" in folders:
            folders.remove("__pycache__")
            _remove_others(Path(place, "__pycache__"), wanted)
    return compiled


def _remove_others(folder: Path, wanted: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def _is_compiled(source: str, bytecode: str) -> bool:
    try:
        with open(bytecode, "rb") as file:  # noqa: PTH123 - as above
            head = file.read(len(HEAD) + 8)
    except FileNotFoundError:
        return False
    with open(source, "rb") as file:  # noqa: PTH123
        return head == HEAD + importlib.util.source_hash(file.read())


if __name__ == "__main__":
    compile_modules(Path(sys.argv[1]))
