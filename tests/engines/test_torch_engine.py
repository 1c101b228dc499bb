"""The torch engine: what it takes and gives, and on a GPU what a replayed graph must not change."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.ops.cuda import python, require  # noqa: E402

from vqafast.engines import Engine  # noqa: E402
from vqafast.engines.arrays import HostArrays, TorchArrays  # noqa: E402
from vqafast.engines.call_graphs import MAX_GRAPHS  # noqa: E402
from vqafast.engines.torch_engine import TorchEngine, _exactly  # noqa: E402
from vqafast.errors import CudaError, EngineUnavailable, InvalidArgument, Unsupported  # noqa: E402

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.cuda)]


def network() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)
        )


def engine(device: str, **options: Any) -> TorchEngine:
    if device != "cpu":
        require()
    return TorchEngine(network(), inputs=["x"], outputs=["y"], device=device, **options)


def noise(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def truth(x: Any) -> Any:
    with torch.inference_mode():
        return network().double()(x.double())


@pytest.mark.parametrize("device", DEVICES)
def test_contract(device: str) -> None:
    made = engine(device)
    assert isinstance(made, Engine)
    assert (made.device, made.precision, made.inputs, made.outputs) == (device, "f32", ("x",), ("y",))
    assert made.name == f"torch {torch.__version__}"
    assert made.static_shapes == (device != "cpu")
    assert made.arrays.device == device
    x = noise(2, 3, 20, 24)
    y = made.run({"x": x.to(device)})["y"]
    assert (str(y.device), y.dtype) == (device, torch.float32)
    assert (y.cpu().double() - truth(x)).abs().max() < 1e-5


@pytest.mark.parametrize("device", DEVICES)
def test_numpy_in_gives_numpy_out(device: str) -> None:
    x = noise(1, 3, 12, 12)
    y = engine(device).run({"x": x.numpy()})["y"]
    assert isinstance(y, np.ndarray)
    np.testing.assert_allclose(y, truth(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_half(device: str) -> None:
    made = engine(device, precision="f16")
    x = noise(2, 3, 20, 24)
    for given in (x.half(), x):
        y = made.run({"x": given.to(device)})["y"]
        assert (y.dtype, y.stride(1)) == (torch.float16, 1)
        # 11 bits of each of 16 * 9 products.
        assert (y.cpu().double() - truth(x)).abs().max() < 5e-3


def test_what_is_refused() -> None:
    made = engine("cpu")
    x = noise(1, 3, 12, 12)
    for bad, message in (
        ({"y": x}, r"inputs must be exactly \['x'\], got \['y'\]"),
        ({"x": x.double()}, "must be a float32 tensor on cpu, got torch.float64 on cpu"),
        ({"x": x.half()}, "must be a float32 tensor on cpu, got torch.float16"),
        ({"x": 3}, "must be a float32 tensor on cpu, got int"),
        ({"x": noise(1, 4, 12, 12)}, r"the graph does not take \{'x': \(1, 4, 12, 12\)\}"),
        ({"x": x.double().numpy()}, "must be a float32 ndarray, got float64"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            made.run(bad)
    with pytest.raises(InvalidArgument, match=r"one of \['f32', 'f16'\] for torch, got 'int8'"):
        engine("cpu", precision="int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_such_device() -> None:
    with pytest.raises(EngineUnavailable, match="sees no CUDA device"):
        TorchEngine(network(), inputs=["x"], outputs=["y"], device="cuda")


@pytest.mark.parametrize("missing", ["torch", "onnx"])
def test_without_its_libraries(missing: str) -> None:
    """In a process of its own: modules that are loaded already cannot go missing."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from vqafast.engines import create_engine\n"
        "from vqafast.errors import EngineUnavailable\n"
        "try:\n    create_engine('torch', b'')\nexcept EngineUnavailable as e:\n    print(e)"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout.startswith("engine torch needs torch and onnx: ")
    assert got.stdout.endswith("pip install 'vqafast[gpu]'\n")


