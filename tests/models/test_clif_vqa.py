"""CLiF-VQA: CLIP as `transformers` has it, which blocks are looked at, and scores of the network itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests import clips  # noqa: E402
from tests.models.small_clip import TINY_CLIP, save_clip  # noqa: E402

from vqafast.errors import InvalidArgument, MissingFile, ModelError  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.clif_vqa.blocks import blocks, looked_at  # noqa: E402
from vqafast.models.clif_vqa.config import ClifConfig  # noqa: E402
from vqafast.models.clif_vqa.convert import write_network  # noqa: E402
from vqafast.models.clif_vqa.network import ClifVqa, pooled  # noqa: E402
from vqafast.models.clif_vqa.spec import BlockView, ClifVqaSpec  # noqa: E402
from vqafast.models.clip.extractor import SemanticExtractor, random_extractor  # noqa: E402
from vqafast.models.clip.visual import ClipConfig, ClipVisual  # noqa: E402
from vqafast.models.convert import convert  # noqa: E402
from vqafast.models.fast_vqa.config import PRESETS, HeadConfig, Sampling, SwinConfig  # noqa: E402
from vqafast.models.fast_vqa.fragments import fragments  # noqa: E402
from vqafast.models.fast_vqa.network import FastVQA  # noqa: E402
from vqafast.models.model_json import parse, to_json  # noqa: E402
from vqafast.models.views import HOST  # noqa: E402
from vqafast.ops import frame_ingest  # noqa: E402
from vqafast.scoring.scorer import Scorer  # noqa: E402
from vqafast.video.pyav import PyAVSource  # noqa: E402
from vqafast.video.sampling import EveryFrame  # noqa: E402
from vqafast.video.source import Sampled  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.video.source import Frame

SMALL = ClifConfig(
    name="small-clif",
    swin=SwinConfig(width=12, depths=(2, 1), heads=(2, 3), window=(2, 3, 3), fragment_bias=(True, False)),
    head=HeadConfig(channels=24, hidden=8),
    sampling=Sampling(frames=8, interval=2, clips=2, grid=2, aligned=8),
    clip=TINY_CLIP,
    blocks=2,
    looks=4,
    descriptions=("bright", "noisy", "boring"),
    semantic_hidden=5,
    regression_hidden=7,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClifVqa, SemanticExtractor, ClifVqaSpec]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = ClifVqa(SMALL).eval()
        extractor = random_extractor(SMALL.clip, len(SMALL.descriptions)).eval()
        # Random towers see all pictures alike; a lower temperature keeps more than one share alive.
        extractor.scale = 20.0
    out = tmp_path_factory.mktemp("clif") / "model"
    write_network(net, extractor, out, random=True)
    spec = registry.load(out)
    assert isinstance(spec, ClifVqaSpec)
    return net, extractor, spec


def pictures(path: Path) -> list[Frame]:
    with PyAVSource(str(path)) as source:
        return [s.frames[0] for s in source.frames(EveryFrame())]


def test_paper_sizes() -> None:
    config = ClifConfig()
    with torch.device("meta"):
        net = ClifVqa(config)
        theirs = {k: v.shape for k, v in FastVQA(PRESETS["fast-vqa-b"]).state_dict().items()}
    assert config.tokens == 16 * 7 * 7
    assert config.features == 2 * len(config.descriptions)
    mine = {k: v.shape for k, v in net.state_dict().items()}
    # FAST-VQA's checkpoint fits the spatial branch, name by name.
    assert theirs.items() <= mine.items()
    assert set(mine) - set(theirs) == {f"fc{i}.{kind}" for i in (1, 2, 3, 4) for kind in ("weight", "bias")}


def test_pooling_over_blocks() -> None:
    shares = torch.rand(4, 9, 3, dtype=torch.float64)
    got = pooled(shares)
    assert got.shape == (4, 6)
    for t in range(4):
        for r in range(3):
            column = [float(shares[t, b, r]) for b in range(9)]
            assert float(got[t, r]) == pytest.approx(sum(column) / 9)
            assert float(got[t, 3 + r]) == max(column)


def test_regression_is_the_papers() -> None:
    """Eqs. 8, 12 and 13 written out, one description after the other."""
    net = ClifVqa(SMALL).double().eval()
    semantics = torch.rand(2, SMALL.looks, SMALL.features, dtype=torch.float64)
    spatial = torch.randn(2, SMALL.tokens, dtype=torch.float64)
    with torch.no_grad():
        got = net.regress(semantics, spatial)
        for b in range(2):
            each = []
            for d in range(SMALL.features):
                hidden = net.fc1.weight @ semantics[b, :, d] + net.fc1.bias
                hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
                each.append(net.fc2.weight[0] @ hidden + net.fc2.bias[0])
            whole = torch.cat([torch.stack(each), spatial[b]])
            hidden = net.fc3.weight @ whole + net.fc3.bias
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
            want = net.fc4.weight[0] @ hidden + net.fc4.bias[0]
            torch.testing.assert_close(got[b], want, rtol=1e-12, atol=1e-12)


def test_frames_that_clip_sees() -> None:
    assert looked_at(32, 8) == [2, 6, 10, 14, 18, 22, 26, 30]
    assert looked_at(5, 5) == [0, 1, 2, 3, 4]
    assert looked_at(7, 1) == [3]


@pytest.mark.parametrize(("width", "height"), [(160, 96), (40, 36), (48, 40)])
def test_blocks_are_cut_from_the_picture(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=4, width=width, height=height))
    frames = tuple(pictures(path))
    view = BlockView(grid=2, side=64, looks=2, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    got = blocks(Sampled(0, frames), view, 8, threads=1, target=HOST)
    assert got.shape == (8, 3, 64, 64)
    side = min(64, width, height)
    rows = []
    for i in (2, 2):  # frames 2 and 6 of 8, of which there are 4
        for y in (0, 1):
            for x in (0, 1):
                cell = [width * x // 2, width * (x + 1) // 2, height * y // 2, height * (y + 1) // 2]
                left = min(max(0, (cell[0] + cell[1] - side) // 2), width - side)
                top = min(max(0, (cell[2] + cell[3] - side) // 2), height - side)
                rows.append(frame_ingest.reference(frames[i], [[left, top, side, side]], (64, 64))[0])
    shape = (3, 1, 1)
    want = (np.stack(rows) - np.reshape(view.mean, shape)) / np.reshape(view.std, shape)
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_score_and_shares_are_the_networks(made: Any, scorer_there: Any, rough: Any, tmp_path: Path) -> None:
    net, extractor, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=50, width=160, height=96))
    result = scorer_there(spec.directory).assess(path)
    whole = pictures(path)
    s = SMALL.sampling
    scores, shares = [], []
    # FAST-VQA's clips: the middles of equal shares of the places where a clip may begin.
    average = (50 - 16 + 1) / 2
    for start in (int(i * average + average / 2) for i in range(2)):
        frames = tuple(whole[start + j * s.interval] for j in range(s.frames))
        sampled = Sampled(0, frames)
        fragment = fragments(sampled, spec.view, s.frames, draw=0, seed=0, threads=1, target=HOST)
        images = blocks(sampled, spec.blocks, s.frames, threads=1, target=HOST)
        with torch.no_grad():
            p = extractor(torch.from_numpy(images)).reshape(SMALL.looks, -1, len(SMALL.descriptions))
            clip = torch.from_numpy(fragment).transpose(0, 1)[None]
            scores.append(float(net(clip, pooled(p)[None])))
        shares.append(p.mean(dim=(0, 1)).numpy())
    assert result.score == pytest.approx(1 / (1 + np.exp(-np.mean(scores))), abs=rough(1e-5))
    assert tuple(a.name for a in result.attributes) == SMALL.descriptions
    found = [a.value for a in result.attributes]
    np.testing.assert_allclose(found, np.mean(shares, axis=0), atol=rough(1e-5))
    assert sum(a.value for a in result.attributes) == pytest.approx(1.0, abs=1e-5)
    assert [w.code for w in result.warnings] == ["random_weights"]


def test_draws_move_fragments_only(made: Any, tmp_path: Path) -> None:
    _, _, spec = made
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=40, width=320, height=192))
    several, one = (Scorer(spec.directory, samples=n, threads=2).assess(path) for n in (3, 1))
    assert several.spread is not None
    assert len(set(several.spread.scores)) == 3
    assert several.spread.scores[0] == one.score
    assert several.attributes == one.attributes


def test_model_json(made: Any) -> None:
    _, _, spec = made
    assert spec.attributes == SMALL.descriptions
    data = to_json(spec)
    assert parse(data, spec.directory) == spec
    for change, words in (
        ({"descriptions": ["a", "a"]}, "descriptions must be different"),
        ({"blocks": data["blocks"] | {"looks": 9}}, "blocks.looks"),
        ({"sampling": data["sampling"] | {"window": 2}}, "window"),
        ({"blocks": data["blocks"] | {"more": 1}}, "unknown fields"),
    ):
        with pytest.raises(ModelError, match=words):
            parse(data | change, spec.directory)


def test_no_published_weights(tmp_path: Path) -> None:
    for given in ({}, {"random_weights": True, "checkpoint": tmp_path / "x.pth"}):
        checkpoint = given.pop("checkpoint", None)
        with pytest.raises(InvalidArgument, match="no published weights"):
            convert("clif-vqa", checkpoint, tmp_path / "out", **given)
    with pytest.raises(MissingFile, match=r"config\.json"):
        convert("clif-vqa", None, tmp_path / "out", backbone=str(tmp_path), random_weights=True)


def test_config_is_checked() -> None:
    for change, words in (
        ({"looks": 33}, "looks must be frames of a clip"),
        ({"descriptions": ("one",)}, "two or more different"),
        ({"prompt": "no place"}, "prompt must have one"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            ClifConfig(**change)


def test_clip_of_its_state() -> None:
    for config in (TINY_CLIP, ClipConfig()):
        with torch.device("meta"):
            state = ClipVisual(config).state_dict()
        found = ClipConfig.of(state)
        assert (found.side, found.patch, found.width, found.layers, found.out) == (
            config.side, config.patch, config.width, config.layers, config.out,
        )  # fmt: skip
    # Of the release: 86,192,640 parameters of ViT-B/16's image tower.
    assert sum(v.numel() for v in state.values()) == 86_192_640
    with pytest.raises(InvalidArgument, match="image tower of a ViT"):
        ClipConfig.of({})


@pytest.fixture(scope="module")
def transformers_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    path = tmp_path_factory.mktemp("hub") / "clip"
    return save_clip(path), path


def test_clip_equals_transformers(transformers_clip: tuple[Any, Path]) -> None:
    from transformers import AutoTokenizer

    from vqafast.models.clip.pretrained import extractor_of

    model, path = transformers_clip
    prompts = ["a bright photo.", "a noisy photo.", "a high-contrast photo."]
    extractor = extractor_of(path, prompts)
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = AutoTokenizer.from_pretrained(path)(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        want = model(pixel_values=images, **tokens).logits_per_image.softmax(dim=1)
        got = extractor(images)
    assert want.std() > 1e-3
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert not any(p.requires_grad for p in extractor.parameters())


def test_clip_that_is_none(transformers_clip: tuple[Any, Path], tmp_path: Path) -> None:
    from vqafast.models.clip.pretrained import extractor_of

    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        extractor_of(tmp_path, ["a"])
