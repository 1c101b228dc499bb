"""Engines: contract, precision, threads, errors, and the shape order that once broke softmax."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqafast.engines import ENGINES, Engine, create_engine
from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError, Unsupported

onnx = pytest.importorskip("onnx")

THREAD_TOLERANCE = 1e-4


def graph(nodes: list[Any], dims: list[Any], constants: dict[str, Any]) -> bytes:
    kind = onnx.TensorProto.FLOAT
    body = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", kind, dims)],
        [onnx.helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    data: bytes = onnx.helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


@pytest.fixture(scope="module")
def convolution() -> bytes:
    rng = np.random.default_rng(0)
    w1 = rng.normal(size=(16, 3, 3, 3)).astype(np.float32)
    w2 = rng.normal(size=(16, 16, 3, 3)).astype(np.float32) / 12
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["a"], strides=[2, 2]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["y"]),
    ]
    return graph(nodes, ["N", 3, "H", "W"], {"w1": w1, "w2": w2})


@pytest.fixture(scope="module")
def attention() -> bytes:
    node = onnx.helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["x", "t"], ["l"]),
        node("Softmax", ["l"], ["p"], axis=-1),
        node("MatMul", ["p", "x"], ["y"]),
    ]
    return graph(nodes, ["B", "T", 32], {})


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def relative(a: Any, b: Any) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_contract(convolution: bytes, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(convolution)
    engine = create_engine("openvino", tmp_path / "g.onnx", threads=1)
    assert isinstance(engine, Engine)
    assert engine.name.startswith("openvino 20")
    assert (engine.precision, engine.threads, engine.inputs, engine.outputs) == ("f32", 1, ("x",), ("y",))
    first = engine.run({"x": noise(2, 3, 20, 30)})["y"].copy()
    other = engine.run({"x": noise(1, 3, 41, 17)})["y"]
    assert (first.shape, other.shape) == ((2, 16, 7, 12), (1, 16, 18, 6))
    again = engine.run({"x": noise(2, 3, 20, 30)})["y"]
    np.testing.assert_array_equal(first, again)


def test_strided_input_is_read_right(convolution: bytes) -> None:
    engine = create_engine("openvino", convolution)
    x = noise(1, 3, 24, 40)
    expected = engine.run({"x": x[:, :, :, ::2].copy()})["y"].copy()
    np.testing.assert_array_equal(engine.run({"x": x[:, :, :, ::2]})["y"], expected)


def test_threads_change_rounding_only(convolution: bytes) -> None:
    x = noise(2, 3, 96, 128)
    one, two = (create_engine("openvino", convolution, threads=n).run({"x": x})["y"] for n in (1, 2))
    assert relative(two, one) <= THREAD_TOLERANCE


def has_bf16() -> bool:
    from vqafast.engines.openvino_engine import library

    return "BF16" in library().cpu_capabilities


def test_precision_is_what_was_asked(convolution: bytes) -> None:
    x = noise(1, 3, 64, 64)
    exact = create_engine("openvino", convolution).run({"x": x})["y"].copy()
    rough = x.astype(np.float16).astype(np.float32)
    # f32 must be f32 also where bf16 is the library's default: it tells inputs apart that bf16 does not.
    assert relative(create_engine("openvino", convolution).run({"x": rough})["y"], exact) < 1e-3
    if not has_bf16():
        with pytest.raises(Unsupported, match="needs a CPU with bf16"):
            create_engine("openvino", convolution, precision="bf16")
        return
    engine = create_engine("openvino", convolution, precision="bf16")
    assert engine.precision == "bf16"
    error = relative(engine.run({"x": x})["y"], exact)
    assert 1e-4 < error < 0.1


def test_f32_keeps_small_differences() -> None:
    node = onnx.helper.make_node
    eye = np.eye(8, dtype=np.float32)
    engine = create_engine("openvino", graph([node("MatMul", ["x", "w"], ["y"])], ["N", 8], {"w": eye}))
    x = (1 + np.arange(8, dtype=np.float32) * 2**-20)[None]
    np.testing.assert_array_equal(engine.run({"x": x})["y"], x)


def test_any_order_of_lengths_is_right(attention: bytes) -> None:
    def exact(x: Any) -> Any:
        logits = (x @ x.swapaxes(1, 2)).astype(np.float64)
        e = np.exp(logits - logits.max(axis=2, keepdims=True))
        return e / e.sum(axis=2, keepdims=True) @ x

    for trial in range(12):
        engine = create_engine("openvino", attention)
        rng = random.Random(trial)
        sizes = [1, *(rng.choice([1, 1, 2, 3, 5, 8, 16, 17, 33, 40, 128]) for _ in range(6))]
        for i, steps in enumerate(sizes):
            x = noise(rng.choice([1, 2]), steps, 32, seed=i) * np.float32(0.3)
            assert relative(engine.run({"x": x})["y"], exact(x)) < 1e-5, sizes[: i + 1]


def test_errors(convolution: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"one of {list(ENGINES)}".replace("[", r"\[")):
        create_engine("cuda", convolution)
    with pytest.raises(InvalidArgument, match="precision must be one of"):
        create_engine("openvino", convolution, precision="f16")
    with pytest.raises(InvalidArgument, match="threads must be >= 0"):
        create_engine("openvino", convolution, threads=-1)
    with pytest.raises(Unsupported, match="quantised with calibration data"):
        create_engine("openvino", convolution, precision="int8")
    with pytest.raises(ModelError, match="cannot be read"):
        create_engine("openvino", b"garbage")
    with pytest.raises(ModelError, match="cannot be read"):
        create_engine("openvino", tmp_path / "none.onnx")
    engine = create_engine("openvino", convolution)
    with pytest.raises(InvalidArgument, match="must be exactly"):
        engine.run({"frames": noise(1, 3, 8, 8)})
    with pytest.raises(InvalidArgument, match="float32 ndarray, got float64"):
        engine.run({"x": noise(1, 3, 8, 8).astype(np.float64)})
    with pytest.raises(InvalidArgument, match="must have 4 dimensions"):
        engine.run({"x": noise(3, 8, 8)})
    with pytest.raises(InvalidArgument, match="does not take"):
        engine.run({"x": noise(1, 4, 8, 8)})


@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_that_fails_is_neither_silent_nor_felt_by_the_next(threads: int) -> None:
    # OpenVINO itself loses the error with one thread, and gives the outputs of the call before; with more it
    # refuses the shape of that call from then on.
    pool = onnx.helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[32, 32], strides=[32, 32])
    engine = create_engine("openvino", graph([pool], ["N", 3, "H", "W"], {}), threads=threads)
    x, narrow = noise(2, 3, 96, 160), noise(2, 3, 96, 20)
    first = engine.run({"x": x})["y"].copy()
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="the graph does not take"):
            engine.run({"x": narrow})
        np.testing.assert_array_equal(engine.run({"x": x})["y"], first)


def child(code: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(home), "CI": ""},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_no_telemetry_no_files_no_torch(convolution: bytes, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "g.onnx").write_bytes(convolution)
    code = (
        "import sys, numpy as np\n"
        "from vqafast.engines import create_engine\n"
        f"e = create_engine('openvino', {str(tmp_path / 'g.onnx')!r})\n"
        "e.run({'x': np.zeros((1, 3, 16, 16), np.float32)})\n"
        "print('openvino_telemetry' in sys.modules, 'torch' in sys.modules)"
    )
    assert child(code, home).split() == ["False", "False"]
    assert list(home.rglob("*")) == []


def test_library_is_described_without_telemetry(tmp_path: Path) -> None:
    """What ``vqafast doctor`` asks must be as silent as scoring."""
    code = (
        "import sys\n"
        "from vqafast.engines.openvino_engine import library\n"
        "found = library()\n"
        "assert 'CPU' in found.devices and 'FP32' in found.cpu_capabilities, found\n"
        "print(found.version, 'openvino_telemetry' in sys.modules)"
    )
    version, telemetry = child(code, tmp_path).split()
    assert version.startswith("20")
    assert telemetry == "False"
    assert list(tmp_path.rglob("*")) == []


def test_nothing_else_imports_openvino() -> None:
    import vqafast

    importing = re.compile(r"^\s*(import|from) openvino\b", re.M)
    found = [
        p.name
        for p in sorted(Path(str(vqafast.__file__)).parent.rglob("*.py"))
        if importing.search(p.read_text())
    ]
    assert found == ["openvino_engine.py"]


def test_missing_openvino_is_typed(convolution: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from vqafast.engines import openvino_engine

    openvino_engine._core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineUnavailable, match="openvino cannot be imported"):
        create_engine("openvino", convolution)
    monkeypatch.undo()
    openvino_engine._core.cache_clear()


def test_torch_engine() -> None:
    torch = pytest.importorskip("torch")
    from vqafast.engines.torch_engine import TorchEngine

    linear = torch.nn.Linear(4, 2)
    engine = TorchEngine(linear, inputs=["x"], outputs=["y"])
    assert isinstance(engine, Engine)
    x = noise(3, 4)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], linear(torch.from_numpy(x)).detach().numpy())
    assert engine.precision == "f32"
    with pytest.raises(InvalidArgument, match="must return 2 tensors"):
        TorchEngine(linear, inputs=["x"], outputs=["y", "z"]).run({"x": x})
