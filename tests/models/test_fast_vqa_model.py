"""FAST-VQA's family from file to score: which frames, which fragments, and the network's own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests import clips  # noqa: E402
from tests.ops.cuda import require  # noqa: E402

from vqafast.errors import InvalidArgument, ModelError  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.convert import SYSTEMS, convert  # noqa: E402
from vqafast.models.fast_vqa.config import MEAN, PRESETS, STD, NetworkConfig, Sampling, SwinConfig  # noqa: E402
from vqafast.models.fast_vqa.config import HeadConfig as FastHeadConfig  # noqa: E402
from vqafast.models.fast_vqa.convert import write_network  # noqa: E402
from vqafast.models.fast_vqa.fragments import enlarged, fragments  # noqa: E402
from vqafast.models.fast_vqa.network import FastVQA  # noqa: E402
from vqafast.models.fast_vqa.spec import FastVqaSpec, FragmentView  # noqa: E402
from vqafast.models.model_json import parse, to_json  # noqa: E402
from vqafast.models.views import HOST  # noqa: E402
from vqafast.ops import frame_ingest  # noqa: E402
from vqafast.scoring.scorer import Scorer  # noqa: E402
from vqafast.video.pyav import PyAVSource  # noqa: E402
from vqafast.video.sampling import EveryFrame  # noqa: E402
from vqafast.video.source import Sampled  # noqa: E402

if TYPE_CHECKING:
    from vqafast.video.source import Frame

_SMALL = SwinConfig(width=12, depths=(2, 1), heads=(2, 3), window=(2, 3, 3), fragment_bias=(True, False))
CONFIGS = {
    "clips": NetworkConfig(
        "small-clips", _SMALL, Sampling(frames=8, interval=2, clips=3, grid=2, aligned=8),
        head=FastHeadConfig(channels=24, hidden=8), rescale=(0.1, 0.5),
    ),
    "segments": NetworkConfig(
        "small-segments", _SMALL, Sampling(frames=8, interval=2, clips=1, grid=2, aligned=4, segments=4),
        head=FastHeadConfig(channels=24, hidden=8),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CONFIGS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, FastVqaSpec]:
    config = CONFIGS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = FastVQA(config).eval()
        # Initial tables are nearly zero, and would hide a wrong bias.
        for name, p in net.named_parameters():
            if name.endswith("bias_table"):
                torch.nn.init.normal_(p, std=0.5)
    out = tmp_path_factory.mktemp("fast") / "model"
    write_network(net, config, out, random=True)
    spec = registry.load(out)
    assert isinstance(spec, FastVqaSpec)
    return net, spec


def pictures(path: Path) -> list[Frame]:
    with PyAVSource(str(path)) as source:
        return [s.frames[0] for s in source.frames(EveryFrame())]


def rgb(frame: Frame, size: tuple[int, int] | None = None) -> np.ndarray:
    """The whole frame, normalised as the authors do in 0..255, by the op's slow definition."""
    crop = [[0, 0, frame.width, frame.height]]
    high_wide = size or (frame.height, frame.width)
    unit = frame_ingest.reference(frame, crop, high_wide)[0]
    shape = (3, 1, 1)
    return np.asarray((unit * 255 - np.reshape(MEAN, shape)) / np.reshape(STD, shape))


def authors_fragments(picture: np.ndarray, grid: int, patch: int) -> np.ndarray:
    """Their grid, with the middle of what they draw from in place of the draw."""
    _, high, wide = picture.shape
    rows = []
    for i in range(grid):
        row = []
        for j in range(grid):
            y = min(high // grid * i, high - patch) + max(0, high // grid - patch) // 2
            x = min(wide // grid * j, wide - patch) + max(0, wide // grid - patch) // 2
            row.append(picture[:, y : y + patch, x : x + patch])
        rows.append(np.concatenate(row, axis=2))
    return np.concatenate(rows, axis=1)


def clip_numbers(sampling: Sampling, length: int) -> list[list[int]]:
    """Frames of each clip by the release's formulas for testing, modulo the length."""
    span = sampling.frames * sampling.interval
    if sampling.segments == 1:
        average = (length - span + 1) / sampling.clips
        starts = [int(i * average + average / 2) if length > span - 1 else 0 for i in range(sampling.clips)]
        return [[(s + j * sampling.interval) % length for j in range(sampling.frames)] for s in starts]
    run = sampling.frames // sampling.segments
    part = length // sampling.segments
    middle = max(0, part - run * sampling.interval) // 2
    return [[(k * part + middle + j * sampling.interval) % length
             for k in range(sampling.segments) for j in range(run)]]  # fmt: skip


def by_hand(net: Any, path: Path) -> float:
    s = net.config.sampling
    frames = pictures(path)
    scores = []
    for numbers in clip_numbers(s, len(frames)):
        cut = [authors_fragments(rgb(frames[i]), s.grid, s.patch) for i in numbers]
        clip = torch.from_numpy(np.stack(cut, axis=1)[None].astype(np.float32))
        with torch.no_grad():
            scores.append(float(net(clip)))
    mean, deviation = net.config.rescale
    return float(1 / (1 + np.exp(-(np.mean(scores) - mean) / deviation)))


@pytest.mark.parametrize("frames", [75, 41])
def test_score_is_the_networks(made: Any, scorer_there: Any, rough: Any, frames: int, tmp_path: Path) -> None:
    net, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=frames, width=160, height=96))
    result = scorer_there(spec.directory).assess(path)
    assert (result.pooling, result.sampling.kind) == ("raw_mean", spec.sampling.kind)
    assert [w.code for w in result.warnings] == ["random_weights"]
    numbers = clip_numbers(net.config.sampling, frames)
    run = net.config.sampling.frames // net.config.sampling.segments
    starts = sorted({n for clip in numbers for n in clip[::run]})
    assert [f.index for f in result.frames] == starts
    assert result.score == pytest.approx(by_hand(net, path), abs=rough(2e-4))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_draws_differ_and_repeat(made: Any, engine: str, tmp_path: Path) -> None:
    _, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=48, width=320, height=192))
    scorer = Scorer(spec.directory, engine=engine, samples=3, threads=2)
    first, again = scorer.assess(path), scorer.assess(path)
    assert first.spread is not None
    assert len(set(first.spread.scores)) == 3
    assert again.spread == first.spread


