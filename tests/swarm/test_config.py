from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.config import WAKE_WORDS, Config, load_config, parse_config
from swarm.errors import ConfigError


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        parse_config(text, origin="c.toml")
    return refused.value


def test_no_file_is_a_working_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = load_config()
    assert config == Config()
    assert config.node.name
    assert config.state_dir == tmp_path / "state" / "mycoswarm"
    assert not config.recording.enabled


def test_file_in_its_usual_place_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "mycoswarm").mkdir()
    (tmp_path / "mycoswarm" / "config.toml").write_text('[node]\nname = "attic"\nstate_dir = "~/s"\n')
    assert load_config().node.name == "attic"
    assert load_config().state_dir == Path.home() / "s"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[home_assistant]\nurl = "homeassistant.local"\n', 2, "no address of a Home Assistant"),
        ('[home_assistant]\nurl = "http://u:p@ha.local:8123"\n', 2, "no address of a Home Assistant"),
        ('[home_assistant]\nurl = "http://ha.local:8123"\n', 1, "no token"),
        ('[home_assistant]\ntoken = "a"\ntoken_file = "b"\n', 1, "both token and token_file"),
        ('[bus]\nzigbee2mqtt = ["zigbee/+"]\n', 2, "bus.zigbee2mqtt"),
    ],
)
def test_sources_of_the_home_that_cannot_be_are_named(text: str, line: int, says: str) -> None:
    assert f"c.toml:{line}: " in str(refusal(text)) and says in str(refusal(text))


def test_every_section_is_read() -> None:
    config = parse_config(
        """
        [node]
        language = "de"
        [people]
        port = 8000
        [bus]
        broker = "mqtt://user:secret@192.168.1.2"
        confirm_timeout_s = 1
        [satellite]
        wake_words = ["alexa", "hey_jarvis"]
        sensitivity = 0.7
        [speech]
        whisper_model = "/models/tiny"
        [language_model]
        model = "tiny:1b"
        [recording]
        enabled = true
        """,
        origin="c.toml",
    )
    assert config.node.language == "de"
    assert config.people.port == 8000
    assert config.bus.confirm_timeout_s == 1.0
    assert config.satellite.wake_words == ("alexa", "hey_jarvis")
    assert config.speech.whisper_model == "/models/tiny"
    assert config.language_model.model == "tiny:1b"
    assert config.recording.enabled


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ('[node]\nnaem = "x"', "c.toml:2: node.naem: no such key", "did you mean node.name?"),
        ("\n\n[peple]\nport = 1", "c.toml:3: peple: no such key", "did you mean people?"),
        ("[people]\nzzzz = 1", "c.toml:2: people.zzzz: no such key", "known here: people.port"),
        ("port = 1", "c.toml:1: port: no such key", "known here: node, people"),
        ('[node]\n[people]\n# a remark\nport = "x"', "c.toml:4: people.port: Expected `int`", ""),
        ("[people]\nport = 70000", "c.toml:2: people.port: Expected `int` <= 65535", ""),
        ("[satellite]\nsensitivity = 1.5", "c.toml:2: satellite.sensitivity: Expected `float` <= 1.0", ""),
        ('[satellite]\nwake_words = ["alexa", 3]', "c.toml:2: satellite.wake_words: Expected `str`", ""),
        ('[satellite]\nwake_words = ["hey_you"]', 'satellite.wake_words: "hey_you" is no wake word', "okay_nabu"),
        ("node = 3", "c.toml:1: node: Expected `object`", ""),
        ('[policy.kinds]\nlokc = "ask"', 'c.toml:2: policy.kinds: "lokc" is no kind of device', "did you mean lock?"),
        (
            '[policy.entities]\n\n"Back door" = "maybe"',
            'c.toml:3: policy.entities: "maybe" is no permission',
            "do, ask",
        ),
        ('[policy.areas]\nHall = "do"', 'c.toml:2: policy.areas: "do" is no permission', "write one of: ask, refuse"),
        ("[policy.kinds]\nlock = 3", "c.toml:1: policy.kinds: Expected `str`", ""),
        ('[policy]\nkind = "x"', "c.toml:2: policy.kind: no such key", "did you mean policy.kinds?"),
        ("[node\nname = 1", "c.toml: not valid TOML", ""),
        ("a = " + "[" * 100_000, "c.toml: not valid TOML", ""),
    ],
)
def test_wrong_line_is_named_with_what_would_be_right(text: str, said: str, hint: str) -> None:
    error = refusal(text)
    assert said in str(error)
    assert hint in error.hint


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.toml", "", "binary.toml"):
        with pytest.raises(ConfigError, match=str(tmp_path / name)):
            load_config(tmp_path / name)


