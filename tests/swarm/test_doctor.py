import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from swarm.checks import Examined, Finding, MicrophoneSample, Senses, Speaker, home, machine, voice
from swarm.cli import main
from swarm.client import BrokerStatus, Status
from swarm.config import BusSection, Config, LanguageModelSection, NodeSection, PeopleSection, SatelliteSection
from swarm.doctor import CHECKS, examine
from swarm.engines import EngineManifest
from swarm.errors import AudioDeviceError, ConfigError, EngineUnavailable
from tests.swarm.people_port_node import PeoplePortNode

ENGINES_HERE = "tests.swarm.test_doctor"


def a_sample(*values: int) -> MicrophoneSample:
    return MicrophoneSample(
        "Desk microphone", 48_000, struct.pack(f"<{len(values)}h", *values) * (16_000 // len(values))
    )


def senses(
    *, sample: MicrophoneSample | None = None, engines: Sequence[tuple[EngineManifest, dict[str, str]]] = ()
) -> Senses:
    def microphone(device: str) -> MicrophoneSample:
        if sample is None:
            raise AudioDeviceError("there is no microphone", hint="plug one in")
        return sample

    def speaker(device: str) -> Speaker:
        raise AudioDeviceError("there is no speaker", hint="plug one in")

    return Senses(microphone=microphone, speaker=speaker, wake_words=lambda config: None, engines=engines)


def examined(
    tmp_path: Path, *, config: Config | None = None, node: Status | None = None, with_senses: Senses | None = None
) -> Examined:
    config = config or Config(node=NodeSection(state_dir=str(tmp_path / "state")))
    return Examined(config, str(tmp_path / "config.toml"), None, node, with_senses or senses())


def running(broker: BrokerStatus | None = None, *, connected: bool = True) -> Status:
    broker = broker or BrokerStatus(kind="mosquitto", connected=connected)
    return Status("1", "here", "http://127.0.0.1:7333", ("hub",), 1.0, broker, {}, (), None, 0)


# ---- all checks together


def test_checks_run_at_once_and_are_shown_in_their_order(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=10)

    def meets(name: str) -> list[Finding]:
        both.wait()
        return [Finding(name, "ok", "met the other")]

    checks = {"a": lambda _: meets("a"), "b": lambda _: meets("b")}
    assert [finding.check for finding in examine(examined(tmp_path), checks=checks)] == ["a", "b"]


def test_check_that_hangs_or_breaks_is_a_finding_and_delays_no_other(tmp_path: Path) -> None:
    hang = threading.Event()

    def hangs(_: Examined) -> list[Finding]:
        hang.wait()
        return []

    def breaks(_: Examined) -> list[Finding]:
        raise ZeroDivisionError("oh")

    def refuses(_: Examined) -> list[Finding]:
        raise EngineUnavailable("nothing there", hint="install it")

    checks = {"hangs": hangs, "breaks": breaks, "refuses": refuses, "disk": machine.disk}
    findings = examine(examined(tmp_path), checks=checks, deadline_s=1.0)
    hang.set()
    assert [(finding.check, finding.status) for finding in findings] == [
        ("hangs", "fail"),
        ("breaks", "fail"),
        ("refuses", "fail"),
        ("disk", "ok"),
    ]
    assert findings[0].found == "no result within 1 s"
    assert "ZeroDivisionError" in findings[1].found
    assert findings[2] == Finding("refuses", "fail", "nothing there", "install it")


def test_check_that_hangs_does_not_keep_the_program_from_ending() -> None:
    script = (
        "import threading\n"
        "from swarm.doctor import examine\n"
        "print(examine(None, checks={'hangs': lambda _: threading.Event().wait()}, deadline_s=0.1)[0].status)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert shown.stdout == "fail\n"


# ---- sound


@pytest.mark.parametrize(
    ("values", "status", "said"),
    [
        ((300, -300), "ok", "level -41 dBFS, 0.0% clipped"),
        ((0, 0), "warn", "hears nothing"),
        ((32_767, -32_768, 100, -100), "warn", "50.0% clipped → it is too loud"),
    ],
)
def test_microphone_is_judged_by_level_and_clipping(
    tmp_path: Path, values: tuple[int, ...], status: str, said: str
) -> None:
    [finding] = voice.microphone(examined(tmp_path, with_senses=senses(sample=a_sample(*values))))
    assert finding.status == status
    assert "Desk microphone, 48000 Hz" in finding.found
    assert said in f"{finding.found} → {finding.to_do}"


def test_missing_sound_devices_are_only_warnings(tmp_path: Path) -> None:
    assert voice.microphone(examined(tmp_path)) == [
        Finding("microphone", "warn", "there is no microphone", "plug one in")
    ]
    assert "the running node may hold it" in voice.microphone(examined(tmp_path, node=running()))[0].found
    assert voice.speaker(examined(tmp_path)) == [Finding("speaker", "warn", "there is no speaker", "plug one in")]
    off = Config(satellite=SatelliteSection(microphone="none", speaker="none"))
    assert voice.microphone(examined(tmp_path, config=off))[0].status == "ok"
    assert voice.speaker(examined(tmp_path, config=off))[0].status == "ok"


# ---- engines


class GoneModel:
    """A generator whose server is not there."""

    name = "gone"

    async def available(self) -> str | None:
        return None

    async def close(self) -> None:
        pass


class SlowModel(GoneModel):
    async def available(self) -> str | None:
        await asyncio.Event().wait()
        return "never"


class RightModel(GoneModel):
    async def available(self) -> str | None:
        return "tiny:1b"


def test_engine_that_misses_its_library_fails_with_what_to_install(tmp_path: Path) -> None:
    missing = EngineManifest("loud", "synthesizer", "nowhere", "Nothing", needs=("no_such_library",), extra="gpu")
    [finding] = voice.engines(examined(tmp_path, with_senses=senses(engines=[(missing, {})])))
    assert (finding.check, finding.status) == ("engine loud", "fail")
    assert "no_such_library" in finding.found
    assert finding.to_do == "pip install 'mycoswarm[gpu]'"


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("RightModel", "ok", "tiny:1b at http://127.0.0.1:11434"),
        ("GoneModel", "warn", "none answers at http://127.0.0.1:11434"),
        ("SlowModel", "warn", "none answers at http://127.0.0.1:11434"),
    ],
)
def test_language_model_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, status: str, said: str
) -> None:
    monkeypatch.setattr(voice, "MODEL_TIMEOUT_S", 0.1)
    manifest = EngineManifest("model", "generator", ENGINES_HERE, model)
    [finding] = voice.language_model(examined(tmp_path, with_senses=senses(engines=[(manifest, {})])))
    assert (finding.status, finding.found) == (status, said)


