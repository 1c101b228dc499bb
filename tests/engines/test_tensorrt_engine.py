"""The TensorRT engine: what it takes and gives, streams and graphs.

It runs on stand-ins (`fake_tensorrt`); `test_tensorrt_gpu` is the real thing.
"""

from __future__ import annotations

import gc
import re
import weakref
from typing import TYPE_CHECKING

import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from tests.engines.fake_tensorrt import Cuda, Script, Stream  # noqa: E402
from tests.engines.tensorrt_graphs import PROFILES, check, model, pair  # noqa: E402

from vqafast.engines import Engine  # noqa: E402
from vqafast.engines.call_graphs import CAPTURING, MAX_GRAPHS  # noqa: E402
from vqafast.engines.tensorrt_engine import TensorRtEngine  # noqa: E402
from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError  # noqa: E402

if TYPE_CHECKING:
    from vqafast.engines.tensorrt_cache import PlanCache


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
        (
            "infer",
            InvalidArgument,
            r"does not take \{'a': \(2, 4\), .* do not broadcast IShapeLayer: 3 and 5",
        ),
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
        EngineUnavailable, match=r"TensorRT could not (make an execution context: |set the .*: Error in set)"
    ):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)


def test_outputs_of_other_types(fake: Cuda, script: Script, cache: PlanCache) -> None:
    with pytest.raises(ModelError, match="'total' must be float or half, is INT64"):
        TensorRtEngine(model(kind=onnx.TensorProto.INT64), profiles=PROFILES, cache=cache)


# Streams and graphs


def test_streams(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=False)
    engine.run(pair())
    script.log.clear()
    engine.run(pair())
    # From the default stream: the work is on a stream of the engine's own, between two waits, and the
    # memory of both outputs is not used again before the caller has read them.
    read = [("record", 0), ("record", 0)]
    assert script.log == [("wait", 77, 0), ("execute", 77), ("wait", 0, 77), *read]
    own, other = Stream(script, 5), Stream(script, 6)
    for stream, expected in (
        (own, [("wait", 5, 0), ("execute", 5)]),
        (own, [("execute", 5)]),
        (other, [("wait", 6, 5), ("execute", 6)]),
        (fake.default, [("wait", 77, 0), ("wait", 77, 6), ("execute", 77), ("wait", 0, 77), *read]),
    ):
        script.log.clear()
        with fake.stream(stream):
            engine.run(pair())
            assert fake.current_stream() is stream
        assert script.log == expected


def test_graphs(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    replays = []
    for i, rows in enumerate((3, 2, 2, 3, 2, 3)):
        check(engine, pair(rows, seed=i))
        replays.append(script.replays)
    # First of a shape: enqueued. Second: captured. From then on: replayed, whatever ran in between.
    assert replays == [0, 0, 1, 2, 3, 4]
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


def test_where_and_how_a_graph_is_captured(
    fake: Cuda, script: Script, cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    held = []
    real = torch.cuda.graph
    monkeypatch.setattr(
        torch.cuda, "graph", lambda *args, **more: held.append(CAPTURING.locked()) or real(*args, **more)
    )
    with fake.stream(Stream(script, 5)):
        check(engine, pair())
        script.log.clear()
        check(engine, pair())
    # Warmed up on the stream that captures, which is behind the caller's, and nobody else's; one capture
    # at a time in the process.
    context, capture = ("synchronize", 77), [("wait", 99, 5), ("execute", 99), ("synchronize", 99)]
    assert script.log == [context, *capture]
    assert held == [True]
    assert script.replays == 1


def test_graphs_can_be_off(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=False)
    for i in range(4):
        check(engine, pair(seed=i))
    assert (script.replays, len(script.contexts)) == (0, 1)


@pytest.mark.parametrize(
    ("refuse", "why"),
    [
        ("capture", "cpu runs without CUDA graphs: operation failed"),
        ("context", "tensorrt 11.4.0 runs without CUDA graphs: TensorRT could not make an execution context"),
        ("profile", "tensorrt 11.4.0 runs without CUDA graphs: TensorRT could not set the optimization prof"),
    ],
)
def test_calls_that_cannot_be_captured(
    fake: Cuda, script: Script, cache: PlanCache, refuse: str, why: str
) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    check(engine, pair(3))
    check(engine, pair())
    script.refuse = {refuse}
    with fake.stream(Stream(script, 5)):
        for i in range(3):
            script.log.clear()
            check(engine, pair(seed=i))
            assert script.log[-1] == ("execute", 5)
    (note,) = engine.notes
    assert note.startswith(why)
    script.refuse = set()
    for i in range(3):
        check(engine, pair(3, seed=i))
    assert script.replays == 0
    assert len(engine.notes) == 1


def test_only_so_many_graphs(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    for rows in range(MAX_GRAPHS, 0, -1):
        for i in range(2):
            check(engine, pair(rows, seed=i))
    check(engine, pair(1))
    assert (script.replays, len(script.contexts)) == (MAX_GRAPHS + 1, MAX_GRAPHS + 1)
    alive = [weakref.ref(context) for context in script.contexts[1:]]
    script.contexts.clear()
    script.log.clear()
    with fake.stream(Stream(script, 5)):
        check(engine, pair(MAX_GRAPHS + 1))
    # What is dropped is done: nothing can run it any more.
    assert ("synchronize", 5) in script.log
    gc.collect()
    assert not any(context() for context in alive)
    check(engine, pair(1))
    assert script.replays == MAX_GRAPHS + 1
