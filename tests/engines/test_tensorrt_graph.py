"""The graph that TensorRT is given: weights where it looks for them, and the same results."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from vqafast.engines.tensorrt_graph import direct_weights, parsed_graph
from vqafast.errors import EngineUnavailable, ModelError

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx.reference import ReferenceEvaluator  # noqa: E402
from tests.engines.test_half_graph import backbone, exported  # noqa: E402

FLOAT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info


def weights(name: str, values: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(values, np.float32), name)


def graph_of(nodes: list[Any], outputs: list[str], *, inputs: list[Any] | None = None) -> bytes:
    body = onnx.helper.make_graph(
        nodes,
        "g",
        inputs or [info("x", FLOAT, [2])],
        [info(name, FLOAT, [2]) for name in outputs],
        [weights("w", [1.0, 2.0])],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    data: bytes = onnx.helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def nodes_of(model: bytes) -> list[tuple[str, list[str]]]:
    return [(node.op_type, list(node.input)) for node in onnx.load_from_string(model).graph.node]


def identities(model: bytes) -> list[str]:
    """Inputs of nodes that come from an initializer through an Identity."""
    graph = onnx.load_from_string(model).graph
    kept = {tensor.name for tensor in graph.initializer}
    through = {n.output[0] for n in graph.node if n.op_type == "Identity" and n.input[0] in kept}
    return [name for node in graph.node for name in node.input if name in through]


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "slowfast", "vit"])
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_exported_backbones(name: str, precision: str) -> None:
    """Their batch norms are all alike, as before training: the exporter keeps one of the equal biases."""
    model = exported(backbone(name))
    direct = parsed_graph(model, precision)
    assert identities(direct) == []
    assert parsed_graph(model, precision) == direct
    onnx.checker.check_model(direct, full_check=True)
    if precision == "f32":
        frames = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1)).numpy()
        got, wanted = (
            ReferenceEvaluator(onnx.load_from_string(m)).run(None, {"frames": frames})
            for m in (direct, model)
        )
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_the_exporter_makes() -> None:
    assert identities(exported(backbone("resnet50"))) != []


def test_through_others_and_of_constants() -> None:
    nodes = [
        make("Constant", [], ["c"], value=weights("", [3.0, 4.0])),
        make("Identity", ["w"], ["a"]),
        make("Identity", ["a"], ["b"]),
        make("Identity", ["c"], ["d"]),
        make("Identity", ["x"], ["y"]),
        make("Add", ["y", "b"], ["s"]),
        make("Mul", ["s", "d"], ["out"]),
    ]
    assert nodes_of(direct_weights(graph_of(nodes, ["out"]))) == [
        ("Constant", []),
        ("Identity", ["x"]),
        ("Add", ["y", "w"]),
        ("Mul", ["s", "c"]),
    ]


def test_what_is_needed_stays() -> None:
    """Outputs, and what a graph inside of a node reads."""
    inner = onnx.helper.make_graph([make("Add", ["a", "x"], ["i"])], "then", [], [info("i", FLOAT, [2])])
    other = onnx.helper.make_graph([make("Neg", ["x"], ["j"])], "else", [], [info("j", FLOAT, [2])])
    nodes = [
        make("Identity", ["w"], ["a"]),
        make("Identity", ["w"], ["out"]),
        make("If", ["f"], ["z"], then_branch=inner, else_branch=other),
        make("Add", ["z", "out"], ["sum"]),
    ]
    model = graph_of(nodes, ["out", "sum"], inputs=[info("x", FLOAT, [2]), info("f", BOOL, [])])
    direct = direct_weights(model)
    assert nodes_of(direct) == [
        ("Identity", ["w"]),
        ("Identity", ["w"]),
        ("If", ["f"]),
        ("Add", ["z", "w"]),
    ]
    onnx.checker.check_model(direct, full_check=True)


def test_defaults_of_inputs_are_no_weights() -> None:
    nodes = [make("Identity", ["w"], ["a"]), make("Add", ["x", "a"], ["out"])]
    model = graph_of(nodes, ["out"], inputs=[info("x", FLOAT, [2]), info("w", FLOAT, [2])])
    assert direct_weights(model) is model


def test_others_stay_as_they_are() -> None:
    model = exported(backbone("scene"))
    assert direct_weights(model) is model
    assert direct_weights(b"no graph") == b"no graph"
    with pytest.raises(ModelError, match="ONNX graph cannot be read"):
        direct_weights(b"\xffIdentity")


def test_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert direct_weights(b"any") == b"any"
    with pytest.raises(EngineUnavailable, match="needs the onnx package"):
        direct_weights(b"Identity")
