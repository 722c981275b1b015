"""Format openvino: OpenVINO's two files; quantized by NNCF; computed by OpenVINO on the CPU.

Both packages tell their makers of every use unless they are told not to; here nothing speaks to anybody unasked, so the package by which
they do it is kept from being imported, which they take as its absence.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liandan.deploy.graph import Answer, Graph, Shapes

FILES = ("model.xml", "model.bin")
WRITES, COMPUTES, QUANTIZES = ("openvino",), ("openvino",), ("nncf",)  # packages
_SAMPLES = 300  # NNCF's own default
_TELLS = "openvino_telemetry"


def write(graph: Graph, folder: Path) -> None:
    """model.xml and model.bin, weights in float32."""
    ov = _openvino()
    model = ov.convert_model(graph.program)
    for ports, names in ((model.inputs, graph.inputs), (model.outputs, graph.outputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    ov.save_model(model, folder / FILES[0], compress_to_fp16=False)


def quantize(source: Path, folder: Path, samples: Sequence[Mapping[str, np.ndarray]], attends: bool) -> None:
    """The float files of `source` in int8, their ranges taken from samples {input: array}."""
    ov = _openvino()
    model = quantized(ov.Core().read_model(source / FILES[0]), [dict(sample) for sample in samples], attends)
    ov.save_model(model, folder / FILES[0], compress_to_fp16=False)


def quantized(model: Any, samples: list[dict[str, np.ndarray]], attends: bool) -> Any:
    """An OpenVINO or ONNX model after NNCF's post-training quantization: weights symmetric, activations with a zero point."""
    _silence()
    import nncf

    nncf.set_log_level(40)  # errors
    return nncf.quantize(
        model, nncf.Dataset(samples), subset_size=min(_SAMPLES, len(samples)), preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if attends else None,
    )  # fmt: skip


def start(folder: Path, shapes: Shapes, pinned: Mapping[str, int], threads: int, precision: str) -> Answer:
    """Load a graph and compile it.

    Args:
        shapes: {input: its sizes, a name where they may vary}, in the order in which arrays will come.
        pinned: {name of a size that may vary: the size it will always have}, which lets a runtime plan ahead.
        precision: f32, or bf16 for what is not quantized.
    """
    core = _openvino().Core()
    model = core.read_model(folder / FILES[0])
    model.reshape({name: [pinned.get(size, -1) if isinstance(size, str) else size for size in sizes] for name, sizes in shapes.items()})
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(model, "CPU", options)

    def answer(arrays: list[np.ndarray]) -> list[np.ndarray]:
        found = compiled(dict(zip(shapes, arrays, strict=True)))
        return [found[i] for i in range(len(found))]

    return answer


def _openvino() -> Any:
    _silence()
    import openvino

    return openvino


def _silence() -> None:
    sys.modules.setdefault(_TELLS, None)  # pyright: ignore[reportArgumentType]
