"""The TensorRT engine on a GPU: against torch in float64, in every way of running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from tests.ops import cuda as device  # noqa: E402

from vqafast.engines import Engine, Shapes  # noqa: E402
from vqafast.engines.tensorrt_cache import PlanCache  # noqa: E402
from vqafast.engines.tensorrt_engine import TensorRtEngine, build_plan  # noqa: E402
from vqafast.engines.tensorrt_shapes import joined  # noqa: E402
from vqafast.errors import InvalidArgument  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_on_a_gpu(precision: str, tmp_path: Path) -> None:
    """A ResNet on TensorRT against torch in float64, in every way of running it."""
    device.require_gpu()
    pytest.importorskip("tensorrt")
    from tests.engines.test_half_graph import backbone, exported

    net = backbone("resnet50")
    graph = exported(net)
    many = Shapes((1, 3, 64, 64), (2, 3, 96, 128), (4, 3, 192, 256))
    large = Shapes((1, 3, 64, 64), (1, 3, 256, 512), (1, 3, 512, 512))
    profiles = {"frames": joined([many, large])}
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
    for i, shape in enumerate([(2, 3, 96, 128), (1, 3, 80, 112), (1, 3, 256, 384), (4, 3, 192, 256)] * 4):
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
    assert sum(bool(g) for g in engine._graphs._graphs.values()) == 4
    memory, most = engine._session._memory.numel(), engine._session._engine.device_memory_size_v2
    assert memory < most, "TensorRT takes no less for smaller shapes"
    with pytest.raises(InvalidArgument, match="must be from"):
        engine.run({"frames": torch.zeros(5, 3, 96, 128, device="cuda")})
