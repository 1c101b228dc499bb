"""KSVQE from file to score: which frames and fragments, which key frames, and the network's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests import clips  # noqa: E402

from vqafast.errors import InvalidArgument, ModelError  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.clip.visual import MEAN, STD, ClipConfig  # noqa: E402
from vqafast.models.convert import convert  # noqa: E402
from vqafast.models.fast_vqa.config import HeadConfig, Sampling, SwinConfig  # noqa: E402
from vqafast.models.fast_vqa.fragments import fragments  # noqa: E402
from vqafast.models.ksvqe.config import ContriqueConfig, KsvqeConfig  # noqa: E402
from vqafast.models.ksvqe.convert import scored_as, write_network  # noqa: E402
from vqafast.models.ksvqe.network import KSVQE  # noqa: E402
from vqafast.models.ksvqe.runtime import KsvqeRuntime, RunViews  # noqa: E402
from vqafast.models.ksvqe.spec import KsvqeSpec  # noqa: E402
from vqafast.models.model_json import parse, to_json  # noqa: E402
from vqafast.models.views import HOST  # noqa: E402
from vqafast.ops import frame_ingest  # noqa: E402
from vqafast.video.pyav import PyAVSource  # noqa: E402
from vqafast.video.sampling import EveryFrame  # noqa: E402
from vqafast.video.source import Sampled  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.video.source import Frame

SMALL = KsvqeConfig(
    name="small-ksvqe",
    swin=SwinConfig(
        width=8, depths=(1, 1, 1), heads=(2, 4, 2), window=(4, 3, 3), fragment_bias=(True, True, False)
    ),
    head=HeadConfig(32, 6),
    sampling=Sampling(frames=8, interval=2, clips=3, grid=4, aligned=8, patch=16),
    clip=ClipConfig(side=48, patch=8, width=12, layers=3, heads=3, out=4),
    frames_side=32,
    contrique=ContriqueConfig(2, (1, 1, 1, 1), 8),
    adapter_start=1,
    tuning_stage=1,
    region=3,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[KSVQE, KsvqeSpec]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = KSVQE(SMALL)
        for p in net.parameters():
            torch.nn.init.normal_(p, mean=1.0 if p.ndim == 1 else 0.0, std=0.3)
    out = tmp_path_factory.mktemp("ksvqe") / "model"
    write_network(net.eval(), out, random=True)
    spec = registry.load(out)
    assert isinstance(spec, KsvqeSpec)
    return net, spec


def pictures(path: Path) -> list[Frame]:
    with PyAVSource(str(path)) as source:
        return [s.frames[0] for s in source.frames(EveryFrame())]


def test_the_releases_clips_are_one() -> None:
    sampling = scored_as(KsvqeConfig().sampling)
    assert (sampling.size, sampling.segments, sampling.interval) == ((96, 288, 288), 3, 4)


def by_hand(net: KSVQE, spec: KsvqeSpec, whole: list[Frame]) -> float:
    """Three runs of 8 frames, one in the middle of each third; one that the end cuts short begins again."""
    part = len(whole) // 3
    frames: tuple[Frame, ...] = ()
    for k in range(3):
        start = k * part + max(0, part - 16) // 2
        run = whole[start : start + 16 : 2]
        frames += tuple(run[i % len(run)] for i in range(8))
    cut = fragments(Sampled(0, frames), spec.view, 24, draw=0, seed=0, threads=1, target=HOST)
    # 0, T/4 - 1, T/2 - 1 and 3T/4 - 1 of 24 frames.
    shape = (3, 1, 1)
    keys = [
        (frame_ingest.reference(frames[n], [[0, 0, frames[n].width, frames[n].height]], (32, 32))[0]
         - np.reshape(MEAN, shape)) / np.reshape(STD, shape)
        for n in (0, 5, 11, 17)
    ]  # fmt: skip
    with torch.no_grad():
        score = net(
            torch.from_numpy(cut).transpose(0, 1)[None],
            torch.from_numpy(np.stack(keys)[None].astype(np.float32)),
        )
    return float(torch.sigmoid(score))


@pytest.mark.parametrize("frames", [75, 30])
def test_score_is_the_networks(made: Any, scorer_there: Any, rough: Any, frames: int, tmp_path: Path) -> None:
    net, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=frames, width=160, height=96))
    result = scorer_there(spec.directory).assess(path)
    assert result.score == pytest.approx(by_hand(net, spec, pictures(path)), abs=rough(2e-5))
    assert len(result.frames) == 3
    expected = ["random_weights"] + (["short_clip"] if frames < 36 else [])
    assert [w.code for w in result.warnings] == expected
    assert result.score == pytest.approx(
        1 / (1 + np.exp(-np.mean([np.log(f.score / (1 - f.score)) for f in result.frames]))), abs=1e-5
    )


def test_runs_that_are_missing_are_those_there_again(made: Any, tmp_path: Path) -> None:
    net, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=75, width=160, height=96))
    whole = pictures(path)
    runtime = KsvqeRuntime(spec, threads=1)
    runs = [
        runtime.ingest_quality(Sampled(k, tuple(whole[25 * k + 4 + 2 * j] for j in range(8))))
        for k in range(3)
    ]
    # Key frames 0 and 5 lie in the first run, 11 in the second, 17 in the third.
    assert [len(r.keys) for r in runs] == [2, 1, 1]
    scores = runtime.quality_features([runs[0], runs[2]])
    assert scores.shape == (2, 1)
    keys = np.concatenate([runs[0].keys, runs[2].keys, runs[0].keys[:1]])
    cut = np.concatenate([runs[i].fragments for i in (0, 2, 0)])
    with torch.no_grad():
        want = net.quality_map(torch.from_numpy(cut).transpose(0, 1)[None], torch.from_numpy(keys[None]))
    by_run = want.mean(dim=(2, 3)).reshape(3, -1).mean(dim=1)
    np.testing.assert_allclose(scores[:, 0], by_run[:2], atol=1e-5)
    with pytest.raises(InvalidArgument, match="1 to 3 runs"):
        runtime.quality_features([])
    assert RunViews(runs[0].fragments, runs[0].keys).nbytes == cut.nbytes // 3 + runs[0].keys.nbytes


def test_model_json(made: Any) -> None:
    _, spec = made
    data = to_json(spec)
    assert parse(data, spec.directory) == spec
    for change, words in (
        ({"keys": data["keys"] | {"frames": [0, 5, 5, 17]}}, "keys.frames must rise"),
        ({"keys": data["keys"] | {"frames": [0, 24]}}, "below 24"),
        ({"keys": data["keys"] | {"frames": []}}, "one or more integers"),
        ({"sampling": data["sampling"] | {"burst": 9}}, "burst times window"),
        ({"keys": data["keys"] | {"more": 1}}, "unknown fields"),
    ):
        with pytest.raises(ModelError, match=words):
            parse(data | change, spec.directory)


def test_checkpoints_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="needs its authors' checkpoint"):
        convert("ksvqe", None, tmp_path / "out")
    with pytest.raises(InvalidArgument, match="takes its checkpoint alone"):
        convert("ksvqe", tmp_path / "x.pth", tmp_path / "out", backbone="y")