def test_every_wake_word_can_be_chosen() -> None:
    chosen = ", ".join(f'"{word}"' for word in WAKE_WORDS)
    config = parse_config(f"[satellite]\nwake_words = [{chosen}]", origin="c.toml")
    assert config.satellite.wake_words == WAKE_WORDS


_KEYS = st.sampled_from(
    ["node", "people", "port", "name", "node.name", "bus", "wake_words", "x", '"a b"', "[node]", "[["]
)
_VALUES = st.sampled_from(["1", '"x"', "[1]", "{}", "{ port = 1 }", "true", "nan", "1979-05-27", "''' '''", "", "]"])
_LINES = st.one_of(st.builds("{} = {}".format, _KEYS, _VALUES), _KEYS, st.builds("[{}]".format, _KEYS), st.text())


@settings(max_examples=300, deadline=None)
@given(st.lists(_LINES, max_size=6).map("\n".join))
def test_whatever_the_file_holds_is_a_configuration_or_a_clear_error(text: str) -> None:
    try:
        parse_config(text, origin="c.toml")
    except ConfigError as error:
        assert str(error).startswith("c.toml:")


def test_swarm_and_routing_are_read() -> None:
    config = parse_config(
        """
        [swarm]
        roles = ["worker", "gpu"]
        port = 8000
        peers = ["192.168.1.10", "[fd00::1]:7334"]
        [[routing.rule]]
        type = "chat"
        model = "qwen2.5:32b"
        fallback_models = ["qwen2.5:7b"]
        """,
        origin="c.toml",
    )
    assert config.swarm.roles == ("worker", "gpu")
    assert config.swarm.port == 8000
    assert config.routing.rule[0].model == "qwen2.5:32b"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[swarm]\nroles = ["boss"]\n', "c.toml:2: swarm.roles: Invalid enum value 'boss'"),
        ("[swarm]\nport = 0\n", "c.toml:2: swarm.port: Expected `int` >= 1"),
        ("[swarm]\n\nenrolment_port = 7334\n", "c.toml:3: swarm.enrolment_port is the same as swarm.port"),
        ("[swarm]\nbus_port = 7335\n", "c.toml:2: swarm.bus_port is the same as swarm.enrolment_port"),
        ('[swarm]\naddress = "8.8.8.8"\n', 'c.toml:2: swarm.address: "8.8.8.8" is no address of a LAN'),
        ('[swarm]\naddress = "attic"\n', 'c.toml:2: swarm.address: "attic" is no address of a LAN'),
        ('[swarm]\npeers = ["8.8.8.8"]\n', 'c.toml:2: static peer "8.8.8.8" is outside the LAN'),
        ("[swarm]\nprot = 1\n", "c.toml:2: swarm.prot: no such key"),
        ('[[routing.rule]]\ntype = "chat"\ntimeout_s = 0\n', "c.toml:3: routing.rule.timeout_s: Expected"),
        ('[[routing.rule]]\ntype = "a"\n[[routing.rule]]\ncolour = 1\n', "c.toml:3: routing.rule: "),
    ],
)
def test_wrong_swarm_is_refused(text: str, complaint: str) -> None:
    assert complaint in str(refusal(text))
