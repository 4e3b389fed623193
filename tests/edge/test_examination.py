import subprocess
from collections.abc import Iterator

import pytest

from edge.examination import Examination
from swarm.audio import SILENCE_DBFS, duration_s, level_dbfs
from swarm.config import Config
from swarm.errors import AudioDeviceError
from tests.edge.pulse import pulse_server


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    with pulse_server(monkeypatch) as server:
        yield server


def test_a_second_of_the_microphone_and_the_speaker_are_found(pulse: object) -> None:
    edge = Examination()
    sample = edge.hear_microphone("pulse")
    assert sample.device == "pulse"
    assert sample.rate > 0
    assert duration_s(sample.pcm) == 1.0
    assert level_dbfs(sample.pcm) == SILENCE_DBFS
    assert edge.find_speaker("pulse").device == "pulse"
    with pytest.raises(AudioDeviceError, match="no microphone is called"):
        edge.hear_microphone("gramophone")


def test_models_that_listen_load() -> None:
    Examination().load_listening_models(Config())