def test_language_model_may_be_switched_off(tmp_path: Path) -> None:
    config = Config(language_model=LanguageModelSection(url=""))
    assert voice.language_model(examined(tmp_path, config=config))[0].status == "ok"


# ---- broker


def test_broker_of_the_running_node(tmp_path: Path) -> None:
    assert home.broker(examined(tmp_path, node=running()))[0].status == "ok"
    assert home.broker(examined(tmp_path, node=running(connected=False)))[0].status == "fail"


def test_configured_broker_is_connected_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1_000)
            connection.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
            connection.recv(1_000)
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        config = Config(bus=BusSection(broker=f"mqtt://127.0.0.1:{port}"))
        [finding] = home.broker(examined(tmp_path, config=config))
        assert (finding.status, finding.found) == ("ok", f"the one at 127.0.0.1:{port} answers")
    [finding] = home.broker(examined(tmp_path, config=config))
    assert finding.status == "fail"
    assert "does not answer" in finding.found
    assert finding.to_do


@pytest.mark.parametrize("url", ["http://localhost", "mqtt://", "mqtt://192.0.2.1"])
def test_broker_that_is_none_of_the_home_fails(tmp_path: Path, url: str) -> None:
    [finding] = home.broker(examined(tmp_path, config=Config(bus=BusSection(broker=url))))
    assert finding.status == "fail"
    assert finding.to_do


