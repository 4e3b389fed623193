"""Wake words by microWakeWord models, which come inside pymicro-wakeword."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.engine import RATE, Detection
from swarm.errors import EngineUnavailable

REFRACTORY_S = 2.0
"""After a detection nothing is detected for this long, in audio: a wake word's echo and its own tail stay quiet."""

_STEP_SAMPLES = 160
_STEP_BYTES = 2 * _STEP_SAMPLES


class MicroWakeDetector:
    """A `WakeDetector` for one or several wake words that share one feature extraction.

    `wake_words` are model ids: okay_nabu, alexa, hey_jarvis, hey_mycroft. `sensitivity` 0 to 1 moves every model's
    probability cutoff: 0.5 is what its makers set, 1 half of that, 0 nearly certain. Raises `EngineUnavailable`.
    """

    def __init__(self, wake_words: Sequence[str], sensitivity: float = 0.5) -> None:
        try:
            from pymicro_features import MicroFrontend
            from pymicro_wakeword import MicroWakeWord, Model
        except (ImportError, OSError) as error:
            raise EngineUnavailable(
                f"wake words cannot be listened for: {error}", hint="pip install 'mycoswarm[edge]'"
            ) from error
        unknown = sorted(set(wake_words) - {model.value for model in Model})
        if unknown:
            raise EngineUnavailable(
                f"no wake word model is called {', '.join(unknown)}",
                hint=f"there are {', '.join(sorted(model.value for model in Model))}",
            )
        self._frontend = MicroFrontend()
        self._models = [MicroWakeWord.from_builtin(Model(word)) for word in dict.fromkeys(wake_words)]
        self._cutoffs = [cutoff_for(model.probability_cutoff, sensitivity) for model in self._models]
        self._pending = bytearray()
        self._refractory_samples = 0

    def process(self, pcm: bytes) -> Detection | None:
        """Feed 16 kHz audio; the first detection in it, if any. The whole of `pcm` is consumed either way."""
        self._pending += pcm
        found: Detection | None = None
        position, end = 0, len(self._pending) - _STEP_BYTES
        while position <= end:
            detection = self._step(bytes(self._pending[position : position + _STEP_BYTES]))
            position += _STEP_BYTES
            found = found or detection
        del self._pending[:position]
        return found

    def reset(self) -> None:
        """Forget the audio so far. Loads every model anew (0.4 ms each): not for every utterance."""
        self._frontend.reset()
        for model in self._models:
            model.reset()
        self._pending.clear()
        self._refractory_samples = 0

    def _step(self, pcm: bytes) -> Detection | None:
        import numpy as np

        self._refractory_samples = max(0, self._refractory_samples - _STEP_SAMPLES)
        features = self._frontend.process_samples(pcm).features
        if not features:
            return None
        window = np.array(features, dtype=np.float32).reshape(1, 1, -1)
        found: Detection | None = None
        for model, cutoff in zip(self._models, self._cutoffs, strict=True):
            probability = model.process_streaming_prob(window)
            if probability is not None and probability > cutoff and self._refractory_samples == 0:
                self._refractory_samples = round(REFRACTORY_S * RATE)
                found = Detection(model.id, model.wake_word.casefold(), round(float(probability), 4))
        return found


def cutoff_for(model_cutoff: float, sensitivity: float) -> float:
    """The probability that a detection must exceed: straight lines from 0.99 (sensitivity 0) over the model's own
    cutoff (0.5) to half of it (1)."""
    sensitivity = min(max(sensitivity, 0.0), 1.0)
    strict = max(0.99, model_cutoff)
    if sensitivity <= 0.5:
        return strict + (model_cutoff - strict) * sensitivity / 0.5
    return model_cutoff * (1 - (sensitivity - 0.5))
