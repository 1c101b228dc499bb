"""A graph for the tests of the TensorRT engine, its inputs and what it must give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from vqafast.engines import Shapes

if TYPE_CHECKING:
    from vqafast.engines.tensorrt_engine import TensorRtEngine

FLOAT = onnx.TensorProto.FLOAT
PROFILES = {"a": Shapes((1, 4), (2, 4), (40, 4)), "b": Shapes((1, 4), (2, 4), (40, 4))}


def model(
    factor: float = 3.0, static: bool = False, kind: int = FLOAT, dims: list[str | int] | None = None
) -> bytes:
    """Two inputs and two outputs that cannot be taken for each other: total = a + factor b, less = a - b."""
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make("Mul", ["b", "factor"], ["scaled"]),
        make("Add", ["a", "scaled"], ["total"]),
        make("Sub", ["a", "b"], ["less"]),
    ]
    dims = dims or [2 if static else "N", 4]
    body = onnx.helper.make_graph(
        nodes,
        "g",
        [info("a", FLOAT, dims), info("b", FLOAT, dims)],
        [info("total", kind, dims), info("less", FLOAT, dims)],
        [onnx.numpy_helper.from_array(np.asarray(factor, np.float32), "factor")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    data: bytes = onnx.helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def pair(rows: int = 2, seed: int = 0, columns: int = 4) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, columns, generator=generator) for name in ("b", "a")}


def check(engine: TensorRtEngine, inputs: dict[str, Any], factor: float = 3.0) -> None:
    result = engine.run(inputs)
    assert list(result) == ["total", "less"]
    torch.testing.assert_close(result["total"], inputs["a"] + factor * inputs["b"])
    torch.testing.assert_close(result["less"], inputs["a"] - inputs["b"])
