"""Single operators against ONNX's own reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from tests.engines.onnx_graphs import difference, model, one, run  # noqa: E402

from vqafast.engines.onnx_module import OnnxModule  # noqa: E402


def f32(*shape: int, seed: int = 7) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


MAXIMUM = 2**63 - 1
# name: nodes, shape of x, constants[, opset]
SINGLE: dict[str, tuple[Any, ...]] = {
    "pow": ([one("Abs", "x", out="a"), one("Pow", "a", "e")], (2, 3), {"e": np.float32(1.5)}),
    "pow of an integer": ([one("Pow", "x", "e")], (2, 3), {"e": i64(2)}),
    "outputs without a name": (
        [helper.make_node("LayerNormalization", ["x", "s"], ["y", "", ""])], (2, 3), {"s": f32(3)},
    ),
    "tanh": ([one("Tanh", "x")], (5,), {}),
    "erf": ([one("Erf", "x")], (5,), {}),
    "floor": ([one("Floor", "x", out="a"), one("Ceil", "a")], (5,), {}),
    "integers": (
        [one("Shape", "x", out="s", end=1), one("Neg", "s", out="n"), one("Mod", "n", "m", out="k"),
         one("Div", "n", "m", out="d"), one("Concat", "k", "d", out="t", axis=0),
         one("Reshape", "r", "t", out="u"), one("Add", "x", "u")],
        (5, 1), {"m": i64(3), "r": f32(2)},
    ),
    "gemm": (
        [one("Gemm", "x", "b", "c", alpha=0.5, beta=2.0, transA=1, transB=1)],
        (3, 2), {"b": f32(4, 3), "c": f32(4)},
    ),
    "gemm without c": ([one("Gemm", "x", "b", alpha=0.5)], (2, 3), {"b": f32(3, 4)}),
    "matmul of one": ([one("MatMul", "x", "w")], (3, 1), {"w": f32(1, 1)}),
    "global pool": ([one("GlobalAveragePool", "x")], (2, 3, 5, 4), {}),
    "batch norm": (
        [one("BatchNormalization", "x", "s", "b", "m", "v", epsilon=1e-3)],
        (2, 3, 4), {"s": f32(3), "b": f32(3), "m": f32(3), "v": np.abs(f32(3))},
    ),
    "layer norm": (
        [one("LayerNormalization", "x", "s", axis=-2, epsilon=1e-3)], (2, 3, 4), {"s": f32(3, 4)},
    ),
    "flatten": ([one("Flatten", "x", axis=2)], (2, 3, 4), {}),
    "flatten all": ([one("Flatten", "x", axis=0)], (2, 3), {}),
    "reshape": ([one("Reshape", "x", "s")], (2, 3, 4), {"s": i64(0, -1)}),
    "reshape to nothing": ([one("Reshape", "x", "s", allowzero=1)], (2, 0), {"s": i64(0, 3)}),
    "expand": ([one("Expand", "x", "s")], (3, 1), {"s": i64(2, 1, 4)}),
    "squeeze all": ([one("Squeeze", "x")], (1, 3, 1), {}),
    "squeeze": ([one("Squeeze", "x", "a")], (1, 3, 1), {"a": i64(-1)}),
    "unsqueeze": ([one("Unsqueeze", "x", "a")], (3, 2), {"a": i64(-1, 0)}),
    "transpose": ([one("Transpose", "x")], (3, 2, 4), {}),
    "slice": (
        [one("Slice", "x", "s", "e", "a", "t")],
        (7, 6), {"s": i64(-1, 1), "e": i64(-MAXIMUM, MAXIMUM), "a": i64(0, -1), "t": i64(-2, 3)},
    ),
    "slice backwards to nothing": (
        [one("Slice", "x", "s", "e", "a", "t")], (4,), {"s": i64(0), "e": i64(2), "a": i64(0), "t": i64(-1)},
    ),
    "slice of all axes": ([one("Slice", "x", "s", "e")], (7, 6), {"s": i64(1, -3), "e": i64(5, -1)}),
    "split": (
        [helper.make_node("Split", ["x"], ["a", "b"], axis=-1), one("Sub", "b", "a")], (3, 6), {},
    ),
    "gather": ([one("Gather", "x", "i", axis=1)], (2, 4, 3), {"i": np.array([[0, -1], [2, 2]])}),
    "gather one": ([one("Gather", "x", "i", axis=-1)], (2, 4), {"i": np.array(-2)}),
    "clip": ([one("Clip", "x", "l", "h")], (9,), {"l": np.float32(-0.2), "h": np.float32(0.3)}),
    "clip above": ([one("Clip", "x", "", "h")], (9,), {"h": np.float32(0.3)}),
    "clip below": ([one("Clip", "x", "l")], (9,), {"l": np.float32(-0.2)}),
    "clip nothing": ([one("Clip", "x")], (9,), {}),
    "where": (
        [one("Less", "x", "z", out="c"), one("Where", "c", "m", "p")],
        (9,), {"z": np.float32(0), "m": np.float32(-1), "p": np.float32([2])},
    ),
    "logic": (
        [one("GreaterOrEqual", "x", "l", out="a"), one("LessOrEqual", "x", "h", out="b"),
         one("And", "a", "b", out="c"), one("Not", "c", out="d"), one("Equal", "x", "l", out="e"),
         one("Or", "d", "e", out="o"), one("Cast", "o", out="y", to=TensorProto.FLOAT)],
        (9,), {"l": np.float32(-0.5), "h": np.float32([0.5])},
    ),
    "cast": (
        [one("Cast", "x", out="b", to=TensorProto.BOOL), one("Cast", "b", to=TensorProto.FLOAT)], (3,), {},
    ),
    "higher constant": ([one("Sub", "c", "x")], (3,), {"c": f32(1, 1)}),
    "constants": (
        [helper.make_node("Constant", [], ["a"], value_floats=[1.0, 2.0]),
         helper.make_node("Constant", [], ["b"], value_float=0.5),
         helper.make_node("Constant", [], ["c"], value_ints=[2, 1]),
         helper.make_node("Constant", [], ["d"], value_int=2),
         one("Mul", "a", "b", out="ab"), one("Reshape", "ab", "c", out="r"), one("Pow", "r", "d", out="p"),
         one("Mul", "x", "p")],
        (2, 3), {},
    ),
    "full of one number": (
        [one("Shape", "x", out="s", start=1), one("ConstantOfShape", "s", out="z"),
         one("Cast", "s", out="f", to=TensorProto.FLOAT), one("Expand", "h", "s", out="e"),
         one("Concat", "z", "e", "f", out="c", axis=0), one("Mul", "x", "c")],
        (2, 1), {"h": np.float32([0.5])},
    ),
    "range": (
        [one("Shape", "x", out="s", start=-1), one("Squeeze", "s", out="n"),
         one("Range", "n", "l", "d", out="r"), one("Reshape", "x", "r")],
        (2, 3), {"l": np.array(1), "d": np.array(-1)},
    ),
    "pad": ([one("Pad", "x", "p", "v")], (2, 3, 4), {"p": i64(0, 1, 2, 1, 0, 3), "v": np.float32(0.5)}),
    "pad with zeros": ([one("Pad", "x", "p")], (3, 4), {"p": i64(0, 1, 2, 0)}),
    "pad with the edge": (
        [one("Pad", "x", "p", mode="edge")], (1, 2, 3, 4), {"p": i64(0, 0, 1, 2, 0, 0, 3, 0)},
    ),
    "pad mirrored": (
        [one("Pad", "x", "p", mode="reflect")], (1, 2, 3, 4), {"p": i64(0, 0, 1, 2, 0, 0, 2, 0)},
    ),
    "pad nothing": ([one("Pad", "x", "p", mode="edge")], (2, 3), {"p": i64(0, 0, 0, 0)}),
    "conv of one axis": (
        [one("Conv", "x", "w", "b", group=2, dilations=[2], pads=[3, 1], strides=[2])],
        (2, 4, 11), {"w": f32(6, 2, 3), "b": f32(6)},
    ),
    "conv of two axes": ([one("Conv", "x", "w", pads=[1, 0, 1, 0])], (2, 3, 6, 7), {"w": f32(4, 3, 3, 1)}),
    "conv of three axes": (
        [one("Conv", "x", "w", kernel_shape=[2, 1, 3], pads=[0, 1, 0, 1, 0, 2], strides=[1, 2, 1])],
        (1, 2, 4, 5, 6), {"w": f32(3, 2, 2, 1, 3)},
    ),
    "max pool": (
        [one("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], (1, 2, 8, 6), {},
    ),
    "max pool, uneven": (
        [one("MaxPool", "x", kernel_shape=[3, 2], pads=[0, 1, 2, 0], dilations=[1, 2])], (1, 2, 8, 6), {},
    ),
    "average pool": (
        [one("AveragePool", "x", kernel_shape=[3], pads=[1, 1], strides=[2], ceil_mode=1)], (1, 2, 8), {},
    ),
    "average pool, uneven": (
        [one("AveragePool", "x", kernel_shape=[3, 2], pads=[0, 1, 2, 0], count_include_pad=1)],
        (1, 2, 8, 6), {},
    ),
    "average pool, counted": (
        [one("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 1], count_include_pad=1)],
        (1, 2, 8, 6), {},
    ),
    "resize": (
        [one("Resize", "x", "", "", "s", mode="linear", coordinate_transformation_mode="half_pixel")],
        (1, 2, 3, 4), {"s": i64(1, 2, 5, 7)},
    ),
    "gru from zero": (
        [helper.make_node("GRU", ["x", "w", "r"], ["a", "b"], hidden_size=3, linear_before_reset=1),
         one("Squeeze", "a", "k", out="c"), one("Add", "c", "b")],
        (5, 2, 4), {"w": f32(1, 9, 4), "r": f32(1, 9, 3), "k": i64(1)},
    ),
    "gru, the last state": (
        [helper.make_node("GRU", ["x", "w", "r", "b", "", "h"], ["", "y"], linear_before_reset=1)],
        (5, 2, 4), {"w": f32(1, 9, 4), "r": f32(1, 9, 3), "b": f32(1, 18), "h": f32(1, 2, 3)},
    ),
    **{
        f"{kind} {text}": ([one(kind, "x", **attributes)], (2, 3, 4), {})
        for kind in ("ReduceMax", "ReduceMean", "ReduceMin")
        for text, attributes in (
            ("two axes", {"axes": [0, -1], "keepdims": 0}), ("one axis", {"axes": [1]}), ("all", {}),
        )
    },
    **{
        f"{kind} of an input": ([one(kind, "x", "a", keepdims=0)], (2, 3, 4), {"a": i64(-1, 0)}, 18)
        for kind in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
    },
    "reduce to a length": ([one("ReduceL2", "x", axes=[-1])], (2, 3, 4), {}),
    "largest and where": (
        [helper.make_node("TopK", ["x", "k"], ["v", "i"]), one("Cast", "i", out="f", to=TensorProto.FLOAT),
         one("Concat", "v", "f", axis=-1)],
        (2, 7), {"k": i64(3)},
    ),
    "the first of equals": (
        [one("Floor", "x", out="w"), helper.make_node("TopK", ["w", "k"], ["v", "i"], axis=0),
         one("Cast", "i", to=TensorProto.FLOAT)],
        (9, 2), {"k": i64(9)},
    ),
    "smallest": (
        [helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=0, largest=0), one("Sub", "x", "v")],
        (4, 3), {"k": i64(4)},
    ),
    "gather where the largest are": (
        [helper.make_node("TopK", ["x", "k"], ["v", "i"]), one("Mul", "i", "t", out="j"),
         one("Add", "j", "o", out="l"), one("Mod", "l", "m", out="n"), one("Gather", "x", "n", axis=1)],
        (2, 7), {"k": i64(3), "t": i64(2), "o": i64(0, 1, 5), "m": i64(7)},
    ),
    "gather from a table": (
        [helper.make_node("TopK", ["x", "k"], ["v", "i"]), one("Gather", "t", "i", out="g", axis=0),
         one("Div", "g", "d", out="h"), one("Cast", "h", to=TensorProto.FLOAT)],
        (5,), {"k": i64(2), "t": i64(7, -7, 9, 11, 13), "d": i64(2)},
    ),
    "gather elements": (
        [helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=0), one("GatherElements", "x", "i", axis=0)],
        (4, 3), {"k": i64(2)},
    ),
    "gather fixed elements": (
        [one("GatherElements", "x", "i", axis=1)], (2, 3), {"i": np.array([[0, 2], [1, 1]])},
    ),
    "product of a shape": (
        [one("Shape", "x", out="s"), one("ReduceProd", "s", out="p", keepdims=0),
         one("Unsqueeze", "p", "a", out="n"),
         one("Reshape", "x", "n")],
        (2, 3, 4), {"a": i64(0)},
    ),
    "reduce nothing": ([one("ReduceSum", "x", noop_with_empty_axes=1)], (2, 3), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_single_operators(name: str) -> None:
    nodes, shape, constants, *opset = SINGLE[name]
    data = model(nodes, list(shape), constants, *opset)
    x = f32(*shape, seed=3)
    (expected,) = ReferenceEvaluator(data).run(None, {"x": x})
    (got,) = run(OnnxModule(data), [x])
    assert got.dtype == np.float32
    if got.size or expected.size:
        # f32 against f32 by another order of a few sums
        assert difference(got, expected) <= 1e-5
    assert got.shape == expected.shape


def test_negative_pads_crop() -> None:
    data = model([one("Pad", "x", "p", "v")], [3, 4], {"p": i64(0, -1, 1, 2), "v": np.float32(0.5)})
    x = f32(3, 4)
    expected = np.pad(x, ((0, 1), (0, 2)), constant_values=0.5)[:, 1:]
    np.testing.assert_array_equal(run(OnnxModule(data), [x])[0], expected)
