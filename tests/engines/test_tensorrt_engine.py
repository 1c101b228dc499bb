"""The TensorRT engine: what it takes and gives, streams and graphs.

Without a GPU it runs on stand-ins (`fake_tensorrt`); the last test is the real thing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from tests.engines.fake_tensorrt import Cuda, Script, Stream, install  # noqa: E402
from tests.engines.tensorrt_graphs import PROFILES, check, model, pair  # noqa: E402
from tests.ops import cuda as device  # noqa: E402

from vqafast.engines import Engine, Shapes  # noqa: E402
from vqafast.engines.tensorrt_cache import PlanCache  # noqa: E402
from vqafast.engines.tensorrt_engine import TensorRtEngine, build_plan  # noqa: E402
from vqafast.engines.torch_engine import MAX_GRAPHS  # noqa: E402
from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def fake(script: Script, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return install(monkeypatch, script)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "plans")


def test_contract(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    assert isinstance(engine, Engine)
    assert (engine.name, engine.precision, engine.threads) == ("tensorrt 11.4.0", "f32", 0)
    assert (engine.inputs, engine.outputs, engine.static_shapes) == (("a", "b"), ("total", "less"), True)
    assert engine.device == engine.arrays.device == "cpu"
    for rows in (2, 1, 40, 2, 2):
        check(engine, pair(rows, seed=rows))
    # A sliced and a transposed tensor.
    wide = torch.randn(3, 8)
    check(engine, {"a": wide[:, ::2], "b": torch.randn(4, 3).T})


def test_static_graphs_need_no_profiles(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(static=True), cache=cache)
    check(engine, pair())
    assert script.built[0].profiles == []
    with pytest.raises(InvalidArgument, match=r"must be from \(2, 4\) to \(2, 4\), got \(3, 4\)"):
        engine.run(pair(3))


def test_half(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), precision="f16", profiles=PROFILES, cache=cache)
    kinds = {v.type.tensor_type.elem_type for v in onnx.load_from_string(script.built[0].graph).graph.input}
    assert kinds == {onnx.TensorProto.FLOAT16}
    inputs = pair()
    for given in (inputs, {n: t.half() for n, t in inputs.items()}):
        result = engine.run(given)
        assert result["less"].dtype == torch.float16
        torch.testing.assert_close(result["less"], inputs["a"].half() - inputs["b"].half())


def test_inputs_that_are_refused(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    a = torch.zeros(2, 4)
    with pytest.raises(InvalidArgument, match=r"tensorrt 11\.4\.0: inputs must be exactly \['a', 'b'\]"):
        engine.run({"a": a})
    for wrong, got in (
        (a.half(), "torch.float16 on cpu"),
        (a.to("meta"), "torch.float32 on meta"),
        ([0], "list"),
    ):
        with pytest.raises(InvalidArgument, match=f"'b' must be a float32 tensor on cpu, got {got}"):
            engine.run({"a": a, "b": wrong})
    for shape in ((41, 4), (0, 4), (2, 5), (8,), (1, 2, 4)):
        limits = r"'a' must be from \(1, 4\) to \(40, 4\), got "
        with pytest.raises(InvalidArgument, match=limits + re.escape(str(shape))):
            engine.run({"a": torch.zeros(shape), "b": a})
    assert script.log == [("synchronize", 77)]
    half = TensorRtEngine(model(), precision="f16", profiles=PROFILES, cache=cache)
    with pytest.raises(InvalidArgument, match="must be a float32 or float16 tensor on cpu"):
        half.run({"a": a.double(), "b": a})


@pytest.mark.parametrize(
    ("refuse", "error", "message"),
    [
        ("execute", EngineUnavailable, "TensorRT could not run the graph: it did not say why"),
        ("total", EngineUnavailable, "could not set the address of 'total'"),
        ("b", EngineUnavailable, "could not set the address of 'b'"),
        ("shape", InvalidArgument, r"does not take 'a' as \(2, 4\)"),
        ("infer", InvalidArgument, r"the graph does not take \{'a': \(2, 4\), .* do not broadcast"),
        ("missing", ModelError, r"\['a', 'b'\] are missing"),
        ("unknown", ModelError, "cannot tell the shape of 'total'"),
    ],
)
def test_runs_that_fail(
    fake: Cuda, script: Script, cache: PlanCache, refuse: str, error: type[Exception], message: str
) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    script.refuse = {refuse}
    with pytest.raises(error, match=message):
        engine.run(pair())
    script.refuse = set()
    check(engine, pair())


@pytest.mark.parametrize("refuse", ["context", "profile"])
def test_no_context(fake: Cuda, script: Script, cache: PlanCache, refuse: str) -> None:
    script.refuse = {refuse}
    with pytest.raises(
        EngineUnavailable, match=r"TensorRT could not (make an execution context|set the opt)"
    ):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)


def test_outputs_of_other_types(fake: Cuda, script: Script, cache: PlanCache) -> None:
    with pytest.raises(ModelError, match="'total' must be float or half, is INT64"):
        TensorRtEngine(model(kind=onnx.TensorProto.INT64), profiles=PROFILES, cache=cache)


# Streams and graphs


def test_streams(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=False)
    script.log.clear()
    engine.run(pair())
    # From the default stream: the work is on a stream of the engine's own, between two waits.
    assert script.log == [("wait", 77, 0), ("execute", 77), ("wait", 0, 77)]
    own, other = Stream(script, 5), Stream(script, 6)
    for stream, expected in (
        (own, [("wait", 5, 0), ("execute", 5)]),
        (own, [("execute", 5)]),
        (other, [("wait", 6, 5), ("execute", 6)]),
        (fake.default, [("wait", 77, 0), ("wait", 77, 6), ("execute", 77), ("wait", 0, 77)]),
    ):
        script.log.clear()
        with fake.stream(stream):
            engine.run(pair())
            assert fake.current_stream() is stream
        assert script.log == expected


def test_graphs(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    replays = []
    for i, rows in enumerate((2, 2, 3, 2, 3, 2, 3)):
        check(engine, pair(rows, seed=i))
        replays.append(script.replays)
    # First of a shape: enqueued. Second: captured. From then on: replayed, whatever ran in between.
    assert replays == [0, 0, 0, 1, 1, 2, 3]
    assert engine.notes == ()
    # Nor does a graph write into the tensors that it was captured with.
    given = pair(seed=1)
    kept = {name: tensor.clone() for name, tensor in given.items()}
    other = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    for inputs in (given, given, pair(seed=2)):
        check(other, inputs)
    assert all(torch.equal(given[name], kept[name]) for name in kept)
    del script.contexts[3:]
    # The ordinary one and one for each graph, which share their memory.
    assert len(script.contexts) == 3
    assert len({c._memory for c in script.contexts}) == 1


def test_graphs_can_be_off(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=False)
    for i in range(4):
        check(engine, pair(seed=i))
    assert (script.replays, len(script.contexts)) == (0, 1)


@pytest.mark.parametrize("refuse", ["capture", "context"])
def test_shapes_that_cannot_be_captured(fake: Cuda, script: Script, cache: PlanCache, refuse: str) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    check(engine, pair())
    script.refuse = {refuse}
    with fake.stream(Stream(script, 5)):
        for i in range(3):
            script.log.clear()
            check(engine, pair(seed=i))
            assert script.log[-1] == ("execute", 5)
    (note,) = engine.notes
    assert note.startswith("tensorrt 11.4.0 runs without a CUDA graph for shapes [(2, 4), (2, 4)]: ")
    script.refuse = set()
    for i in range(3):
        check(engine, pair(3, seed=i))
    check(engine, pair())
    assert script.replays == 1


def test_only_so_many_graphs(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    for rows in range(1, MAX_GRAPHS + 1):
        for i in range(2):
            check(engine, pair(rows, seed=i))
    check(engine, pair(1))
    assert (script.replays, len(script.contexts)) == (1, MAX_GRAPHS + 1)
    script.log.clear()
    check(engine, pair(MAX_GRAPHS + 1))
    # What is dropped is the one unused for longest, once nothing can run it any more.
    assert script.log[1] == ("synchronize", 77)
    assert len(engine._graphs) == MAX_GRAPHS
    assert ((2, 4), (2, 4)) not in engine._graphs
    check(engine, pair(1))
    assert script.replays == 2


# The real thing


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_on_a_gpu(precision: str, tmp_path: Path) -> None:
    """A ResNet on TensorRT against torch in float64, in every way of running it."""
    device.require()
    pytest.importorskip("tensorrt")
    from tests.engines.test_half_graph import backbone, exported

    net = backbone("resnet50")
    graph = exported(net)
    profiles = {"frames": Shapes((1, 3, 64, 64), (2, 3, 96, 128), (4, 3, 192, 256))}
    cache = PlanCache(tmp_path)
    path = build_plan(graph, precision=precision, profiles=profiles, cache=cache)
    written = path.stat().st_mtime_ns
    engine = TensorRtEngine(graph, precision=precision, profiles=profiles, cache=cache)
    assert isinstance(engine, Engine)
    assert path.stat().st_mtime_ns == written
    kind = torch.float16 if precision == "f16" else torch.float32
    exact_net, plain_net = net.double().cuda(), backbone("resnet50").to("cuda", kind)
    side = torch.cuda.Stream()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for i, shape in enumerate([(2, 3, 96, 128), (1, 3, 80, 112), (4, 3, 192, 256)] * 3):
        frames = torch.rand(shape, generator=torch.Generator().manual_seed(i)).cuda()
        with torch.no_grad():
            exact, plain = exact_net(frames.double()), plain_net(frames.to(kind))
        torch.cuda.synchronize()
        with torch.cuda.stream(side if i % 2 else torch.cuda.default_stream()):
            result = {name: t.clone() for name, t in engine.run({"frames": frames}).items()}
        torch.cuda.synchronize()
        for name, truth, reference in zip(engine.outputs, exact, plain, strict=True):
            scale = truth.abs().max()
            error = float((result[name].double() - truth).abs().max() / scale)
            allowed = float((reference.double() - truth).abs().max() / scale)
            assert result[name].dtype == kind
            assert error <= 2 * allowed, (name, shape, error, allowed)
    assert engine.notes == ()
    assert sum(bool(g) for g in engine._graphs.values()) == 3
    with pytest.raises(InvalidArgument, match="must be from"):
        engine.run({"frames": torch.zeros(5, 3, 96, 128, device="cuda")})
