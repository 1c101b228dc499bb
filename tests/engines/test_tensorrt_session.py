"""Execution contexts: memory for the shapes of a call, and the profile that holds them."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from tests.engines.fake_tensorrt import Cuda, Script, Stream  # noqa: E402
from tests.engines.tensorrt_graphs import PROFILES, check, model, pair  # noqa: E402

from vqafast.engines import Shapes  # noqa: E402
from vqafast.engines.tensorrt_engine import TensorRtEngine, build_plan  # noqa: E402
from vqafast.engines.tensorrt_session import _words  # noqa: E402
from vqafast.engines.tensorrt_shapes import joined  # noqa: E402
from vqafast.errors import CudaError, InvalidArgument  # noqa: E402

if TYPE_CHECKING:
    from vqafast.engines.tensorrt_cache import PlanCache

# Memory


def test_memory_is_what_the_shapes_need(fake: Cuda, script: Script, cache: PlanCache) -> None:
    """Not what the largest shapes would, and the same for smaller ones."""
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=False)
    (context,) = script.contexts
    assert context._memory == (0, 0)
    sizes = []
    for rows in (2, 1, 5, 3, 5):
        check(engine, pair(rows))
        sizes.append(context._memory[1])
    assert sizes == [64 * 2 * 4 * rows for rows in (2, 2, 5, 5, 5)]
    script.log.clear()
    with fake.stream(Stream(script, 5)):
        check(engine, pair(6))
    # It waits before it gives memory back, and again before another stream can use the new one.
    assert script.log == [("wait", 5, 0), ("synchronize", 5), ("synchronize", 5), ("execute", 5)]


def test_more_memory_drops_the_graphs(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    for _ in range(3):
        check(engine, pair(2))
    assert script.replays == 2
    alive = weakref.ref(script.contexts[1])
    del script.contexts[1:]
    check(engine, pair(3))
    gc.collect()
    assert alive() is None
    replays = []
    for i in range(3):
        check(engine, pair(2, seed=i))
        replays.append(script.replays)
    assert replays == [2, 3, 4]
    assert len({context._memory for context in script.contexts}) == 1


def test_tensorrt_cannot_tell_the_size(fake: Cuda, script: Script, cache: PlanCache) -> None:
    script.refuse = {"size"}
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    check(engine, pair())
    assert script.contexts[0]._memory[1] == 1 << 20


@pytest.mark.parametrize("graphs", [False, True])
def test_no_memory(
    fake: Cuda, script: Script, cache: PlanCache, monkeypatch: pytest.MonkeyPatch, graphs: bool
) -> None:
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=graphs)
    check(engine, pair())
    real, full = torch.empty, torch.uint8

    def empty(*args: Any, **more: Any) -> Any:
        if more["dtype"] == full:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")
        return real(*args, **more)

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(CudaError) as scratch:
        engine.run(pair(30))
    assert str(scratch.value) == (
        "TensorRT needs 1 MiB of memory on cpu for {'a': (30, 4), 'b': (30, 4)}, and there is not so much; "
        "score fewer videos at once, or with a smaller batch: CUDA out of memory. Tried to allocate"
    )
    full = torch.float32
    with pytest.raises(CudaError, match=r"tensorrt 11\.4\.0: cpu has no memory for \{'a': \(2, 4\), .*fewer"):
        engine.run(pair())
    full = None
    for i in range(3):
        check(engine, pair(30, seed=i))


def test_sizes_in_words() -> None:
    assert [_words(n) for n in (1, 3 << 20, (5 << 30) // 2)] == ["1 MiB", "3 MiB", "2.5 GiB"]


def test_inputs_are_aligned(fake: Cuda, script: Script, cache: PlanCache) -> None:
    """TensorRT wants multiples of 256, which a part of a tensor need not begin at."""
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache, cuda_graphs=False)
    buffer = torch.arange(256.0)
    start = (-buffer.data_ptr() // 4) % 64
    aligned, other = (buffer[i : i + 8].reshape(2, 4) for i in (start, start + 24))
    assert (aligned.data_ptr() % 256, other.data_ptr() % 256) == (0, 96)
    check(engine, {"a": aligned, "b": other})
    addresses = script.contexts[0]._addresses
    assert addresses["a"] == aligned.data_ptr()
    assert addresses["b"] != other.data_ptr()


# Profiles


def test_several_ranges(fake: Cuda, script: Script, cache: PlanCache) -> None:
    """Many short rows, or a few long ones: each has an execution context of its own, made when needed."""
    many, long = Shapes((1, 1), (8, 4), (8, 8)), Shapes((1, 1), (1, 64), (2, 64))
    ranges = joined([many, long])
    wide = model(dims=["N", "M"])
    engine = TensorRtEngine(wide, profiles={"a": ranges, "b": ranges}, cache=cache)
    assert [p["a"] for p in script.built[0].profiles] == [
        (many.smallest, many.usual, many.largest),
        (long.smallest, long.usual, long.largest),
    ]
    for i, (rows, columns) in enumerate([(2, 64), (8, 8), (2, 8), (1, 9), (2, 64), (2, 64), (8, 8)]):
        check(engine, pair(rows, seed=i, columns=columns))
    assert [c._profile for c in script.contexts] == [0, 1, 1, 0]
    assert script.replays == 3
    limits = r"'a' must be from \(1, 1\) to \(8, 8\) or from \(1, 1\) to \(2, 64\), got \(3, 9\)"
    with pytest.raises(InvalidArgument, match=limits):
        engine.run(pair(3, columns=9))
    # Each alone is in a range, and there is none for both.
    with pytest.raises(InvalidArgument, match="shape of input 'b' must be"):
        engine.run({"a": torch.zeros(8, 8), "b": torch.zeros(1, 64)})


def test_one_range_beside_several(fake: Cuda, script: Script, cache: PlanCache) -> None:
    one, two = Shapes((1, 4), (2, 4), (9, 4)), Shapes((1, 4), (20, 4), (40, 4))
    build_plan(model(), profiles={"a": joined([one, two]), "b": two}, cache=cache)
    assert [p["b"] for p in script.built[0].profiles] == [((1, 4), (20, 4), (40, 4))] * 2
    with pytest.raises(
        InvalidArgument, match=r"equally many ranges of shapes, or one, got \{'a': 2, 'b': 3\}"
    ):
        build_plan(model(), profiles={"a": joined([one, two]), "b": joined([one, two, two])}, cache=cache)
