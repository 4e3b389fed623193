import asyncio
import os
import stat
import time
import wave
from pathlib import Path

import pytest

from hub.recordings import Recordings
from swarm.config import RecordingSection

ON = RecordingSection(enabled=True, max_mb=1, keep_days=2)
PCM = b"\x01\x02" * 200_000  # 0.4 MB


def test_nothing_is_recorded_unless_a_person_says_so(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "recordings", RecordingSection())
    assert asyncio.run(recordings.save("u1", PCM)) is None
    assert not (tmp_path / "recordings").exists()


def test_recording_is_a_wav_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = asyncio.run(Recordings(tmp_path / "recordings", ON).save("u1", PCM))
    assert path == tmp_path / "recordings" / "u1.wav"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with wave.open(str(path)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (16_000, 1, 2)
        assert recording.readframes(10**9) == PCM


def test_oldest_recordings_go_when_there_are_too_many(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, ON)
    (tmp_path / "notes.txt").write_text("a person's own file")
    for number in range(4):
        path = asyncio.run(recordings.save(f"u{number}", PCM))
        assert path is not None
        at = time.time() - 100 + number
        os.utime(path, (at, at))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes.txt", "u2.wav", "u3.wav"]


def test_one_recording_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, ON)
    asyncio.run(recordings.save("small", PCM))
    assert asyncio.run(recordings.save("large", PCM * 3)) is None
    assert [file.name for file in tmp_path.iterdir()] == ["small.wav"]


def test_old_recordings_expire_even_after_recording_was_switched_off(tmp_path: Path) -> None:
    for name in ("old", "new"):
        asyncio.run(Recordings(tmp_path, ON).save(name, PCM))
    for name, age_days in (("old", 3), ("new", 1)):
        at = time.time() - age_days * 86_400
        os.utime(tmp_path / f"{name}.wav", (at, at))
    assert len(list(tmp_path.iterdir())) == 2

    async def expire() -> None:
        off = RecordingSection(enabled=False, max_mb=1, keep_days=2)
        service = asyncio.create_task(Recordings(tmp_path, off).run())
        async with asyncio.timeout(5):
            while (tmp_path / "old.wav").exists():  # noqa: ASYNC110 a file tells nobody that it is gone
                await asyncio.sleep(0.01)
        service.cancel()

    asyncio.run(expire())
    assert [file.name for file in tmp_path.iterdir()] == ["new.wav"]


@pytest.mark.parametrize("name", ["../../outside", "a/b", "", ".", "x" * 65, "a\0b"])
def test_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(Recordings(tmp_path / "recordings", ON).save(name, PCM)) is None
    assert "no name for a file" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_disk_that_takes_nothing_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "recordings").write_text("a file where the folder should be")
    assert asyncio.run(Recordings(tmp_path / "recordings", ON).save("u1", PCM)) is None
    assert "cannot keep recordings" in caplog.text
