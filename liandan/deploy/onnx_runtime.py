"""Format onnx: one file, by torch's exporter; quantized by NNCF; computed by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.deploy.graph import Answer, Graph, Shapes

FILES = ("model.onnx",)
WRITES, COMPUTES, QUANTIZES = ("onnx", "onnxscript"), ("onnxruntime",), ("nncf", "onnx")  # packages
_QUIET = 3  # ONNX Runtime's errors alone


def write(graph: Graph, folder: Path) -> None:
    """model.onnx with the names of the graph's inputs, outputs and varying sizes."""
    import onnx

    program = torch.onnx.export(
        graph.program, (), input_names=list(graph.inputs), output_names=list(graph.outputs), dynamo=True, verbose=False
    )
    assert program is not None
    model = program.model_proto
    _name_sizes(model.graph, graph)
    onnx.save(model, folder / FILES[0])


def _name_sizes(drawn: Any, graph: Graph) -> None:
    """Give sizes that vary their names, for torch's are symbols such as s77."""
    names: dict[str, str] = {}
    for value in drawn.input:
        for size, name in zip(value.type.tensor_type.shape.dim, graph.shapes[value.name], strict=True):
            if size.dim_param and isinstance(name, str):
                names[size.dim_param] = name
    for value in (*drawn.input, *drawn.output, *drawn.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]


def quantize(source: Path, folder: Path, samples: Sequence[Mapping[str, np.ndarray]], attends: bool) -> None:
    """The float file of `source` in int8, its ranges taken from samples {input: array}."""
    import onnx

    from liandan.deploy.open_vino import quantized

    onnx.save(quantized(onnx.load(source / FILES[0]), [dict(sample) for sample in samples], attends), folder / FILES[0])


def start(folder: Path, shapes: Shapes, pinned: Mapping[str, int], threads: int, precision: str) -> Answer:
    """See open_vino.start. Computes in float32 whatever `precision` says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, _QUIET
    for name, size in pinned.items():
        options.add_free_dimension_override_by_name(name, size)
    session = onnxruntime.InferenceSession(str(folder / FILES[0]), options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, dict(zip(shapes, arrays, strict=True)))
