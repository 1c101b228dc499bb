"""VSFA and MDTVSFA: the authors' names, their numbers computed independently, and from file to score."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests import clips  # noqa: E402
from tests.ops.cuda import require, use_tensorrt  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from vqafast.cli import app  # noqa: E402
from vqafast.errors import EXIT_CODES, InvalidArgument, ModelError  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.convert import convert  # noqa: E402
from vqafast.models.model_json import parse, to_json  # noqa: E402
from vqafast.models.vsfa.network import Mdtvsfa, Vsfa  # noqa: E402
from vqafast.models.vsfa.spec import VsfaSpec  # noqa: E402
from vqafast.scoring.calibration import Calibration  # noqa: E402
from vqafast.scoring.pooling import Pooler  # noqa: E402
from vqafast.scoring.scorer import Scorer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GRU = {"weight_ih_l0": (96, 128), "weight_hh_l0": (96, 32), "bias_ih_l0": (96,), "bias_hh_l0": (96,)}
# As the authors' files have them: names and shapes of VSFA.pt and MDTVSFA.pt.
NAMES: dict[str, dict[str, tuple[int, ...]]] = {
    "vsfa": {
        "ann.fc0.weight": (128, 4096), "ann.fc0.bias": (128,), "ann.fc.weight": (128, 128),
        "ann.fc.bias": (128,), **{f"rnn.{k}": v for k, v in GRU.items()}, "q.weight": (1, 32), "q.bias": (1,),
    },
    "mdtvsfa": {
        "dimemsion_reduction.weight": (128, 4096), "dimemsion_reduction.bias": (128,),
        **{f"feature_aggregation.{k}": v for k, v in GRU.items()},
        "regression.weight": (1, 32), "regression.bias": (1,),
        **{f"{line}.weight": (1, 1) for line in ("nlm.0", "nlm.2", "lm.K", "lm.C", "lm.L", "lm.N")},
        **{f"{line}.bias": (1,) for line in ("nlm.0", "nlm.2", "lm.K", "lm.C", "lm.L", "lm.N")},
    },
}  # fmt: skip


def state(kind: str, seed: int = 0) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed)
    found = {
        name: torch.randn(shape, generator=g) / max(1.0, shape[-1] ** 0.5)
        for name, shape in NAMES[kind].items()
    }
    # The scale of a data set rises with quality.
    return {name: v.abs() if name.startswith("lm.") else v for name, v in found.items()}


@pytest.fixture(scope="module", params=["vsfa", "mdtvsfa"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("vsfa") / f"{request.param}.pt"
    torch.save(state(request.param), path)
    return request.param, path


@pytest.fixture(scope="module")
def model(checkpoint: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> VsfaSpec:
    kind, path = checkpoint
    dataset = "K" if kind == "mdtvsfa" else None
    out = tmp_path_factory.mktemp("vsfa") / "model"
    spec = registry.load(convert(kind, path, out, dataset=dataset, random_weights=True))
    assert isinstance(spec, VsfaSpec)
    return spec


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def frame_qualities(weights: Mapping[str, Any], features: np.ndarray) -> np.ndarray:
    """The heads written out in float64: reduction, GRU step by step, regression."""
    w = {name.split(".", 1)[-1] if "." in name else name: v.double().numpy() for name, v in weights.items()}
    names = {k: v.double().numpy() for k, v in weights.items()}
    reduce = "ann.fc0" if "ann.fc0.weight" in names else "dimemsion_reduction"
    last = "q" if "q.weight" in names else "regression"
    h, found = np.zeros(32), []
    for f in features.astype(np.float64):
        x = names[f"{reduce}.weight"] @ f + names[f"{reduce}.bias"]
        xi = np.split(w["weight_ih_l0"] @ x + w["bias_ih_l0"], 3)
        hi = np.split(w["weight_hh_l0"] @ h + w["bias_hh_l0"], 3)
        r, z = sigmoid(xi[0] + hi[0]), sigmoid(xi[1] + hi[1])
        h = (1 - z) * np.tanh(xi[2] + r * hi[2]) + z * h
        found.append(names[f"{last}.weight"] @ h + names[f"{last}.bias"])
    return np.concatenate(found)


def sitp(q: np.ndarray, tau: int = 12, gamma: float = 0.5) -> float:
    """Equations 8 to 12 of the paper, frame by frame."""
    total = 0.0
    for t in range(len(q)):
        memory = min(q[max(0, t - tau + 1) : t + 1])
        ahead = q[t : t + tau]
        current = sum(x * np.exp(-x) for x in ahead) / sum(np.exp(-x) for x in ahead)
        total += gamma * current + (1 - gamma) * memory
    return total / len(q)


@pytest.mark.parametrize("kind", NAMES)
def test_the_authors_names_and_shapes(kind: str) -> None:
    net = Vsfa() if kind == "vsfa" else Mdtvsfa()
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == NAMES[kind]
    net.load_state_dict(state(kind), strict=True)


@pytest.mark.parametrize("kind", NAMES)
def test_heads_against_an_independent_computation(kind: str) -> None:
    net = Vsfa() if kind == "vsfa" else Mdtvsfa()
    net.load_state_dict(state(kind))
    features = np.random.default_rng(1).random((9, 4096), dtype=np.float32)
    with torch.no_grad():
        got = net(torch.from_numpy(features)[None])[0].numpy()
    np.testing.assert_allclose(got, frame_qualities(state(kind), features), atol=2e-5)


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 60])
def test_pooling(count: int) -> None:
    q = np.random.default_rng(count).normal(size=count).astype(np.float32)
    pooler = Pooler(Calibration(2.0, 1.0, -100.0, 100.0, clip=False))
    assert pooler.pool(q, "sitp") == pytest.approx(2 * sitp(q.astype(np.float64)) + 1, abs=1e-6)
    # Qualities so far apart that the weights vanish.
    assert pooler.pool(q * 4000, "sitp") == pytest.approx(2 * sitp_by_minimum(q * 4000) + 1, rel=1e-2)


def sitp_by_minimum(q: np.ndarray, tau: int = 12) -> float:
    """Of very different qualities the softmin is the minimum."""
    past = [min(q[max(0, t - tau + 1) : t + 1]) for t in range(len(q))]
    ahead = [min(q[t : t + tau]) for t in range(len(q))]
    return float(np.mean([(a + b) / 2 for a, b in zip(past, ahead, strict=True)]))


def test_from_file_to_score(model: VsfaSpec, checkpoint: tuple[str, Path], tmp_path: Path) -> None:
    """Every frame at its own size; the score by the torch modules and the equations."""
    kind, _ = checkpoint
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=30, width=128, height=96))
    result = Scorer(model.directory, threads=2).assess(path)
    assert [f.index for f in result.frames] == list(range(30))
    assert result.pooling == "sitp"
    assert [w.code for w in result.warnings] == ["random_weights"]
    from vqafast.models.backbones.resnet import resnet50_last
    from vqafast.models.views import semantic_view
    from vqafast.video.pyav import PyAVSource
    from vqafast.video.sampling import EveryFrame

    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = resnet50_last().eval()
    view = Scorer(model.directory)._model._view  # type: ignore[union-attr]
    rows = []
    with PyAVSource(str(path)) as source, torch.no_grad():
        for sampled in source.frames(EveryFrame()):
            (maps,) = body(torch.from_numpy(semantic_view(sampled.frames[0], view, threads=1)))
            flat = maps.flatten(2)
            # torch.std with its default, n - 1, as the authors call it.
            rows.append(torch.cat([flat.mean(2), flat.std(2)], 1)[0].numpy())
    q = frame_qualities(state(kind), np.stack(rows))
    raw = sitp(q)
    if kind == "mdtvsfa":
        weights = {k: v.item() for k, v in state(kind).items() if v.numel() == 1}
        inner = sigmoid(weights["nlm.0.weight"] * sigmoid(raw) + weights["nlm.0.bias"])
        mapped = weights["nlm.2.weight"] * inner + weights["nlm.2.bias"]
        raw = weights["lm.K.weight"] * mapped + weights["lm.K.bias"]
    # The random features are large (some hundred), and f32 keeps seven digits of them.
    assert result.score == pytest.approx(raw, abs=1e-3 * max(1.0, float(np.abs(q).max())))


@pytest.mark.cuda
@pytest.mark.parametrize("engine", ["torch", "tensorrt"])
def test_a_gpu_gives_the_same_score(
    model: VsfaSpec, engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require()
    if engine == "tensorrt":
        use_tensorrt(monkeypatch, tmp_path)
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=30, width=128, height=96))
    truth = Scorer(model.directory, threads=2).score(path)
    span = model.scale.max - model.scale.min
    assert Scorer(model.directory, engine=engine, device="cuda").score(path) == pytest.approx(
        truth, abs=2e-3 * span
    )


def test_description_goes_there_and_back(model: VsfaSpec) -> None:
    data = json.loads((model.directory / "model.json").read_text())
    assert to_json(parse(data, model.directory)) == data
    for change, message in (
        ({"pooling": {"kind": "p5", "alpha": 0.5, "beta": 12}}, "pooling.kind must be one of"),
        ({"members": 2}, "members must be 1 in the family vsfa"),
        ({"views": {}}, "unknown fields"),
        ({"view": {**data["view"], "std": [1, 1, 0]}}, "view.std must be"),
    ):
        with pytest.raises(ModelError, match=message):
            parse({**data, **change}, model.directory)


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    broken = state("vsfa")
    del broken["q.bias"]
    broken["extra"] = torch.zeros(1)
    torch.save(broken, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=r"missing \[q.bias\], unexpected \[extra\]"):
        convert("vsfa", tmp_path / "x.pt", tmp_path / "m", random_weights=True)
    assert not (tmp_path / "m").exists()


def test_what_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    torch.save(state("vsfa"), file)
    for options, message in (
        ({"system": "nima", "random_weights": True}, "from must be one of vsfa, mdtvsfa"),
        ({"system": "vsfa"}, "give --backbone resnet50-imagenet"),
        ({"system": "vsfa", "backbone": "x.pth", "random_weights": True}, "exclude each other"),
        ({"system": "vsfa", "dataset": "K", "random_weights": True}, "dataset is for mdtvsfa"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            convert(checkpoint=file, out=tmp_path / "m", **options)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQAFAST_MODELS", str(tmp_path / "store"))
    file = tmp_path / "VSFA.pt"
    torch.save(state("vsfa"), file)
    run = CliRunner()
    refused = run.invoke(app, ["models", "add", "--from", "vsfa", str(file)])
    assert refused.exit_code == EXIT_CODES["invalid_argument"]
    added = run.invoke(app, ["models", "add", "--from", "vsfa", str(file), "--random-weights", "--name", "v"])
    assert (added.exit_code, added.stdout) == (0, "added v 1: vqafast score --model v PATH\n")
    alone = run.invoke(app, ["models", "add", str(file), "--backbone", "x"])
    assert "go with --from" in alone.stderr
