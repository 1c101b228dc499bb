"""Which device scores, which engine runs there, and that the score is the same one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests import clips
from tests.ops.cuda import CARD_EMULATED, require, use_tensorrt, why_not

import vqafast
from vqafast import _core
from vqafast.engines.cuda_driver import DriverProbe, Gpu
from vqafast.errors import EngineUnavailable, InvalidArgument, Unsupported
from vqafast.scoring import api, devices
from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vqafast.scoring.assessment import Assessment

# Of 100. In f32 the engines differ by rounding, which hysteresis pooling amplifies where frames are
# near ties; docs/numerics.md.
TOLERANCE = 0.05
HALF_TOLERANCE = 0.5
CARD = Gpu(0, "NVIDIA Test", (9, 0), 80 << 30)

# The emulated card has the speed of one core.
WIDTH, HEIGHT, FRAMES = (192, 128, 24) if CARD_EMULATED else (640, 360, 150)
FILM = clips.Clip(width=WIDTH, height=HEIGHT, frames=FRAMES, fps=30, options={"crf": "30"})
OTHER_FILM = clips.Clip(width=WIDTH, height=HEIGHT, frames=FRAMES * 2 // 3, fps=30, first=500)

no_gpu = pytest.mark.skipif(why_not() is None, reason="there is a GPU")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretends a machine: `gpus` of a driver, a build with or without kernels, torch that sees them."""

    def pretend(
        gpus: int, *, reason: str | None = None, kernels: bool = True, torch_sees: bool = True
    ) -> None:
        cards = tuple(Gpu(i, CARD.name, CARD.compute_capability, CARD.memory) for i in range(gpus))
        monkeypatch.setattr(devices, "probe", lambda: DriverProbe(cards, (13, 0), reason))
        monkeypatch.setattr(_core, "build_info", lambda: {"cuda": kernels})
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_sees)
        devices.cuda_obstacle.cache_clear()

    yield pretend
    devices.cuda_obstacle.cache_clear()


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "CUDA", "cuda:-1", "", 0, None])
def test_unknown_device(device: Any) -> None:
    with pytest.raises(InvalidArgument, match="must be cpu, cuda, cuda:N or auto"):
        devices.resolve_device(device)


def test_a_gpu_that_can_be_used(machine: Callable[..., None]) -> None:
    machine(2)
    assert devices.resolve_device("cpu") == ("cpu", ())
    assert devices.resolve_device("cuda") == ("cuda:0", ())
    assert devices.resolve_device("cuda:1") == ("cuda:1", ())
    device, notes = devices.resolve_device("auto")
    assert (device, notes[0].code) == ("cuda:0", "device_auto")
    assert notes[0].message == "device auto chose cuda:0: NVIDIA Test can be used"
    with pytest.raises(EngineUnavailable, match="must be below cuda:2 on this machine, got cuda:2"):
        devices.resolve_device("cuda:2")
    assert [devices.gpu_index(d) for d in ("cpu", "cuda:0", "cuda:1")] == [None, 0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpus": 0, "reason": "no driver here"}, "no driver here"),
        ({"gpus": 1, "kernels": False}, "this build has no CUDA kernels"),
        ({"gpus": 1, "torch_sees": False}, r"torch 2\S+ sees no CUDA device"),
    ],
)
def test_each_obstacle_is_named(machine: Callable[..., None], given: dict[str, Any], message: str) -> None:
    machine(**given)
    with pytest.raises(EngineUnavailable, match=f"device: cuda cannot be used: {message}"):
        devices.resolve_device("cuda")
    device, notes = devices.resolve_device("auto")
    assert device == "cpu"
    assert notes[0].message.startswith("device auto chose cpu: ")


@no_gpu
def test_on_this_machine_without_a_gpu(model: Path, clip: Path) -> None:
    with pytest.raises(EngineUnavailable, match="device: cuda cannot be used: "):
        Scorer(model, device="cuda")
    got = Scorer(model, device="auto").assess(clip)
    assert got.device == "cpu"
    assert [w.code for w in got.warnings] == ["device_auto"]


def test_engines_and_decoders_that_do_not_fit(model: Path) -> None:
    with pytest.raises(Unsupported, match="engine tensorrt runs on cuda, got device 'cpu'"):
        Scorer(model, engine="tensorrt")
    with pytest.raises(InvalidArgument, match="engine must be one of"):
        Scorer(model, engine="tpu")
    with pytest.raises(InvalidArgument, match="decoder: must be one of auto, cpu, dali, got 'nvdec'"):
        Scorer(model, decoder="nvdec")
    with pytest.raises(InvalidArgument, match=r"one of \['f32', 'f16'\] for torch, got 'bf16'"):
        Scorer(model, engine="torch", precision="bf16")
    with pytest.raises(InvalidArgument, match=r"one of \['f32', 'bf16', 'int8'\] for openvino, got 'f16'"):
        Scorer(model, precision="f16")


