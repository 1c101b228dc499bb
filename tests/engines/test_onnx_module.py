"""Graphs run with torch: equal to OpenVINO, in half, on other devices, freed early, and strict."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402
from tests.engines.onnx_graphs import (  # noqa: E402
    GRAPHS,
    SIZES,
    backbone,
    difference,
    examples,
    graph,
    model,
    one,
    run,
)
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from vqafast.engines import create_engine  # noqa: E402
from vqafast.engines.onnx_module import OnnxModule  # noqa: E402
from vqafast.models.backbones.resnet import resnet34_iqa, resnet50  # noqa: E402
from vqafast.models.onnx_export import TOLERANCE  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("name", GRAPHS)
def test_equals_openvino(name: str) -> None:
    """Within what an exported graph may differ from its torch module: `export.TOLERANCE`."""
    data = graph(name)
    module, engine = OnnxModule(data), create_engine("openvino", data, threads=1)
    assert (module.input_names, module.output_names) == (engine.inputs, engine.outputs)
    first: list[Any] = []
    for sizes in SIZES:
        arrays = examples(data, sizes)
        got = run(module, arrays)
        first = first or got
        expected = engine.run(dict(zip(module.input_names, arrays, strict=True)))
        for output, array in zip(module.output_names, got, strict=True):
            assert difference(array, expected[output]) <= TOLERANCE, (output, sizes)
    # Nothing of other shapes is left behind.
    for a, b in zip(run(module, examples(data, SIZES[0])), first, strict=True):
        np.testing.assert_array_equal(a, b)


class OnMeta(TorchDispatchMode):
    """Every operator takes tensors of the device "meta", which have no values to read."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        assert {t.device.type for t in tensors} <= {"meta"}, func
        out = func(*args, **(kwargs or {}))
        assert {t.device.type for t in tree_leaves(out) if isinstance(t, torch.Tensor)} <= {"meta"}, func
        return out


class NoReading(TorchDispatchMode):
    """Where there are values, none is read."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.masked_select.default,
            torch.ops.aten.equal.default,
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_is_read_back_and_all_is_on_the_device(name: str) -> None:
    data = graph(name)
    module = OnnxModule(data)
    arrays = examples(data, SIZES[0])
    with NoReading():
        expected = run(module, arrays)
    module.to("meta").half()
    inputs = [torch.empty(a.shape, device="meta", dtype=torch.half) for a in arrays]
    with OnMeta():
        got = module(*inputs)
    for tensor, array in zip(got, expected, strict=True):
        assert (tensor.device.type, tensor.dtype, tensor.shape) == ("meta", torch.half, array.shape)


def test_such_reading_would_be_seen() -> None:
    with NoReading(), pytest.raises(AssertionError):
        torch.ones(1).item()
    with OnMeta(), pytest.raises(AssertionError):
        torch.ones(2) + 1


@pytest.mark.parametrize("make", [resnet34_iqa, resnet50])
def test_half_is_as_near_as_the_network_in_half(make: Callable[..., Any]) -> None:
    """At most twice the error that the torch module makes in half; batch norm is folded in the graph."""
    torch.manual_seed(0)
    net = make(width=8).eval()
    data = backbone(lambda: net)
    frames = torch.randn(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
    module = OnnxModule(data).half()
    assert all(b.dtype == torch.half for b in module.buffers())
    with torch.inference_mode():
        exact = net.double()(frames.double())
        got, plain = module(frames.half()), net.half()(frames.half())
    for a, b, truth in zip(got, plain, exact, strict=True):
        assert a.dtype == torch.half
        assert torch.isfinite(a).all()
        assert difference(a.double().numpy(), truth.numpy()) <= 2 * difference(
            b.double().numpy(), truth.numpy()
        )
        assert difference(a.double().numpy(), truth.numpy()) <= 1e-2


@pytest.mark.parametrize(
    "name",
    [
        "temporal, cgin both",
        "temporal, standardised",
        "align, cgin both",
        "vit of 16",
        "temporal, two-way gru",
    ],
)
def test_half_follows_through(name: str) -> None:
    """One step of half is 2**-11; these graphs add some ten to the largest value."""
    data = graph(name)
    arrays = examples(data, SIZES[0])
    exact = run(OnnxModule(data), arrays)
    module = OnnxModule(data).half()
    with torch.inference_mode():
        got = module(*(torch.from_numpy(a).half() for a in arrays))
    for a, b in zip(got, exact, strict=True):
        assert a.dtype == torch.half
        assert difference(a.float().numpy(), b) < 10 * 2**-11


def test_values_are_freed_after_their_last_use() -> None:
    names = [f"v{i}" for i in range(9)]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in zip(["x", *names], [*names, "y"], strict=True)]
    nodes.insert(4, helper.make_node("Add", ["v2", "v0"], ["late"]))
    module = OnnxModule(model(nodes, [4]))
    made: list[weakref.ref[Any]] = []
    most = 0

    class Living(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal most
            most = max(most, sum(r() is not None for r in made))
            out = func(*args, **(kwargs or {}))
            made.append(weakref.ref(out))
            return out

    x = torch.ones(4)
    with torch.no_grad(), Living():
        (y,) = module(x)
    assert y.tolist() == [1] * 4
    assert len(made) == len(nodes)
    # v0 waits for the sum, beside what it and the step before it made.
    assert most <= 3


def test_copies_are_apart() -> None:
    module = OnnxModule(graph("temporal, cgin both"))
    half = copy.deepcopy(module).half()
    arrays = examples(graph("temporal, cgin both"), SIZES[0])
    before = run(module, arrays)
    del half
    np.testing.assert_array_equal(run(module, arrays)[0], before[0])
    assert {b.dtype for b in module.buffers()} == {torch.float32}
    assert "head_temporal_catm_conv_max_weight" in dict(module.named_buffers())


def test_weights_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph's own copy of every weight goes when the module is made."""
    read = numpy_helper.to_array
    arrays: list[weakref.ref[Any]] = []

    def recorded(*args: Any) -> Any:
        array = read(*args)
        arrays.append(weakref.ref(array))
        return array

    data = graph("temporal, cgin both")
    monkeypatch.setattr(numpy_helper, "to_array", recorded)
    module = OnnxModule(data)
    gc.collect()
    alive = [array for array in (r() for r in arrays) if array is not None]
    assert {a.size for a in alive if a.dtype == np.float32} <= {1}
    assert sum(b.numel() for b in module.buffers()) > 500
    assert len(arrays) > 20


def test_reads_files(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(model([one("Relu", "x")], [2]))
    assert run(OnnxModule(tmp_path / "g.onnx"), [np.float32([-1, 1])])[0].tolist() == [0, 1]