@pytest.mark.cuda
@pytest.mark.parametrize("size", [(320, 192), (96, 64)])
def test_a_gpu_gives_the_same_scores_alone_and_among_others(
    made: Any, size: tuple[int, int], tmp_path: Path
) -> None:
    require()
    _, spec = made
    paths = []
    for i in range(2):
        paths.append(tmp_path / f"{i}.mp4")
        clips.encode(paths[-1], clips.Clip(frames=60, width=size[0], height=size[1], first=100 * i))
    gpu = Scorer(spec.directory, device="cuda")
    alone = {str(p): gpu.score(p) for p in paths}
    for path in paths:
        assert alone[str(path)] == pytest.approx(Scorer(spec.directory, threads=2).score(path), abs=1e-3)
    for outcome in gpu.assess_many(paths * 4, videos=4):
        assert outcome.assessment is not None
        assert outcome.assessment.score == alone[outcome.path]


def test_a_short_video_repeats_its_frames_and_says_so(made: Any, tmp_path: Path) -> None:
    net, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=10, width=160, height=96, options={"g": "1"}))
    result = Scorer(spec.directory, threads=2).assess(path)
    codes = [w.code for w in result.warnings]
    if net.config.sampling.segments == 1:
        assert codes == ["random_weights", "short_clip"]
        # 10 is even, so that every second frame modulo 10 is every second frame again.
        assert result.score == pytest.approx(by_hand(net, path), abs=2e-4)
    else:
        assert "random_weights" in codes


@pytest.mark.parametrize("size", [(160, 96), (224, 64), (96, 160), (48, 40), (33, 100)])
def test_fragments(size: tuple[int, int], tmp_path: Path) -> None:
    """Pictures larger and smaller than the fragments, which are then enlarged first."""
    view = FragmentView(2, 32, 4, *(tuple(v / 255 for v in values) for values in (MEAN, STD)))  # type: ignore[arg-type]
    path = tmp_path / "x.mkv"
    clips.encode(path, clips.Clip("ffv1", frames=3, width=size[0], height=size[1], pix_fmt="yuv444p"))
    frames = pictures(path)
    got = fragments(Sampled(0, tuple(frames)), view, 4, draw=0, seed=0, threads=1, target=HOST)
    assert got.shape == (4, 3, 64, 64)
    for i, picture in enumerate(got):
        frame = frames[i % 3]
        wide_high = None if min(size) >= 64 else enlarged(*size, 64)
        whole = rgb(frame, None if wide_high is None else wide_high[::-1])
        np.testing.assert_allclose(picture, authors_fragments(whole, 2, 32), atol=2e-4)


def test_description_goes_there_and_back(made: Any) -> None:
    _, spec = made
    data = json.loads((spec.directory / "model.json").read_text())
    assert to_json(parse(data, spec.directory)) == data
    for change, message in (
        (
            {"sampling": {**data["sampling"], "kind": "every_frame"}},
            "unknown fields|kind must be clips or segments",
        ),
        ({"sampling": {**data["sampling"], "burst": 3}}, "burst times window must be view.frames"),
        ({"view": {**data["view"], "grid": 0}}, "view.grid must be"),
        ({"members": 3}, "members 1"),
    ):
        with pytest.raises(ModelError, match=message):
            parse({**data, **change}, spec.directory)


def test_systems_are_the_presets(tmp_path: Path) -> None:
    assert set(PRESETS) <= set(SYSTEMS)
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    assert [name for name in SYSTEMS if f"`{name}`" not in page] == []
    for options, message in (
        ({"checkpoint": None}, "needs its authors' checkpoint"),
        ({"checkpoint": "x.pth", "random_weights": True}, "needs its authors' checkpoint"),
        ({"checkpoint": "x.pth", "backbone": "y"}, "takes its checkpoint alone"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            convert("fast-vqa-b", out=tmp_path / "m", **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_whole_system_with_random_weights(tmp_path: Path) -> None:
    """FAST-VQA-M at its own size: exported, equal through OpenVINO (or the export fails), and scored."""
    spec = registry.load(convert("fast-vqa-m", None, tmp_path / "m", random_weights=True))
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=60, width=320, height=192))
    result = Scorer(spec.directory, threads=2).assess(path)
    assert len(result.frames) == 4
    assert 0 <= result.score <= 1