@pytest.mark.cuda
def test_a_device_beyond_the_last() -> None:
    torch = require()
    count = torch.cuda.device_count()
    with pytest.raises(EngineUnavailable, match=f"must be below cuda:{count} on this machine, got cuda:99"):
        TorchArrays("cuda:99")


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_replayed_graph_gives_the_bits_of_the_kernels(precision: str) -> None:
    plain = engine("cuda:0", precision=precision, cuda_graphs=False)
    made = engine("cuda:0", precision=precision)
    stream = torch.cuda.Stream()
    given = []
    with torch.cuda.stream(stream):
        for seed in range(5):
            for shape in ((2, 3, 20, 24), (1, 3, 33, 17)):
                x = noise(*shape, seed=seed).cuda()
                given.append((x, x.clone()))
                expected = plain.run({"x": x})["y"].clone()
                assert torch.equal(made.run({"x": x})["y"], expected)
        # A graph has inputs of its own: later calls leave the tensors of earlier ones alone.
        assert all(torch.equal(x, before) for x, before in given)
    assert len(captured(made)) == 2
    assert made.notes == ()


@pytest.mark.cuda
def test_graphs_are_bounded() -> None:
    made = engine("cuda:0")
    for _ in range(2):
        for width in range(10, 10 + MAX_GRAPHS + 3):
            x = noise(1, 3, 10, width).cuda()
            assert (made.run({"x": x})["y"].cpu().double() - truth(x.cpu())).abs().max() < 1e-5
    assert made._graphs is not None
    assert len(made._graphs._graphs) <= MAX_GRAPHS


class Slow(torch.nn.Module):
    """Takes long enough to be met on the way."""

    def forward(self, x: Any) -> Any:
        time.sleep(0.05)
        return 2 * x


@pytest.mark.cuda
def test_two_engines_capture_one_after_the_other() -> None:
    require()
    both = [TorchEngine(Slow(), inputs=["x"], outputs=["y"], device="cuda:0") for _ in range(2)]
    start = threading.Barrier(2)

    def call(made: TorchEngine) -> None:
        start.wait()
        with made.arrays.work():
            for _ in range(3):
                y = made.run({"x": torch.ones(4, device="cuda:0")})["y"]
                assert y.tolist() == [2.0] * 4

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(call, both))
    assert [made.notes for made in both] == [(), ()]
    assert [len(captured(made)) for made in both] == [1, 1]


@pytest.mark.cuda
def test_threads_take_turns_with_one_engine() -> None:
    """The thread that captures need not be the first, and handles of libraries are a thread's own."""
    require()
    made = engine("cuda:0")
    x = noise(2, 3, 20, 24)
    found: list[Any] = []

    def call() -> None:
        with made.arrays.work():
            found.append(made.run({"x": x.cuda()})["y"].cpu())

    for _ in range(4):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert made.notes == ()
    assert len(captured(made)) == 1
    assert all(torch.equal(y, found[0]) for y in found)