def test_own_broker_is_found_and_its_port_looked_at(tmp_path: Path) -> None:
    [finding] = home.broker(examined(tmp_path, config=Config()))
    assert finding.status == "ok"
    assert "will start" in finding.found
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [finding] = home.broker(examined(tmp_path, config=Config(bus=BusSection(port=port))))
    assert finding.status == "fail"
    assert f"port {port}" in finding.found


# ---- the machine


def test_port_that_is_taken_names_the_program(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = Config(people=PeopleSection(port=port))
        [finding] = machine.people_port(examined(tmp_path, config=config))
        assert finding.status == "fail"
        assert f"(process {os.getpid()})" in finding.found
        assert "people.port" in finding.to_do
        assert machine.people_port(examined(tmp_path, config=config, node=running()))[0].status == "ok"
    assert machine.people_port(examined(tmp_path, config=config))[0].status == "ok"


def test_wrong_configuration_is_a_finding(tmp_path: Path) -> None:
    wrong = Examined(Config(), "config.toml", ConfigError("config.toml:1: oh"), None, senses())
    assert machine.configuration(wrong)[0] == Finding("configuration", "fail", "config.toml:1: oh", "mend that line")
    assert "everything as it comes" in machine.configuration(examined(tmp_path))[0].found


def test_state_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = Config(node=NodeSection(state_dir=str(tmp_path / "file" / "state")))
    [finding] = machine.disk(examined(tmp_path, config=config))
    assert finding.status == "fail"
    assert "node.state_dir" in finding.to_do


def test_every_other_check_of_the_machine_has_an_opinion(tmp_path: Path) -> None:
    for check in (machine.disk, machine.clock, machine.memory, machine.node):
        [finding] = check(examined(tmp_path))
        assert finding.status in ("ok", "warn")
        assert finding.found


# ---- the command


def doctor(config: Path) -> tuple[int, dict[str, Finding]]:
    result = CliRunner().invoke(main, ["doctor", "--json", "--config", str(config)])
    findings = [Finding(**row) for row in json.loads(result.stdout)]
    return result.exit_code, {finding.check: finding for finding in findings}


def test_doctor_works_without_and_beside_a_running_node(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nstate_dir = "{tmp_path / "state"}"\n[people]\nport = 0\n')
    code, findings = doctor(config)
    assert findings["node"].found == "not running"
    assert {name: finding.found for name, finding in findings.items() if finding.status == "fail"} == {}
    assert code == 0
    assert {"engine pocketsphinx", "engine espeak-ng"} <= set(findings)
    assert set(CHECKS) - {"engines", "ledger", "nodes", "waiting"} <= set(findings)
    with PeoplePortNode(tmp_path / "state", pid=os.getpid()):
        assert doctor(config)[1]["node"].found.startswith("here runs version 1")


def test_doctor_goes_on_with_a_wrong_configuration_and_ends_with_1(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[people]\nprot = 3\n")
    shown = subprocess.run(
        [sys.executable, "-m", "swarm", "doctor", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert shown.returncode == 1
    assert "people.prot" in shown.stdout
    assert "did you mean people.port?" in shown.stdout
    assert "memory" in shown.stdout


def test_node_that_waits_for_the_bus_of_its_swarm_says_why(tmp_path: Path) -> None:
    def found(status: BrokerStatus) -> tuple[str, str]:
        [finding] = home.broker(examined(tmp_path, node=running(status)))
        return finding.status, finding.found

    assert found(BrokerStatus("swarm", connected=True, hub="attic")) == (
        "ok",
        "the bus of the swarm, at attic, the running node is connected",
    )
    assert found(BrokerStatus("swarm", connected=False, why="no hub of this swarm can be reached")) == (
        "fail",
        "the bus of the swarm, the running node is not connected: no hub of this swarm can be reached",
    )
    assert found(BrokerStatus("none", connected=False)) == ("ok", "this node has none and needs none")
