"""What families of networks over clips bring to their training: clips, first weights, losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("safetensors")

from tests.models.small_clip import save_clip  # noqa: E402
from tests.training import small_clips as small  # noqa: E402

from vqafast.errors import InvalidArgument, MissingFile, ModelError, TooSmall  # noqa: E402
from vqafast.models.clip.pretrained import visual_of  # noqa: E402
from vqafast.models.fast_vqa.network import FastVQA  # noqa: E402
from vqafast.models.fast_vqa.swin3d import SwinTransformer3D  # noqa: E402
from vqafast.models.ksvqe.network import KSVQE  # noqa: E402
from vqafast.models.kvq.loss import local_perception_loss  # noqa: E402
from vqafast.training.calibration import Line, fitted_line  # noqa: E402
from vqafast.training.clips.ksvqe import KsvqeSystem  # noqa: E402
from vqafast.training.clips.places import RandomRuns  # noqa: E402
from vqafast.training.clips.samples import ClipSamples, ClipScorer  # noqa: E402
from vqafast.training.clips.system import NAMES, system_of  # noqa: E402
from vqafast.training.losses import contrastive_distortion_loss  # noqa: E402
from vqafast.video import open_source  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

SYSTEMS = list(small.SYSTEMS)


@dataclass(frozen=True)
class Item:
    name: str
    path: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    small.make_clips(root)
    return root


def items(folder: Path, count: int = 4) -> list[Item]:
    return [Item(f"{i:02}.mp4", folder / f"{i:02}.mp4") for i in range(count)]


def samples(folder: Path, name: str, *, seed: int = 0, threads: int = 1, count: int = 4) -> ClipSamples:
    return ClipSamples(
        items(folder, count), np.zeros(count), small.SYSTEMS[name](), seed=seed, threads=threads
    )


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


@pytest.mark.parametrize("name", SYSTEMS)
def test_clips_of_a_training_step(folder: Path, name: str) -> None:
    made = samples(folder, name)
    step = made.sample(0, 1)
    assert len(step) == 1
    assert all(x.is_contiguous() or x.ndim > 1 for x in step[0])
    # The same again, in whatever number of threads; others in the next epoch, and with another seed.
    assert same(step, made.sample(0, 1))
    assert same(step, samples(folder, name, threads=3).sample(0, 1))
    draws = [made.sample(0, draw) for draw in range(1, 9)]
    assert sum(not same(step, other) for other in draws) >= 5
    seeds = [samples(folder, name, seed=seed).sample(0, 1) for seed in range(1, 6)]
    assert sum(not same(step, other) for other in seeds) >= 3


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_videos_clips_do_not_depend_on_the_others(folder: Path, name: str) -> None:
    alone = ClipSamples(items(folder)[2:3], [0.0], small.SYSTEMS[name](), seed=0)
    assert same(alone.sample(0, 3), samples(folder, name).sample(2, 3))


@pytest.mark.parametrize("name", SYSTEMS)
def test_scores_are_means_over_the_clips_of_each_video(folder: Path, name: str) -> None:
    system = small.SYSTEMS[name]()
    made = samples(folder, name)
    model = ClipScorer(system, system.start({}).network).eval()
    batch = [made.sample(i, 0) for i in (0, 1)]
    with torch.no_grad():
        scores, added = model(*made.collate(batch))
        expected = [
            torch.stack([model.network(*(x[None] for x in clip))[0] for clip in video]).mean()
            for video in batch
        ]
    assert added is None
    assert scores.tolist() == [x.item() for x in expected]


def test_scoring_sees_all_clips_and_ksvqe_sees_them_as_one(folder: Path) -> None:
    counts = {name: len(samples(folder, name).sample(0, 0)) for name in SYSTEMS}
    assert counts == {"fast-vqa": 2, "faster-vqa": 1, "ksvqe": 1, "kvq": 2, "clif-vqa": 2}
    (scored,) = samples(folder, "ksvqe").sample(0, 0)
    (trained,) = samples(folder, "ksvqe").sample(0, 1)
    assert (scored[0].shape[1], trained[0].shape[1]) == (16, 8)
    assert scored[1].shape == trained[1].shape


def test_pictures_that_scoring_refuses_are_refused(tmp_path: Path) -> None:
    from tests import clips

    clips.encode(tmp_path / "small.mp4", clips.Clip(frames=20, width=30, height=60))
    made = ClipSamples([Item("small", tmp_path / "small.mp4")], [0.0], small.SYSTEMS["kvq"](), seed=0)
    for draw in (0, 1):
        with pytest.raises(TooSmall, match="must be at least 32 pixels a side, got 30x60"):
            made.sample(0, draw)


def test_random_runs_lie_anywhere_in_their_parts() -> None:
    seen: list[set[int]] = [set(), set()]
    for seed in range(400):
        picker = RandomRuns(4, 2, 2, seed).begin(length=41)
        starts = [i for i in range(41) if picker.start(i, 0.0) is not None]
        assert [picker.start(i, 0.0) for i in starts] == [0, 1]
        for part, start in zip(seen, starts, strict=True):
            part.add(start)
    assert seen == [set(range(13)), set(range(20, 33))]
    # A run that is longer than its part begins with it; parts of no frames are one.
    assert RandomRuns(4, 2, 2, 1).begin(length=10).start(5, 0.0) == 1
    short = RandomRuns(8, 1, 4, 1).begin(length=3)
    assert [short.start(i, 0.0) for i in range(3)] == [0, None, None]
    with pytest.raises(InvalidArgument, match="at least 1, got 0, 1, 1"):
        RandomRuns(0, 1, 1, 0)
    with pytest.raises(InvalidArgument, match="number of frames must be known"):
        RandomRuns(1, 1, 1, 0).begin()


def test_a_damaged_place_is_tried_elsewhere(folder: Path) -> None:
    tried = []

    class Damaged(type(small.SYSTEMS["kvq"]())):  # type: ignore[misc]
        def views(self, source: Any, **options: Any) -> Any:
            tried.append(options["seed"])
            return super().views(source, **options) if len(tried) == 3 else []

    made = ClipSamples(items(folder), np.zeros(4), Damaged(small.SYSTEMS["kvq"]()._config), seed=0)
    assert len(made.sample(0, 1)) == 1
    assert len(set(tried)) == 3


def test_ksvqe_adds_the_contrastive_loss_of_its_fragments(folder: Path) -> None:
    system = KsvqeSystem(replace(small.SYSTEMS["ksvqe"]()._config, num_samples=3))
    made = samples(folder, "ksvqe")
    network = system.start({}).network.train()
    _, *inputs = made.collate([made.sample(i, 1) for i in range(3)])
    torch.manual_seed(0)
    scores, added = system.training_scores(network, tuple(inputs))
    torch.manual_seed(0)
    truth, embeddings = network.forward_with_distortion(*inputs)
    rows = [(e, i) for i, clip in enumerate(embeddings) for e in clip.flatten(0, 1)]
    loss = contrastive_distortion_loss(torch.stack([e for e, _ in rows]), torch.tensor([i for _, i in rows]))
    assert torch.equal(scores, truth)
    assert added.item() == pytest.approx(0.3 * loss.item(), rel=1e-6)
    assert loss.item() > 0.1


def test_kvq_adds_the_local_perception_constraint(folder: Path) -> None:
    system = small.SYSTEMS["kvq"]()
    made = samples(folder, "kvq")
    network = system.start({}).network.eval()
    _, clips = made.collate([made.sample(i, 1) for i in range(2)])
    scores, added = system.training_scores(network, (clips,))
    maps = network.maps(clips)
    assert torch.equal(scores, maps.score)
    assert added.item() == pytest.approx(0.05 * local_perception_loss(network, clips, maps).item())
    assert added.item() > 0


def fast(seed: int) -> FastVQA:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FastVQA(small.FAST)


def parts_of(network: Any, name: str) -> tuple[Any, Any]:
    if name == "ksvqe":
        return network.KSVQE_backbone, network.KSVQE_head
    if name == "clif-vqa":
        return network.net.fragments_backbone, network.net.vqa_head
    return network.backbone, network.head


@pytest.mark.parametrize("name", ["fast-vqa", "ksvqe", "clif-vqa"])
def test_fast_vqas_checkpoint_starts_whoever_has_its_parts(tmp_path: Path, name: str) -> None:
    net = fast(3)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "authors.pth")
    start = small.SYSTEMS[name]().start({"init": str(tmp_path / "authors.pth")})
    backbone, head = parts_of(start.network, name)
    mine = backbone.state_dict()
    assert all(torch.equal(v, mine[k]) for k, v in net.backbone.state_dict().items())
    assert all(torch.equal(v, head.state_dict()[k]) for k, v in net.head.state_dict().items())
    assert not start.notes


@pytest.mark.parametrize("name", ["fast-vqa", "ksvqe", "clif-vqa", "kvq"])
def test_kinetics_weights_start_the_swin(tmp_path: Path, name: str) -> None:
    swin = small.swin(fragment_bias=(False,) * 3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = SwinTransformer3D(swin).state_dict()
    released = {f"backbone.{k}": v for k, v in theirs.items()} | {"cls_head.fc_cls.bias": torch.zeros(2)}
    torch.save({"state_dict": released}, tmp_path / "swin.pth")
    network = small.SYSTEMS[name]().start({"init": str(tmp_path / "swin.pth")}).network
    mine = (network.backbone if name == "kvq" else parts_of(network, name)[0]).state_dict()
    assert all(torch.equal(v, mine[k]) for k, v in theirs.items())
    # Both tables of FAST-VQA's gated bias begin as Kinetics' only one.
    gated = [k for k in mine if k.endswith("fragment_position_bias_table")]
    assert bool(gated) == (name != "kvq")
    for k in gated:
        assert torch.equal(mine[k], theirs[k.replace("fragment_position", "relative_position")])


def test_ksvqes_own_checkpoint_has_all_of_it(tmp_path: Path) -> None:
    system = small.SYSTEMS["ksvqe"]()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = KSVQE(system._config)
    state = {f"module.{k}": v for k, v in theirs.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "authors.pth")
    start = system.start({"init": str(tmp_path / "authors.pth")})
    assert start.random == ()
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in start.network.state_dict().items())
    other = KsvqeSystem(replace(system._config, tuning_stage=2))
    with pytest.raises(InvalidArgument, match="must have the adapters and modulated stages"):
        other.start({"init": str(tmp_path / "authors.pth")})


def test_frozen_parts_from_their_own_checkpoints(tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    system = small.SYSTEMS["ksvqe"]()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = KSVQE(system._config).KSVQE_backbone.distortion_tool
    torch.save(theirs.state_dict(), tmp_path / "contrique.tar")
    weights = {"clip_weights": str(tmp_path / "clip")}
    assert system.start(weights).random == ("CONTRIQUE",)
    weights["contrique_weights"] = str(tmp_path / "contrique.tar")
    start = system.start(weights)
    assert start.random == ()
    assert start.notes == ("no init: the Swin part starts from random weights",)
    backbone: Any = start.network.KSVQE_backbone
    for got, wanted in (
        (backbone.distortion_tool, theirs),
        (backbone.CLIP_tool.visual, visual_of(tmp_path / "clip")),
    ):
        assert all(torch.equal(v, wanted.state_dict()[k]) for k, v in got.state_dict().items())
    clif = small.SYSTEMS["clif-vqa"]().start({"clip_weights": str(tmp_path / "clip")})
    assert clif.random == ()
    visual = clif.network.extractor.visual.state_dict()
    assert all(torch.equal(v, backbone.CLIP_tool.visual.state_dict()[k]) for k, v in visual.items())
    assert not any(p.requires_grad for p in clif.network.extractor.parameters())


@pytest.mark.parametrize("name", SYSTEMS)
def test_weights_that_do_not_fit(tmp_path: Path, name: str) -> None:
    system = small.SYSTEMS[name]()
    with pytest.raises(MissingFile, match="init: must be a file of weights or a model directory"):
        system.start({"init": str(tmp_path / "none")})
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"patch_embed|conv\.weight"):
        system.start({"init": str(tmp_path / "other.pth")})


def test_systems_by_name() -> None:
    for name in NAMES:
        system = system_of(name)
        assert system.name == name
        assert system.identity()
        assert {"init"} <= set(system.weights) <= {"init", "clip_weights", "contrique_weights"}
    with pytest.raises(InvalidArgument, match="model must be one of fast-vqa-b, "):
        system_of("kvk")


def test_the_line_to_opinion_scores() -> None:
    raw = np.array([0.1, 0.4, 0.2, 0.9])
    line = fitted_line(raw, 3 * raw - 1)
    assert line.of(raw) == pytest.approx(3 * raw - 1)
    slope, offset = np.polyfit(raw, [1.0, 2.0, 2.5, 4.0], 1)
    fitted = fitted_line(raw, [1.0, 2.0, 2.5, 4.0])
    assert (fitted.scale, fitted.offset) == (pytest.approx(slope), pytest.approx(offset))
    # Ranks stay, even where scores and labels do not rise together.
    turned = fitted_line(raw, -raw)
    assert (turned.scale, turned.of(raw).mean()) == (pytest.approx(1.0), pytest.approx(-raw.mean()))
    assert fitted_line([2.0, 2.0], [1.0, 3.0]) == Line(1.0, 0.0)
    assert fitted_line([2.0], [5.0]) == Line(1.0, 3.0)
    for wrong in (([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0])):
        with pytest.raises(InvalidArgument, match=r"must be finite \(n,\) with n >= 1"):
            fitted_line(*wrong)


def test_views_are_those_of_scoring(folder: Path) -> None:
    """Draw 0 against the runtime's own views, through the network itself: see test_clip_runs too."""
    from vqafast.models.fast_vqa.config import MEAN, STD
    from vqafast.models.fast_vqa.convert import sampling_spec
    from vqafast.models.fast_vqa.fragments import fragments
    from vqafast.models.fast_vqa.spec import FragmentView, unit
    from vqafast.models.views import HOST, selector_of

    s = small.FAST.sampling
    view = FragmentView(s.grid, s.patch, s.frames, unit(MEAN), unit(STD))
    got = samples(folder, "fast-vqa").sample(1, 0)
    with open_source(folder / "01.mp4", 1) as source:
        runs = [
            fragments(sampled, view, s.frames, draw=0, seed=0, threads=1, target=HOST)
            for sampled in source.frames(selector_of(sampling_spec(s)))
        ]
    assert len(runs) == len(got) == 2
    for run, (clip,) in zip(runs, got, strict=True):
        assert torch.equal(torch.from_numpy(run).transpose(0, 1), clip)
