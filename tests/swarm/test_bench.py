import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from hub.intent import Context
from swarm.bench.corpus import AMBIGUOUS, COMMANDS, HALTING, NOT_COMMANDS, WAKE_VOICES, spread
from swarm.bench.hearing import Ears, virtual_home
from swarm.bench.report import Measurement, Report, Section, new_report, percentile, report_text, share, write_section
from swarm.bench.sound import mixed, silence, white_noise
from swarm.bench.speech import Recording, Speech
from swarm.bench.voice import QUICK, Size, bench_voice
from swarm.bench.waking import measure_detection, measure_false_wakes
from swarm.cli import main
from swarm.errors import EngineError, StorageError

T = TypeVar("T")
KITCHEN = Context("test", "Kitchen")


def with_speech(use: Callable[[Speech], Awaitable[T]]) -> T:
    async def body() -> T:
        speech = Speech()
        try:
            await speech.start()
            return await use(speech)
        finally:
            await speech.close()

    return asyncio.run(body())


def samples(pcm: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float64)


# ---- what is said


def test_commands_fit_the_virtual_flat_and_the_others_do_not() -> None:
    home = virtual_home()
    assert len(set(COMMANDS)) >= 60
    assert len(set(NOT_COMMANDS)) == 100
    assert [text for text in COMMANDS if not home.understand(text, KITCHEN)] == []
    assert [text for text in NOT_COMMANDS if home.understand(text, KITCHEN)] == []


def test_only_an_ambiguous_command_is_one_before_its_stop_too() -> None:
    home = virtual_home()
    for each in (*HALTING, *AMBIGUOUS):
        assert home.understand(f"{each.before} {each.after}", KITCHEN)
        assert bool(home.understand(each.before, KITCHEN)) == (each in AMBIGUOUS)


@pytest.mark.parametrize("count", [1, 7, 64, 100])
def test_a_spread_is_distinct_and_reaches_over_all(count: int) -> None:
    chosen = spread(COMMANDS, count)
    assert len(set(chosen)) == min(count, len(COMMANDS))
    assert chosen[0] == COMMANDS[0]
    assert list(chosen) == [text for text in COMMANDS if text in chosen]


# ---- recordings


def test_a_recording_knows_where_wake_word_and_command_truly_end() -> None:
    recording = with_speech(
        lambda speech: speech.recording(("set a timer for", "ten minutes"), "en-us", wake="okay nabu", pause_s=0.25)
    )
    sound = samples(recording.pcm)
    assert len(sound) == recording.speech_end
    assert sound[recording.wake_end - 1] != 0
    assert not sound[recording.wake_end : recording.wake_end + 4800].any()
    assert sound[recording.speech_end - 1] != 0
    quiet = "".join("." if each else " " for each in np.abs(sound[recording.wake_end + 4800 :]).reshape(-1)[::8] > 0)
    assert " " * (4000 // 8 - 1) in quiet


def test_a_tail_is_silence_and_noise_is_as_loud_as_asked() -> None:
    async def use(speech: Speech) -> tuple[Recording, Recording]:
        clean = await speech.recording(("stop",), "en-us", tail_s=0.5)
        return clean, await speech.recording(("stop",), "en-us", tail_s=0.5, snr_db=10.0)

    clean, noisy = with_speech(use)
    sound = samples(clean.pcm)
    assert len(sound) == clean.speech_end + 8000
    assert not sound[clean.speech_end :].any()
    noise = samples(noisy.pcm) - sound
    speaking = sound[np.abs(sound) > 100]
    assert 10 * np.log10(np.mean(speaking**2) / np.mean(noise**2)) == pytest.approx(10.0, abs=0.2)
    assert mixed(silence(0.1), white_noise(0.1), 10.0) == silence(0.1)


def test_voices_and_speeds_differ() -> None:
    async def use(speech: Speech) -> list[bytes]:
        hurried = [await speech.speak("turn on the lamp", "en-us", words_per_minute=speed) for speed in (130, 200)]
        return [*hurried, *[await speech.speak("turn on the lamp", voice) for voice in WAKE_VOICES]]

    slow, fast, *voices = with_speech(use)
    assert len(slow) > 1.2 * len(fast)
    assert len(set(voices)) == len(WAKE_VOICES) >= 20


def test_an_unknown_flite_voice_is_an_error() -> None:
    async def use(speech: Speech) -> None:
        if "flite:slt" not in speech.speakers:
            pytest.skip("ffmpeg has no flite here")
        with pytest.raises(EngineError, match="failed"):
            await speech.speak("hello", "flite:nobody")

    with_speech(use)


# ---- listening in audio time


def test_ears_hear_a_command_and_notice_when_it_was_cut_short() -> None:
    async def use(speech: Speech) -> None:
        ears = Ears(virtual_home(), wake_word="okay_nabu")
        try:
            await ears.start()
            whole = await ears.hear(
                await speech.recording(("turn on the kitchen lamp",), "en-us", wake="okay nabu", tail_s=2.0)
            )
            assert whole.woke
            assert whole.reason == "silence"
            assert not whole.cut_short
            assert ears.meaning(whole.transcript.text) == [("HassTurnOn", {"name": "light.flat_kitchen_lamp"})]
            parts = ("turn on the kitchen lamp", "what time is it")
            broken = await ears.hear(await speech.recording(parts, "en-us", pause_s=1.0, tail_s=2.0))
            assert broken.cut_short
            assert broken.waited_ms < -500
            assert not broken.woke
            nothing = await ears.hear(await speech.recording((), "en-us", wake="okay nabu", tail_s=5.0))
            assert (nothing.reason, nothing.transcript.accepted) == ("nothing_said", False)
            unfinished = await ears.hear(await speech.recording(("turn on the kitchen lamp",), "en-us"))
            assert unfinished.reason is None
        finally:
            await ears.close()

    with_speech(use)


def test_wakes_are_counted_for_the_model_whose_word_was_said() -> None:
    async def use(speech: Speech) -> tuple[Section, Section, Section]:
        calls = ["alexa", "they painted the whole house yellow"]
        called = await measure_false_wakes(speech, seconds=6.0, tell=print, talk=calls)
        quiet = await measure_false_wakes(speech, seconds=4.0, tell=print, talk=NOT_COMMANDS)
        return called, quiet, await measure_detection(speech, WAKE_VOICES[:1])

    called, quiet, heard = with_speech(use)
    hourly = {each.what: each.value or 0.0 for each in called.measurements}
    assert [model for model, value in hourly.items() if value] == ["alexa"]
    assert 3600 / 8.0 < hourly["alexa"] <= 3 * 3600 / 6.0  # once to thrice in 6 to 8 s
    assert [each.value for each in quiet.measurements] == [0.0] * 4
    assert {each.what: each.value for each in heard.measurements}["okay_nabu, clean"] == 100.0


# ---- the report


@pytest.mark.parametrize(
    ("measurement", "met"),
    [
        (Measurement("free", 5.0), None),
        (Measurement("low enough", 5.0, most=5.0), True),
        (Measurement("too much", 5.1, most=5.0), False),
        (Measurement("high enough", 90.0, least=90.0), True),
        (Measurement("too little", 89.9, least=90.0), False),
        (Measurement("promised, not measured", None, most=5.0), False),
    ],
    ids=lambda value: value.what if isinstance(value, Measurement) else "",
)
def test_a_target_is_met_or_missed(measurement: Measurement, met: bool | None) -> None:
    assert measurement.met is met
    shown = report_text(new_report("Voice", [Section("s", (measurement,))], load=0.0))
    assert ("MISSED" in shown, " met" in shown) == (met is False, met is True)


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0], 95) == 3.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 95) == 95.0
    assert share(0, 0) is None
    assert share(1, 4) == 25.0