@pytest.mark.cuda
def test_what_cannot_be_captured_runs_without_a_graph() -> None:
    """In a process of its own: after a failed capture no engine of the process uses graphs."""
    require()
    code = """
import torch
from vqafast.engines.torch_engine import TorchEngine

class Reads(torch.nn.Module):
    def forward(self, x):
        return x * float(x.sum().item())

class Doubles(torch.nn.Module):
    def forward(self, x):
        return 2 * x

made, other = (TorchEngine(m, inputs=["x"], outputs=["y"], device="cuda:0") for m in (Reads(), Doubles()))
x = torch.ones(4, device="cuda:0")
for _ in range(3):
    assert other.run({"x": x})["y"].tolist() == [2.0] * 4
assert other.notes == ()
for _ in range(4):
    assert made.run({"x": x})["y"].tolist() == [4.0] * 4
    assert other.run({"x": x})["y"].tolist() == [2.0] * 4
assert len(made.notes) == len(other.notes) == 1, (made.notes, other.notes)
"""
    subprocess.run(python(code), check=True)


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (RuntimeError("cuDNN error: CUDNN_STATUS_X\nmore"), CudaError, "failed on cpu: cuDNN error: CUDNN"),
        (RuntimeError("GET was unable to find an engine to execute"), CudaError, "unable to find an engine"),
        (RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"), CudaError, "CUBLAS_STATUS_NOT_INITIALIZED$"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), CudaError, r"no memory for \{'x': \(4,\)\}"),
        (RuntimeError("size of tensor a (3)"), InvalidArgument, "the graph does not take"),
        (Unsupported("op: not here"), Unsupported, "^op: not here$"),
    ],
)  # fmt: skip
def test_errors_keep_their_kind(raised: Exception, kind: type[Exception], message: str) -> None:
    class Fails(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            raise raised

    made = TorchEngine(Fails(), inputs=["x"], outputs=["y"])
    made._cuda = True
    made.__dict__["_torch"] = _WithoutDevice(torch)
    with pytest.raises(kind, match=message):
        made.run({"x": torch.ones(4)})


class _WithoutDevice:
    """Torch, whose current device cannot be chosen here."""

    def __init__(self, torch: Any) -> None:
        self._of = torch
        self.cuda = SimpleNamespace(device=lambda _: contextlib.nullcontext())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


def captured(made: TorchEngine) -> list[Any]:
    assert made._graphs is not None
    return [graph for graph in made._graphs._graphs.values() if graph is not None]


def test_exact_settings_hold_until_the_last_call_ends() -> None:
    """Calls of two engines overlap, and the first to end must not loosen the other."""
    first, second = _exactly(torch, True), _exactly(torch, True)
    before = torch.backends.cudnn.deterministic
    assert not before
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.backends.cudnn.deterministic
    second.__exit__(None, None, None)
    assert not torch.backends.cudnn.deterministic


@pytest.mark.parametrize(
    "used",
    ["", "cuda.matmul.allow_tf32 = True", "cudnn.allow_tf32 = False", "cuda.matmul.fp32_precision = 'tf32'",
     "fp32_precision = 'tf32'", "cudnn.benchmark = True"],
)  # fmt: skip
def test_settings_are_put_back_whichever_way_they_were_made(used: str) -> None:
    """In a process of its own: torch has two ways, and its readers raise where both were used."""
    code = f"""
import torch
from vqafast.engines.torch_engine import _exactly
b = torch.backends
{"b." + used if used else ""}
state = lambda: (b.cuda.matmul.fp32_precision, b.cudnn.conv.fp32_precision, b.cudnn.rnn.fp32_precision,
                 b.cudnn.benchmark, b.cudnn.deterministic)
before = state()
with _exactly(torch, True):
    assert state() == ("ieee", "ieee", "ieee", False, True), state()
assert state() == before, (state(), before)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.cuda
def test_f32_is_not_tf32_and_settings_are_put_back() -> None:
    torch = require()
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        x = noise(4, 3, 64, 64)
        y = engine("cuda:0").run({"x": x.cuda()})["y"]
        # TF32 has 11 bits: its error here is some 1e-3.
        assert (y.cpu().double() - truth(x)).abs().max() < 2e-5
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, True)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("arrays", [HostArrays(), TorchArrays("cpu")], ids=["host", "torch"])
def test_arrays(arrays: Any) -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = arrays.load(a)
    with arrays.work(decoded=True):
        joined = arrays.concatenate([x, x], axis=1)
    np.testing.assert_array_equal(arrays.host(joined), np.concatenate([a, a], axis=1))
    assert arrays.concatenate([x]) is x
    np.testing.assert_array_equal(arrays.host(arrays.pad(x, 4)), np.concatenate([a, np.zeros((2, 3))]))
    planes = (np.zeros((4, 6), np.uint8),)
    assert arrays.planes(planes) is planes


@pytest.mark.cuda
def test_planes_are_uploaded_as_they_are() -> None:
    """Strided, reversed and read-only rows, 8 and 16 bits; what is on the device stays."""
    require()
    arrays = TorchArrays("cuda")
    base = np.random.default_rng(0).integers(0, 1 << 16, size=(9, 24), dtype=np.uint16)
    locked = base[:, :10].copy()
    locked.flags.writeable = False
    planes = (base[::-1, :13], base[::2, :16].reshape(5, 8, 2), locked)
    loaded = arrays.planes(planes)
    for plane, got in zip(planes, loaded, strict=True):
        np.testing.assert_array_equal(got.cpu().numpy(), plane)
    assert arrays.planes(loaded) is loaded
