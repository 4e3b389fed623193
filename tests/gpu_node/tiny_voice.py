"""Makes a Piper voice of a few hundred bytes: every phoneme is 20 ms of a tone, higher for a higher phoneme id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RATE = 16_000
SAMPLES_PER_PHONEME = 320
HERTZ_PER_ID = 20.0
LETTERS = "abcdefghijklmnopqrstuvwxyz .!?"


def make_tiny_voice(folder: Path, *, phoneme_type: str = "text") -> Path:
    """Write `tiny.onnx` and `tiny.onnx.json` to `folder`; returns the path of the first."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: Any) -> Any:
        return numpy_helper.from_array(np.asarray(value), name)

    # sin(2 pi * HERTZ_PER_ID * id * t): ids [1, n] x times [SAMPLES] become [n, SAMPLES], then one row of samples.
    times = np.arange(SAMPLES_PER_PHONEME, dtype=np.float32) * (2 * np.pi * HERTZ_PER_ID / RATE)
    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["ids", "column"], ["ids_column"]),
        helper.make_node("Mul", ["ids_column", "times"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["tones"]),
        helper.make_node("Reshape", ["tones", "audio_shape"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny_voice",
        inputs=[
            helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        ],
        outputs=[helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "samples"])],
        initializer=[
            constant("times", times.astype(np.float32)),
            constant("column", np.array([-1, 1], dtype=np.int64)),
            constant("audio_shape", np.array([1, 1, 1, -1], dtype=np.int64)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "tiny.onnx"
    onnx.save(model, str(path))
    ids = {"_": [0], "^": [1], "$": [2], **{letter: [10 + place] for place, letter in enumerate(LETTERS)}}
    config = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "phoneme_type": phoneme_type,
        "num_symbols": 64,
        "num_speakers": 1,
        "phoneme_id_map": ids,
    }
    path.with_name("tiny.onnx.json").write_text(json.dumps(config), encoding="utf-8")
    return path
