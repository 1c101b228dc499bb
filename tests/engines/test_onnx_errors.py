"""What `OnnxModule` refuses, in the words that it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from tests.engines.onnx_graphs import model, one  # noqa: E402

from vqafast.engines.onnx_module import OnnxModule  # noqa: E402
from vqafast.errors import InvalidArgument, ModelError, Unsupported  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(ModelError, match="ONNX graph cannot be read") as caught:
        OnnxModule(path)
    assert caught.value.path == str(path)
    for bad in (b"", b"garbage", tmp_path / "none.onnx"):
        with pytest.raises(ModelError, match="ONNX graph cannot be read"):
            OnnxModule(bad)
    with pytest.raises(ModelError, match=r"ONNX graph is not valid: Nodes .* must be topologically sorted"):
        OnnxModule(model([one("Add", "x", "nothing")], [2]))
    with pytest.raises(ModelError, match=r"ONNX graph is not valid: .*axis"):
        OnnxModule(model([one("Concat", "x", "x")], [2]))


CONV = {"w": np.ones((1, 1, 3), np.float32)}
GRU = {"w": np.ones((1, 9, 4), np.float32), "r": np.ones((1, 9, 3), np.float32)}


def gru(**attributes: Any) -> bytes:
    given = {"hidden_size": 3, "linear_before_reset": 1, **attributes}
    return model([helper.make_node("GRU", ["x", "w", "r"], ["", "y"], **given)], [5, 2, 4], GRU)


UNSUPPORTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "operator": (
        lambda: model([one("Det", "x", name="d")], [2, 2]),
        r"onnx: operator must be one of Abs, Add, .*, Where, got Det in node d$",
    ),
    "operator of a domain": (
        lambda: model([one("Gelu", "x", domain="com.microsoft")], [2]),
        r"onnx: operator must be one of .*, got com.microsoft.Gelu in node y$",
    ),
    "opset": (
        lambda: model([one("Relu", "x")], [2], opset=16),
        r"opset must be one of \[17, 18\], got \{'': 16\}",
    ),
    "domain": (
        lambda: model([one("Relu", "x")], [2], domain="other"),
        r"opset must be .*, got \{'other': 17\}",
    ),
    "unknown attribute": (
        lambda: model([one("Relu", "x", slope=1.0)], [2]),
        r"attributes of Relu must be of \[\], got slope in node y",
    ),
    "attribute of another opset": (
        lambda: model([helper.make_node("Split", ["x"], ["y", "z"], num_outputs=2)], [2], opset=18),
        r"attributes of Split must be of \['axis'\], got num_outputs",
    ),
    "attribute of a constant": (
        lambda: model([helper.make_node("Constant", [], ["c"], value_string="a"), one("Relu", "x")], [2]),
        "attributes of Constant must be of .*, got value_string in node c",
    ),
    "activations": (
        lambda: gru(activations=["Relu", "Tanh"]),
        "attributes of GRU must be of .*, got activations",
    ),
    "reset after": (
        lambda: gru(linear_before_reset=0),
        r"GRU: linear_before_reset must be one of \[1\], got 0",
    ),
    "backwards": (
        lambda: gru(direction="reverse"),
        "GRU: direction must be one of .*, got 'reverse' in node y",
    ),
    "weights of the gru": (
        lambda: model(
            [
                one("ReduceMax", "x", out="m", keepdims=0),
                one("Mul", "w", "m", out="v"),
                helper.make_node("GRU", ["x", "v", "r"], ["", "y"], linear_before_reset=1),
            ],
            [5, 2, 4],
            GRU,
        ),
        "GRU: input 1 must be a constant, is computed in node y",
    ),
    "padding by name": (
        lambda: model([one("Conv", "x", "w", auto_pad="SAME_UPPER")], [1, 1, 5], CONV),
        r"Conv: auto_pad must be one of \['NOTSET'\], got 'SAME_UPPER' in node y",
    ),
    "kernel": (
        lambda: model([one("Conv", "x", "w", kernel_shape=[2])], [1, 1, 5], CONV),
        r"Conv: kernel_shape must be one of \[\[3\]\], got \[2\]",
    ),
    "uneven pads beside ceil": (
        lambda: model([one("MaxPool", "x", kernel_shape=[3], pads=[1, 0], ceil_mode=1)], [1, 1, 5]),
        "MaxPool: pads must be even and small when ceil_mode is 1",
    ),
    "uneven pads that do not count": (
        lambda: model([one("AveragePool", "x", kernel_shape=[3], pads=[1, 0])], [1, 1, 5]),
        "AveragePool: pads must be even and small when count_include_pad is 0",
    ),
    "mode": (
        lambda: model([one("Resize", "x", "", "", "s")], [1, 1, 2, 2], {"s": np.array([1, 1, 4, 4])}),
        r"Resize: mode must be one of \['cubic', 'linear'\], got 'nearest'",
    ),
    "scales": (
        lambda: model(
            [one("Resize", "x", "", "s", mode="cubic")], [1, 1, 2, 2], {"s": np.ones(4, np.float32)}
        ),
        "Resize: input 's' in node y must be left out",
    ),
    "remainder": (
        lambda: model([one("Mod", "x", "x", fmod=1)], [2]),
        r"Mod: fmod must be one of \[0\], got 1",
    ),
    "indices": (
        lambda: model([helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2])], [1, 1, 5]),
        "MaxPool must have at most 1 inputs and one output",
    ),
    "axes of another opset": (
        lambda: model(
            [one("Pad", "x", "p", "", "a")], [2], {"p": np.array([0, 1]), "a": np.array([0])}, opset=18
        ),
        "Pad must have at most 3 inputs and one output",
    ),
    "type of the input": (
        lambda: model([one("Cast", "x", to=1)], [2], kinds=(TensorProto.DOUBLE, TensorProto.FLOAT)),
        "input 'x' must be FLOAT, got DOUBLE",
    ),
    "type of the output": (
        lambda: model([one("Shape", "x")], [2], kinds=(TensorProto.FLOAT, TensorProto.INT64)),
        "output 'y' must be FLOAT, got INT64",
    ),
    "type of a constant": (
        lambda: model([one("Add", "x", "c")], [2], {"c": np.ones(2, np.float16)}),
        "constants must be of type .*, got FLOAT16 in 'c'",
    ),
    "type of a cast": (
        lambda: model([one("Cast", "x", out="i", to=6), one("Cast", "i", to=1)], [2]),
        r"Cast: to must be one of \[1, 7, 9\], got 6 in node i",
    ),
    "data as a shape": (
        lambda: model([one("Cast", "x", out="f", to=1), one("Expand", "x", "f")], [2]),
        "Expand: input 'f' in node y must follow from shapes and constants, is computed from data",
    ),
    "a shape as data": (
        lambda: model(
            [one("Shape", "x", out="s"), one("Cast", "s", out="f", to=1), one("MatMul", "x", "f")], [2]
        ),
        "MatMul: input 'f' in node y must be data, is computed from shapes",
    ),
    "integers as data": (
        lambda: model([one("MatMul", "x", "i")], [2], {"i": np.array([1, 2])}),
        "MatMul: input 'i' in node y must be float32 data, got int64",
    ),
    "a condition of shapes": (
        lambda: model([one("Where", "c", "x", "x")], [2], {"c": np.array([True, False])}),
        "Where: the condition for data must be data",
    ),
    "an output of shapes": (
        lambda: model([one("Shape", "x", out="s"), one("Cast", "s", to=1)], [2]),
        "output 'y' must be computed from data, follows from shapes",
    ),
    "a default": (
        lambda: model([one("Relu", "x")], [2], {"x": np.ones(2, np.float32)}),
        "input 'x' must not have a default",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_implemented_is_refused(name: str) -> None:
    make, message = UNSUPPORTED[name]
    with pytest.raises(Unsupported, match=message):
        OnnxModule(make())


def test_inputs_that_do_not_fit() -> None:
    module = OnnxModule(model([one("Relu", "x")], ["N", 3]))
    good = torch.ones(2, 3)
    for bad, message in (
        ((), r"inputs must be \['x'\], got 0 tensors"),
        ((good, good), "got 2 tensors"),
        ((good.half(),), "input 'x' must be torch.float32 on cpu as the module is, got torch.float16 on cpu"),
        ((good.to("meta"),), "got torch.float32 on meta"),
        ((good[0],), r"input 'x' must be \(any, 3\), got \(3,\)"),
        ((good[:, :2],), r"input 'x' must be \(any, 3\), got \(2, 2\)"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            module(*bad)


def test_shapes_that_do_not_fit() -> None:
    squeeze = OnnxModule(model([one("Squeeze", "x", "a")], ["N", 3], {"a": np.array([0])}))
    with pytest.raises(InvalidArgument, match=r"axes to squeeze must be of size 1, got \[0\] of \(2, 3\)"):
        squeeze(torch.ones(2, 3))
    split = OnnxModule(model([helper.make_node("Split", ["x"], ["y", "z"])], ["N"]))
    with pytest.raises(InvalidArgument, match=r"2 parts must be cut out of 5 elements, got \[2, 2\]"):
        split(torch.ones(5))
    sizes = {"s": np.array([2, 1, 4, 4])}
    resize = OnnxModule(model([one("Resize", "x", "", "", "s", mode="cubic")], ["N", 1, 2, 2], sizes))
    with pytest.raises(Unsupported, match="only the last two of four axes may be resized"):
        resize(torch.ones(1, 1, 2, 2))
    nodes = [one("Shape", "x", out="s"), one("Cast", "s", out="f", to=1), one("Mul", "x", "f")]
    product_of_shape = OnnxModule(model(nodes, ["N", "M"]))
    assert product_of_shape(torch.ones(2, 2))[0].tolist() == [[2, 2], [2, 2]]
    with pytest.raises(Unsupported, match=r"Mul: shapes that become data .*, got \[3.0, 2.0\]"):
        product_of_shape(torch.ones(3, 2))
