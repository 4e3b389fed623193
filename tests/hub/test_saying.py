from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.saying import Saying, SayRequest, SayResult, parse_say
from swarm.announcement import Announcement, Report, Until, Whom
from swarm.audio import write_wav
from swarm.errors import AudioError, MalformedMessage, MycoswarmError

PLACES = (("bed", "Bedroom"), ("hall", ""))


@dataclass
class Satellites:
    said: list[Announcement] = field(default_factory=list)

    async def say(self, announcement: Announcement, whom: Whom, *, until: Until = "sent") -> tuple[Report, ...]:
        meant = [place for place in PLACES if whom.means(*place)]
        self.said += [announcement] * bool(meant)
        return tuple(Report(name, area, "played" if until == "played" else "waits") for name, area in meant)


def say(folder: Path, **request: Any) -> tuple[SayResult, list[Announcement]]:
    satellites = Satellites()
    saying = Saying(satellites.say, folder, lambda: PLACES)
    return asyncio.run(saying.say(SayRequest(**request), until="played")), satellites.said


def test_text_is_said_in_all_rooms_as_it_comes(tmp_path: Path) -> None:
    result, said = say(tmp_path, text="  Dinner \n is ready ", volume=30, chime=False)
    assert [each.satellite for each in result.reports] == ["bed", "hall"]
    assert said == [Announcement("Dinner is ready", chime=False, volume=30)]


def test_rooms_that_nobody_stands_in_are_told(tmp_path: Path) -> None:
    result, _ = say(tmp_path, text="Dinner", to=("bedroom", "cellar"))
    assert (result.reports, result.missed) == ((Report("bed", "Bedroom", "played"),), ("cellar",))
    with pytest.raises(MycoswarmError, match="no satellite answers to: cellar") as caught:
        say(tmp_path, text="Dinner", to="cellar")
    assert caught.value.hint == "connected here: bed (Bedroom), hall"


def test_sound_of_the_media_folder_is_played(tmp_path: Path) -> None:
    (tmp_path / "bell.wav").write_bytes(write_wav(b"\1\0" * 800, 8_000))
    _, said = say(tmp_path, media="bell.wav")
    assert (said[0].text, said[0].rate, len(said[0].sound)) == ("bell.wav", 16_000, 3_200)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "either"),
        ({"text": " "}, "either"),
        ({"text": "a", "media": "bell.wav"}, "either"),
        ({"media": "../bell.wav"}, "no name of a file"),
        ({"media": "/etc/passwd"}, "no name of a file"),
        ({"media": ".."}, "no name of a file"),
        ({"media": "a\0b"}, "no name of a file"),
        ({"media": "none.wav"}, "no sound"),
        ({"media": "x" * 200}, "no sound"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(tmp_path: Path, request_: dict[str, Any], error: str) -> None:
    with pytest.raises(MalformedMessage, match=error):
        say(tmp_path, **request_)


def test_files_that_are_no_sound_or_too_long_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "long.wav").write_bytes(write_wav(bytes(2 * 4_000 * 61), 4_000))
    for name in ("text.wav", "long.wav"):
        with pytest.raises(AudioError):
            say(tmp_path, media=name)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no", b"[]", b'{"text": 1}', b'{"text": "a", "volume": 101}', b'{"text": "a", "to": [""]}',
        b'{"text": "a", "unknown": 1}', b"\xff", b"[" * 5_000, msgspec.json.encode({"text": "a" * 1_001}),
    ],
)  # fmt: skip
def test_bodies_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage, match="nothing to say"):
        parse_say(body)