def test_several_gpus_are_shared_out(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(3)
    monkeypatch.setattr(api, "probe", devices.probe)
    seen: list[Any] = []

    class StartedError(Exception):
        pass

    def pool(*given: Any, **others: Any) -> Any:
        seen.extend([*given, others])
        raise StartedError

    monkeypatch.setattr(api, "Pool", pool)
    with pytest.raises(StartedError):
        next(api.assess_many(["a"], device="cuda", window=2.0))
    options, where, others = seen
    assert where == ["cuda:0", "cuda:1", "cuda:2"]
    assert options == {"device": "cuda"}
    asked = {"pooling": None, "window": 2.0, "display": None}
    assert others == {"videos": 8, "ahead": 8, "asked": asked}


def agree(got: Assessment, truth: Assessment, tolerance: float) -> None:
    assert [(f.index, f.pts) for f in got.frames] == [(f.index, f.pts) for f in truth.frames]
    np.testing.assert_allclose([f.score for f in got.frames], [f.score for f in truth.frames], atol=tolerance)
    assert got.score == pytest.approx(truth.score, abs=tolerance)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("devices") / "film.mp4"
    clips.encode(path, FILM)
    return path


def test_torch_on_the_cpu_gives_the_same_score(film: Path) -> None:
    pytest.importorskip("torch")
    got = vqafast.assess(film, engine="torch", threads=2)
    assert got.engine.startswith("torch ")
    agree(got, vqafast.assess(film, threads=2), TOLERANCE)


@pytest.mark.cuda
@pytest.mark.parametrize("decoder", ["auto", "cpu"])
def test_a_gpu_gives_the_same_score(film: Path, decoder: str) -> None:
    require()
    got = vqafast.assess(film, device="cuda", decoder=decoder)
    assert (got.device, got.engine[:6]) == ("cuda:0", "torch ")
    assert ("NVDEC" in got.decoder) == (decoder == "auto")
    assert got.warnings == ()
    agree(got, vqafast.assess(film, threads=2), TOLERANCE)
    # And the same bits again.
    assert vqafast.assess(film, device="cuda", decoder=decoder).score == got.score


@pytest.mark.cuda
@pytest.mark.parametrize("size", [(FILM.width, FILM.height), (98, 226), (386, 98)])
def test_tensorrt_gives_the_same_score(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also for shapes at the ends of what its plans are made for."""
    require()
    use_tensorrt(monkeypatch, tmp_path)
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(width=size[0], height=size[1], frames=FRAMES, fps=30))
    scorer = Scorer(device="cuda", engine="tensorrt")
    got = scorer.assess(path)
    assert got.engine.startswith("tensorrt ")
    assert got.warnings == ()
    agree(got, vqafast.assess(path, threads=2), TOLERANCE)
    assert scorer.score(path) == got.score


@pytest.mark.cuda
def test_a_display_on_a_gpu(film: Path) -> None:
    require()
    display = (FILM.width * 3 // 2, FILM.height * 3 // 2)
    got = vqafast.assess(film, device="cuda", display=display)
    assert "NVDEC" in got.decoder
    agree(got, vqafast.assess(film, threads=2, display=display), TOLERANCE)


def test_dali_on_the_cpu_gives_nearly_the_same_score(tmp_path: Path) -> None:
    """Its pictures come through its own RGB, so chroma is a level off here and there."""
    pytest.importorskip("nvidia.dali")
    path = tmp_path / "x.webm"
    clips.encode(path, clips.Clip("libvpx-vp9", width=320, height=192, frames=60))
    got = Scorer(decoder="dali", threads=2).assess(path)
    assert got.decoder.startswith("vp9 (DALI ")
    agree(got, Scorer(threads=2).assess(path), 0.5)


def test_a_hybrid_model_reads_the_packets_of_what_dali_decodes(tmp_path: Path) -> None:
    pytest.importorskip("nvidia.dali")
    path = tmp_path / "x.webm"
    clips.encode(path, clips.Clip("libvpx-vp9", width=320, height=192, frames=60))
    got, truth = (
        Scorer("a2inet-lite-hybrid", decoder=decoder, threads=2).assess(path) for decoder in ("dali", "cpu")
    )
    assert got.decoder.startswith("vp9 (DALI ")
    assert got.bitstream == truth.bitstream != ()
    agree(got, truth, 0.5)


@pytest.mark.skipif(
    find_spec("nvidia.dali") is not None if find_spec("nvidia") else False, reason="DALI is there"
)
def test_without_dali(model: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"nvidia.dali cannot be imported: .*; pip install"):
        Scorer(model, decoder="dali")


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_convolutional_backbones_on_a_gpu(model: Path, clip: Path, precision: str) -> None:
    require()
    truth = Scorer(model, threads=2).assess(clip)
    got = Scorer(model, device="cuda", precision=precision).assess(clip)
    assert got.precision == precision
    agree(got, truth, TOLERANCE if precision == "f32" else HALF_TOLERANCE)


@pytest.mark.cuda
def test_videos_that_share_a_gpu_get_the_bits_of_one_alone(film: Path, tmp_path: Path) -> None:
    require()
    other = tmp_path / "other.mp4"
    clips.encode(other, OTHER_FILM)
    scorer = Scorer(device="cuda")
    alone = {str(p): scorer.score(p) for p in (film, other)}
    for outcome in scorer.assess_many([film, other] * 6, videos=6):
        assert outcome.assessment is not None
        assert outcome.assessment.score == alone[outcome.path]
