"""Half graphs: everything is half, the features stay near those in f32, and what does not fit is said."""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np
import pytest

from vqafast.engines.half_graph import half_graph
from vqafast.errors import EngineUnavailable, ModelError

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def backbone(name: str) -> Any:
    from vqafast.models.backbones.resnet import resnet34_iqa, resnet50
    from vqafast.models.backbones.scene_descriptors import SceneDescriptors
    from vqafast.models.backbones.slowfast import SlowFastFast
    from vqafast.models.backbones.vit import VitStages

    nets = {
        "resnet34": lambda: resnet34_iqa(width=8),
        "resnet50": lambda: resnet50(width=8),
        "scene": SceneDescriptors,
        "slowfast": lambda: SlowFastFast(width=4),
        "vit": lambda: VitStages(8, (1, 3), width=32, depth=4, heads=2),
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nets[name]().eval()


def exported(net: Any) -> bytes:
    """As models are exported: dynamic batch, height and width, batch norm folded."""
    from vqafast.models.a2inet import export

    with torch.no_grad():
        dim = 2 * sum(m.shape[1] for m in net(torch.zeros(3, 3, 96, 128)))
    data, _ = export._backbone("net", net, channels=3, size=(96, 128), dim=dim, clip=False)
    return data


def torch_half(net: Any, frames: Any) -> list[Any]:
    """Torch's own half, whose error is the measure for ours."""
    with torch.no_grad():
        maps = copy.deepcopy(net).half()(torch.from_numpy(frames).half())
    return [m.float().numpy() for m in maps]


def worst(got: list[Any], exact: list[Any]) -> float:
    pairs = zip(got, exact, strict=True)
    return max(float(np.abs(a.astype(np.float32) - b).max() / np.abs(b).max()) for a, b in pairs)


def run(model: bytes, *arrays: Any) -> list[Any]:
    """With OpenVINO, which takes and gives the types that the graph says."""
    from vqafast.engines.openvino_engine import _core

    ov, core = _core()
    hint = {"INFERENCE_PRECISION_HINT": ov.Type.f32}
    result = core.compile_model(core.read_model(model), "CPU", hint)(list(arrays))
    return [result[i] for i in range(len(result))]


def types(model: bytes) -> set[int]:
    """Element types of everything in a graph, with what inference finds."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), True, True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {v.type.tensor_type.elem_type for v in values} | {t.data_type for t in graph.initializer}


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "slowfast", "scene", "vit"])
def test_backbones(name: str) -> None:
    net = backbone(name)
    single = exported(net)
    half = half_graph(single)
    assert FLOAT not in types(half)
    assert FLOAT in types(single)
    assert half_graph(single) == half
    for seed, shape in enumerate([(2, 3, 96, 128), (1, 3, 80, 112)]):
        frames = np.random.default_rng(seed).uniform(size=shape).astype(np.float32)
        exact = run(single, frames)
        got = run(half, frames.astype(np.float16))
        assert [(m.dtype, m.shape) for m in got] == [(np.float16, m.shape) for m in exact]
        assert 0 < worst(got, exact) <= 2 * worst(torch_half(net, frames), exact)


def test_arithmetic_in_half_too() -> None:
    """The evaluator of the onnx package computes in the graph's own types, unlike OpenVINO here."""
    from onnx.reference import ReferenceEvaluator

    net = backbone("resnet34")
    single = exported(net)
    frames = np.random.default_rng(5).uniform(size=(1, 3, 32, 32)).astype(np.float32)
    exact = ReferenceEvaluator(single).run(None, {"frames": frames})
    got = ReferenceEvaluator(half_graph(single)).run(None, {"frames": frames.astype(np.float16)})
    assert {m.dtype for m in got} == {np.dtype(np.float16)}
    assert 0 < worst(got, exact) <= 2 * worst(torch_half(net, frames), exact)


def graph(nodes: list[Any], constants: dict[str, Any], **options: Any) -> bytes:
    info = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        nodes,
        "g",
        [info("x", FLOAT, ["N", 4])],
        [info("y", FLOAT, ["N", "M"])],
        [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
        **options,
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    data: bytes = onnx.helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def product(weights: Any) -> bytes:
    node = onnx.helper.make_node("Mul", ["x", "w"], ["y"], name="product")
    return graph([node], {"w": np.asarray(weights, np.float32)})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 70000, -1e30, 2], r"initializer 'w' must fit half precision \(65504\), holds 1e\+30"),
        ([65519.9] * 3 + [65520], r"initializer 'w' must fit half precision \(65504\), holds 65520"),
        ([1e-8], "initializer 'w' must not vanish in half precision, is 1e-08"),
    ],
)
def test_values_that_do_not_fit(weights: list[float], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        half_graph(product(weights))


def test_values_that_do_fit() -> None:
    """The largest that rounds down, infinities, small weights among others, and 0."""
    for weights in ([65519.9] * 4, [np.inf, -np.inf, 1, 1], [1e-8, 1, 1, 1], [0]):
        kept = onnx.load_from_string(half_graph(product(weights))).graph.initializer[0]
        expected = np.asarray(weights, np.float16)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(kept), expected)