def report_of(value: float) -> Report:
    return new_report("Voice", [Section("Speed", (Measurement("first audio", value, "ms", most=350),))], load=0.5)


def test_a_report_replaces_only_its_own_section(tmp_path: Path) -> None:
    path = tmp_path / "BENCHMARKS.md"
    path.write_text(
        "# Benchmarks\n\nHand-made.\n\n## Voice\n\nold\n\n### Part\n\nold too\n\n## Voice of others\n\nkept\n"
    )
    write_section(path, report_of(123.0))
    text = path.read_text()
    assert text.startswith("# Benchmarks\n\nHand-made.\n\n## Voice\n\n")
    assert text.endswith("\n\n## Voice of others\n\nkept\n")
    assert "old" not in text
    assert "| first audio |" in text
    assert "123 ms" in text
    write_section(path, report_of(234.0))
    assert path.read_text() == text.replace("123 ms", "234 ms")


def test_a_report_starts_the_file_or_is_appended(tmp_path: Path) -> None:
    new, old = tmp_path / "new.md", tmp_path / "old.md"
    write_section(new, report_of(1.0))
    assert new.read_text().startswith("# Benchmarks\n\n## Voice\n")
    old.write_text("# Mine\n\n## Other\n\ntext\n")
    write_section(old, report_of(1.0))
    assert old.read_text().startswith("# Mine\n\n## Other\n\ntext\n\n## Voice\n")
    with pytest.raises(StorageError, match="cannot write the report"):
        write_section(tmp_path, report_of(1.0))


# ---- the whole


def test_command_prints_a_table_or_json_and_writes_only_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[Size] = []

    async def measured(size: Size, tell: Callable[[str], None]) -> Report:
        sizes.append(size)
        tell("under way")
        return report_of(300.0)

    monkeypatch.setattr("swarm.bench.voice.bench_voice", measured)
    path = tmp_path / "out.md"
    table = CliRunner().invoke(main, ["bench", "voice", "--quick"])
    assert table.exit_code == 0
    assert sizes == [QUICK]
    assert "≤ 350 ms" in table.stdout
    assert "under way" not in table.stdout
    assert "under way" in table.stderr
    assert not path.exists()
    as_json = CliRunner().invoke(main, ["bench", "voice", "--quick", "--json", "--write", str(path)])
    assert json.loads(as_json.stdout)["sections"][0]["measurements"][0]["value"] == 300.0
    assert "300 ms" in path.read_text()


@pytest.mark.timeout(240)
def test_everything_is_measured_with_a_node_that_is_gone_afterwards() -> None:
    told: list[str] = []
    size = Size(answers=1, idle_s=0.5, commands=1, others=1, speakers=1, talk_s=3.0, voices=1)
    report = asyncio.run(bench_voice(size, told.append))
    found = {(section.title, each.what): each for section in report.sections for each in section.measurements}
    assert [key for key, each in found.items() if each.value is None] == []
    speed = {
        what: each.value or 0.0 for (title, what), each in found.items() if title == "End of speech to first audio"
    }
    assert speed["commands without a spoken answer"] == 0
    total = speed["end of speech to first audio, p50"]
    steps = sum(value for what, value in speed.items() if what.startswith("step") and what.endswith("p50"))
    assert total == pytest.approx(steps, abs=60.0)  # two clocks and a line between them
    assert (found["Always on", "resident memory of the satellite"].value or 0) > 20
    assert found["Commands understood", "clean: understood"].value == 100.0
    assert any(line.startswith("turn on the kitchen lamp: ") for line in told)
    assert [child for child in psutil.Process().children(recursive=True) if "bench.toml" in str(child.cmdline())] == []
