import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from swarm.audio import write_wav
from swarm.cli import main
from tests.swarm.people_port_node import DEADLINE_S, PeoplePortNode

SECOND = write_wav(b"\x10\x00" * 16_000)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f'[node]\nstate_dir = "{tmp_path / "state"}"\n[people]\nport = 0\n[satellite]\nmicrophone = "none"\n'
    )
    return path


@pytest.fixture
def node(tmp_path: Path) -> Iterator[PeoplePortNode]:
    with PeoplePortNode(tmp_path / "state", pid=os.getpid()) as running:
        yield running


def run(config: Path, *arguments: str, stdin: str | bytes | None = None) -> Result:
    command, *rest = arguments
    result = CliRunner().invoke(main, [command, "--config", str(config), *rest], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def process(config: Path, *arguments: str) -> subprocess.Popen[str]:
    command, *rest = arguments
    return subprocess.Popen(
        [sys.executable, "-m", "swarm", command, "--config", str(config), *rest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


# ---- ask by text


def test_ask_prints_the_answer(config: Path, node: PeoplePortNode) -> None:
    result = run(config, "ask", "turn", "on", "the lamp", "--area", "Kitchen")
    assert (result.exit_code, result.stdout) == (0, "First. Second.\n")
    [(text, context)] = node.asked
    assert (text, context.area) == ("turn on the lamp", "Kitchen")


def test_ask_as_json_has_the_trace(config: Path, node: PeoplePortNode) -> None:
    answer = json.loads(run(config, "ask", "--json", "hello").stdout)
    assert answer["answer"] == "First. Second."
    assert answer["trace"]["transcript"] == "hello"
    assert set(answer) == {"answer", "intent", "outcome", "utterance_id", "trace"}


def test_answer_without_words_says_what_became_of_it(config: Path, node: PeoplePortNode) -> None:
    assert run(config, "ask", "never mind").stdout == "(cancelled)\n"


def test_answer_cannot_steer_the_terminal(config: Path, node: PeoplePortNode) -> None:
    assert "\x1b" not in run(config, "ask", "escape").stdout
    assert "\x1b" not in run(config, "home").stdout


def test_error_of_the_node_is_shown_with_its_hint(config: Path, node: PeoplePortNode) -> None:
    result = run(config, "ask", "fail")
    assert result.exit_code == 1
    assert result.stderr == "error: the engine broke\n  start it again\n"


def test_bytes_that_are_no_text_do_no_harm(config: Path, node: PeoplePortNode) -> None:
    arguments: list[str | bytes] = [sys.executable, "-m", "swarm", "ask", "--config", str(config), b"caf\xff"]
    result = subprocess.run(arguments, capture_output=True, check=False, timeout=DEADLINE_S)
    assert (result.returncode, result.stdout) == (0, b"First. Second.\n")
    assert node.asked[0][0] == "caf?"


def test_question_that_is_too_long_is_refused(config: Path, node: PeoplePortNode) -> None:
    result = run(config, "ask", "x" * 2_001)
    assert result.exit_code == 1
    assert "2000" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["ask"], ["ask", " "], ["ask", "a", "--reply", "b"], ["ask", "a", "--no-wake"], ["ask", "a", "--audio", "b"]],
)
def test_use_that_makes_no_sense_is_explained(config: Path, arguments: list[str]) -> None:
    result = run(config, *arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_proxy_of_the_environment_is_not_asked(
    config: Path, node: PeoplePortNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert run(config, "ask", "hello").exit_code == 0


def test_interrupt_ends_with_130_and_no_traceback(config: Path, node: PeoplePortNode) -> None:
    asking = process(config, "ask", "wait")
    assert node.waits.wait(DEADLINE_S)
    asking.send_signal(signal.SIGINT)
    out, err = asking.communicate(timeout=DEADLINE_S)
    assert asking.returncode == 130
    assert "Traceback" not in out + err


def test_node_that_dies_halfway_is_told(config: Path, tmp_path: Path) -> None:
    with PeoplePortNode(tmp_path / "state", pid=os.getpid()) as node:
        asking = process(config, "ask", "wait")
        assert node.waits.wait(DEADLINE_S)
    out, err = asking.communicate(timeout=DEADLINE_S)
    assert (asking.returncode, out) == (1, "One moment.\n")
    assert err.startswith("error: the node at ")
    assert "went away before it finished its answer" in err


# ---- no node, or not ours


def test_without_a_node_says_how_to_start_one(config: Path) -> None:
    for command in (["ask", "hello"], ["trace"], ["home"], ["timers"], ["mute"], ["chat"]):
        result = run(config, *command, stdin="hello\n")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "error: no mycoswarm node is running here\n  start it with: mycoswarm up\n"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ('{"url": "http://127.0.0.1:1", "pid": 999999999}', "has ended"),
        ('{"url": "http://127.0.0.1:1", "pid": 0}', "has ended"),
        ('{"url": "http://127.0.0.1:1", "pid": PID}', "no mycoswarm node answers at"),
        ('{"url": "http://192.0.2.1:80", "pid": PID}', "no address on this machine"),
        ('{"url": "http://[", "pid": PID}', "no address of a node"),
        ('{"url": 3}', "cannot tell"),
        ("garbage", "cannot tell"),
        ("", "cannot tell"),
    ],
)
def test_stale_or_broken_address_is_explained(config: Path, tmp_path: Path, address: str, said: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "node.json").write_text(address.replace("PID", str(os.getpid())))
    result = run(config, "ask", "hello")
    assert result.exit_code == 1
    assert said in result.stderr
    assert "mycoswarm up" in result.stderr


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_other_program_on_the_nodes_port_is_told(config: Path, tmp_path: Path, reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "state").mkdir()
        address = {"url": f"http://127.0.0.1:{server.getsockname()[1]}", "pid": os.getpid()}
        (tmp_path / "state" / "node.json").write_text(json.dumps(address))
        asking = process(config, "ask", "hello")
        connection, _ = server.accept()
        connection.recv(65_536)
        connection.sendall(reply)
        connection.close()
        _, err = asking.communicate(timeout=DEADLINE_S)
    assert asking.returncode == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_wrong_configuration_ends_with_2_and_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[node]\nnaem = 1\n")
    result = run(tmp_path / "wrong.toml", "ask", "hello")
    assert result.exit_code == 2
    assert "wrong.toml:2: node.naem" in result.stderr
    assert "did you mean node.name" in result.stderr
    assert run(tmp_path / "missing.toml", "up").exit_code == 2


# ---- ask by a recording


def test_recording_is_heard_and_its_reply_kept(config: Path, node: PeoplePortNode, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(SECOND)
    out = tmp_path / "out.wav"
    result = run(config, "ask", "--audio", str(tmp_path / "in.wav"), "--reply", str(out))
    assert result.stdout == "heard:  turn on the lamp\nanswer: The lamp is on.\n"
    assert node.heard == [(1.0, True)]
    with wave.open(str(out)) as recording:
        assert recording.readframes(1_000) == b"\x01\x02" * 800
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.toml", "in.wav", "out.wav", "state"]

    shown = json.loads(run(config, "ask", "--audio", str(tmp_path / "in.wav"), "--no-wake", "--json").stdout)
    assert shown["transcript"] == "turn on the lamp"
    assert "reply_wav" not in shown
    assert node.heard[-1] == (1.0, False)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated", "two hours"])
def test_recording_that_cannot_be_used_is_refused_by_name(
    config: Path, node: PeoplePortNode, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "in.wav"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("this is no recording " * 100)
        case "truncated":
            path.write_bytes(SECOND[: len(SECOND) // 2])
        case "two hours":
            with wave.open(str(path), "wb") as recording:
                recording.setparams((1, 1, 8_000, 0, "NONE", ""))
                recording.writeframes(bytes(2 * 3600 * 8_000))
    result = run(config, "ask", "--audio", str(path))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert str(path) in result.stderr
    assert node.heard == []


@pytest.mark.parametrize("place", ["folder that is not there/out.wav", "", "in.wav/out.wav"])
def test_reply_that_cannot_be_written_is_refused_before_anything_is_asked(
    config: Path, node: PeoplePortNode, tmp_path: Path, place: str
) -> None:
    (tmp_path / "in.wav").write_bytes(SECOND)
    result = run(config, "ask", "--audio", str(tmp_path / "in.wav"), "--reply", str(tmp_path / place))
    assert result.exit_code == 1
    assert "cannot write the reply" in result.stderr
    assert node.heard == []


def test_failed_question_leaves_an_earlier_reply_alone(config: Path, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(SECOND)
    (tmp_path / "out.wav").write_bytes(b"earlier")
    result = run(config, "ask", "--audio", str(tmp_path / "in.wav"), "--reply", str(tmp_path / "out.wav"))
    assert result.exit_code == 1
    assert (tmp_path / "out.wav").read_bytes() == b"earlier"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.toml", "in.wav", "out.wav"]


def test_reply_to_a_device_is_written_in_place(config: Path, node: PeoplePortNode, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(SECOND)
    assert run(config, "ask", "--audio", str(tmp_path / "in.wav"), "--reply", "/dev/null").exit_code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    full = run(config, "ask", "--audio", str(tmp_path / "in.wav"), "--reply", "/dev/full")
    assert full.exit_code == 1
    assert "No space left" in full.stderr


# ---- chat


def test_chat_answers_a_pipe_line_by_line(config: Path, node: PeoplePortNode) -> None:
    result = run(config, "chat", "--area", "Bath", stdin="hello\n\n/help\n/trace\n/nonsense\nlast line")
    assert result.exit_code == 0
    assert result.stdout.startswith("First. Second.\nSay what you want")
    assert result.stdout.endswith("First. Second.\n")
    assert "Ctrl-D" in result.stdout
    assert "no such command: /nonsense" in result.stdout
    assert [(text, context.area) for text, context in node.asked] == [("hello", "Bath"), ("last line", "Bath")]


def test_chat_goes_on_after_an_error(config: Path, node: PeoplePortNode) -> None:
    result = run(config, "chat", stdin=b"fail\n\xff\xfe\nhello\n")
    assert result.exit_code == 1
    assert "error: the engine broke" in result.stderr
    assert result.stdout.count("First. Second.\n") == 2


def test_chat_outlives_the_node(config: Path, tmp_path: Path) -> None:
    chatting = process(config, "chat")
    assert chatting.stdin is not None
    assert chatting.stdout is not None
    assert chatting.stderr is not None

    def say(text: str) -> None:
        assert chatting.stdin is not None
        chatting.stdin.write(f"{text}\n")
        chatting.stdin.flush()

    with PeoplePortNode(tmp_path / "state", pid=os.getpid()):
        say("hello")
        assert chatting.stdout.readline() == "First. Second.\n"
    say("hello")
    assert chatting.stderr.readline() == "error: no mycoswarm node is running here\n"
    with PeoplePortNode(tmp_path / "state", pid=os.getpid()):
        say("hello again")
        assert chatting.stdout.readline() == "First. Second.\n"
        chatting.communicate(timeout=DEADLINE_S)
    assert chatting.returncode == 1


def test_chat_at_a_terminal_has_a_prompt_a_history_and_leaves_by_ctrl_d(
    config: Path, node: PeoplePortNode, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb"}
    chatting = subprocess.Popen(
        [sys.executable, "-m", "swarm", "chat", "--config", str(config)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    shown = ""

    def until(pattern: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(pattern, shown):
            assert select.select([ours], [], [], deadline - time.monotonic())[0], shown
            shown += os.read(ours, 4_096).decode()
        shown = shown[re.search(pattern, shown).end() :]  # type: ignore[union-attr]

    until(r"Ctrl-D leaves\.\s+> ")
    os.write(ours, b"hello there\n")
    until(r"First\. Second\.\s+> ")
    os.write(ours, b"wait\n")
    until(r"One moment\.")
    chatting.send_signal(signal.SIGINT)
    until(r"stopped waiting\)\s+> ")
    os.write(ours, b"\x04")
    assert chatting.wait(DEADLINE_S) == 0
    os.close(ours)
    history = tmp_path / "state" / "chat_history"
    assert history.read_text().splitlines()[-2:] == ["hello there", "wait"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


# ---- what the node knows


def test_trace_shows_stages_with_their_steps(config: Path, node: PeoplePortNode) -> None:
    shown = run(config, "trace").stdout
    assert re.search(r"stage +node +ms +step", shown)
    assert re.search(r"endpoint +pi +900\.0 +900\.0", shown)
    assert re.search(r"intent +hub +902\.5 +2\.5", shown)
    assert "turn on the lamp" in shown
    assert run(config, "trace", "u1").stdout == shown
    assert json.loads(run(config, "trace", "--json").stdout)["utterance_id"] == "u1"


def test_last_traces_are_listed_newest_first(config: Path, node: PeoplePortNode) -> None:
    shown = run(config, "trace", "--last", "5").stdout.splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["u1", "u0"]
    assert len(json.loads(run(config, "trace", "--last", "1", "--json").stdout)) == 1


def test_unknown_trace_is_told(config: Path, node: PeoplePortNode) -> None:
    result = run(config, "trace", "../status")
    assert result.exit_code == 1
    assert "no trace of an utterance ../status" in result.stderr


def test_home_and_timers_are_listed(config: Path, node: PeoplePortNode) -> None:
    shown = run(config, "home").stdout
    assert re.search(r"Kitchen +Lamp +\[31m +light +on, brightness 40 %", shown)
    assert re.search(r"Bath +Temperature +sensor +21\.5 °C", shown)
    assert re.search(r"Socket +switch +unavailable", shown)
    assert json.loads(run(config, "home", "--json").stdout)[0]["entity"]["id"] == "light.lamp"
    assert re.search(r"pizza +kitchen +0:01:15 +0:10:00", run(config, "timers").stdout)


def test_mute_and_unmute(config: Path, node: PeoplePortNode) -> None:
    assert run(config, "mute").exit_code == 0
    assert node.muted
    assert run(config, "unmute").exit_code == 0
    assert not node.muted


def test_listen_wants_audio_and_a_node(config: Path) -> None:
    terminal = subprocess.run(
        [sys.executable, "-m", "swarm", "listen", "--config", str(config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert terminal.returncode == 2
    assert "pipe raw audio" in terminal.stderr
    listening = process(config, "listen")
    _, err = listening.communicate("", timeout=DEADLINE_S)
    assert listening.returncode == 1
    assert "no mycoswarm node is running here" in err


def test_every_command_explains_itself_with_an_example() -> None:
    for name, command in main.commands.items():
        text = CliRunner().invoke(main, [name, "--help"]).stdout
        assert re.search(rf"^ +.*mycoswarm {name}", text, re.MULTILINE), name
        assert all(option.help for option in command.params if isinstance(option, click.Option)), name
