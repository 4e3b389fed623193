"""Modules are compiled once for each text that they have."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.package.bytecode import compile_modules


def bytecode_of(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(source)))


def said_by(folder: Path) -> str:
    """What the package there says when it is run."""
    argv = [sys.executable, "-c", "import package.module"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    (source.parent / "__init__.py").touch()
    source.write_text("print('first')\n")
    return source


def test_what_was_compiled_from_the_same_text_stays(tmp_path: Path, module: Path) -> None:
    assert compile_modules(tmp_path) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pyc")}
    os.utime(module, (1, 1))
    assert compile_modules(tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pyc")} == before
    assert len(before) == 2


def test_a_changed_module_is_compiled_anew_and_what_has_none_goes(tmp_path: Path, module: Path) -> None:
    other = module.with_name("other.py")
    other.touch()
    compile_modules(tmp_path)
    module.write_text("print('other')\n")  # as long as before
    other.unlink()
    assert said_by(tmp_path) == "first", "the source is not looked at when it runs"
    assert compile_modules(tmp_path) == 1
    assert said_by(tmp_path) == "other"
    assert not bytecode_of(other).exists()


@pytest.mark.parametrize("content", [b"", b"not bytecode at all"])
def test_what_is_no_bytecode_is_not_kept(tmp_path: Path, module: Path, content: bytes) -> None:
    compile_modules(tmp_path)
    bytecode_of(module).write_bytes(content)
    assert compile_modules(tmp_path) == 1
    assert said_by(tmp_path) == "first"


def test_bytecode_that_looks_at_the_source_s_time_is_not_kept(tmp_path: Path, module: Path) -> None:
    py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    assert compile_modules(tmp_path) == 2


def test_what_is_no_python_is_told(tmp_path: Path, module: Path) -> None:
    module.write_text("this is no Python\n")
    with pytest.raises(py_compile.PyCompileError, match=r"module\.py"):
        compile_modules(tmp_path)