def test_constants_of_every_kind() -> None:
    """Value as a tensor, a float and floats; a filled shape; casts to f32; integers stay."""
    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Constant", [], ["a"], value=tensor(np.full(4, 0.5, np.float32))),
        node("Constant", [], ["b"], value_float=2.0),
        node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0, 4.0]),
        node("Constant", [], ["one"], value_ints=[4]),
        node("ConstantOfShape", ["one"], ["d"], value=tensor(np.asarray([3], np.float32))),
        node("Shape", ["x"], ["size"]),
        node("Cast", ["size"], ["float_size"], to=FLOAT),
        node("ReduceMax", ["float_size"], ["e"], keepdims=0),
        *(node("Add", [left, right], [out]) for left, right, out in ["xap", "pbq", "qcr", "rds", "sey"]),
    ]
    half = half_graph(graph(nodes, {}))
    assert types(half) == {HALF, onnx.TensorProto.INT64}
    (y,) = run(half, np.zeros((1, 4), np.float16))
    np.testing.assert_array_equal(y, np.asarray([[10.5, 11.5, 12.5, 13.5]], np.float16))
    with pytest.raises(ModelError, match=r"'value_float' of node 'b' \(Constant\) must fit half"):
        half_graph(graph([node("Constant", [], ["b"], value_float=1e6), node("Add", "xb", "y")], {}))


def test_inputs_that_are_f32_only_stay() -> None:
    node = onnx.helper.make_node
    for scales in ("initializer", "node"):
        values = np.asarray([1, 2], np.float32)
        nodes = [node("Resize", ["x", "", "s"], ["y"], mode="nearest")]
        constants = {"s": values}
        if scales == "node":
            nodes.insert(0, node("Constant", [], ["s"], value=onnx.numpy_helper.from_array(values)))
            constants = {}
        (y,) = run(half_graph(graph(nodes, constants)), np.ones((1, 4), np.float16))
        assert (y.shape, y.dtype) == ((1, 8), np.float16)


def test_stale_types_of_intermediates_go() -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["z"]), onnx.helper.make_node("Relu", ["z"], ["y"])]
    info = onnx.helper.make_tensor_value_info("z", FLOAT, ["N", 4])
    assert types(half_graph(graph(nodes, {}, value_info=[info]))) == {HALF}


def test_graphs_without_a_half_variant() -> None:
    node = onnx.helper.make_node
    one = np.asarray(1, np.float32)
    nodes = [node("Range", ["a", "b", "b"], ["r"]), node("Mul", ["x", "r"], ["y"])]
    with pytest.raises(ModelError, match=r"graph is not valid in half precision: [^$]*Mul"):
        half_graph(graph(nodes, {"a": one * 0, "b": one}))
    with pytest.raises(ModelError, match=r"operator mine\.Fused is not known"):
        half_graph(graph([node("Fused", ["x"], ["y"], domain="mine")], {}))
    empty = onnx.helper.make_graph([], "branch", [], [])
    branch = node("If", ["x"], ["y"], name="choice", then_branch=empty, else_branch=empty)
    with pytest.raises(ModelError, match=r"'\w+_branch' of node 'choice' \(If\) is a graph of its own"):
        half_graph(graph([branch], {}))


@pytest.mark.parametrize("model", [b"garbage", b"\xff" * 64])
def test_garbage(model: bytes) -> None:
    with pytest.raises(ModelError):
        half_graph(model)


def test_weights_outside_the_file_are_refused() -> None:
    model = onnx.load_from_string(product([1, 2, 3, 4]))
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ModelError, match="initializer 'w' cannot be read"):
        half_graph(model.SerializeToString())


def test_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    model = product([1])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineUnavailable, match="f16 needs the onnx package"):
        half_graph(model)
