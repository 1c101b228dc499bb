"""KVQ from file to score and maps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dataclasses import replace  # noqa: E402

from tests import clips  # noqa: E402
from tests.models import small_kvq  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from vqafast.cli import app  # noqa: E402
from vqafast.errors import InvalidArgument, ModelError, Unsupported  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.convert import convert  # noqa: E402
from vqafast.models.fast_vqa.config import MEAN, STD  # noqa: E402
from vqafast.models.kvq.convert import write_network  # noqa: E402
from vqafast.models.kvq.network import KVQ  # noqa: E402
from vqafast.models.kvq.spec import KvqSpec  # noqa: E402
from vqafast.models.model_json import parse, to_json  # noqa: E402
from vqafast.ops import frame_ingest  # noqa: E402
from vqafast.scoring import maps as scoring_maps  # noqa: E402
from vqafast.scoring.assessment import Assessment  # noqa: E402
from vqafast.scoring.scorer import Scorer  # noqa: E402
from vqafast.video.pyav import PyAVSource  # noqa: E402
from vqafast.video.sampling import EveryFrame  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.video.source import Frame

SMALL = replace(small_kvq.SMALL, side=96, clips=2, frames=4, interval=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, KvqSpec]:
    net = small_kvq.randomised(KVQ(SMALL))
    out = tmp_path_factory.mktemp("kvq") / "model"
    write_network(net, out, random=True)
    spec = registry.load(out)
    assert isinstance(spec, KvqSpec)
    return net, spec


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "x.mp4"
    clips.encode(path, clips.Clip(frames=40, width=160, height=96))
    return path


def network_maps(net: Any, path: Path) -> list[Any]:
    with PyAVSource(str(path)) as source:
        whole: list[Frame] = [s.frames[0] for s in source.frames(EveryFrame())]
    shape, made = (3, 1, 1), []
    # The middles of two shares of the places where a clip of 12 frames may begin.
    for start in (int(i * 29 / 2 + 29 / 4) for i in range(2)):
        cut = [
            (
                frame_ingest.reference(f, [[0, 0, f.width, f.height]], (96, 96))[0] * 255
                - np.reshape(MEAN, shape)
            )
            / np.reshape(STD, shape)
            for f in whole[start : start + 12 : 3]
        ]
        with torch.no_grad():
            made.append(net.maps(torch.from_numpy(np.stack(cut, axis=1)[None].astype(np.float32))))
    return made


def test_score_and_maps_are_the_networks(made: Any, clip: Path, scorer_there: Any, rough: Any) -> None:
    net, spec = made
    result = scorer_there(spec.directory).assess(clip, maps=True)
    want = network_maps(net, clip)
    assert result.score == pytest.approx(
        float(torch.sigmoid(torch.stack([m.score for m in want]).mean())), abs=rough(1e-4)
    )
    assert len(result.maps) == len(result.frames) == 2
    for got, frame, truth in zip(result.maps, result.frames, want, strict=True):
        assert (got.index, got.pts) == (frame.index, frame.pts)
        quality, saliency = np.array(got.quality), np.array(got.saliency)
        assert quality.shape == (2, 3, 3)
        np.testing.assert_allclose(quality, torch.sigmoid(truth.quality[0]), atol=rough(2e-4))
        np.testing.assert_allclose(saliency, truth.saliency[0], atol=rough(2e-4))
        assert saliency.sum() == pytest.approx(1.0, abs=1e-5)
        raw = np.log(quality / (1 - quality))
        assert frame.score == pytest.approx(1 / (1 + np.exp(-(saliency * raw).sum())), abs=1e-4)
    assert Assessment.from_json(result.to_json()) == result


def test_maps_are_kept_when_asked_for(made: Any, clip: Path) -> None:
    _, spec = made
    scorer = Scorer(spec.directory, threads=1)
    plain = scorer.assess(clip)
    assert plain.maps == ()
    with pytest.raises(InvalidArgument, match="must have them"):
        scoring_maps.arrays_of(plain)
    with pytest.raises(Unsupported, match="scores the whole picture"):
        Scorer(threads=1).assess(clip, maps=True)


def test_maps_as_files(made: Any, clip: Path, tmp_path: Path) -> None:
    _, spec = made
    scorer = Scorer(spec.directory, threads=1)
    result = scorer.assess(clip, maps=True)
    low, high = scorer.write_maps(result, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    assert (arrays["quality"].min(), arrays["quality"].max()) == (low, high)
    np.testing.assert_array_equal(arrays["index"], [f.index for f in result.frames])
    np.testing.assert_array_equal(arrays["saliency"][1], result.maps[1].saliency)
    picture = scoring_maps.overlay(result, spec_selector(scorer))
    # Two rows of three pictures of 270 lines, 160:96 wide, with four pixels between.
    assert picture.shape == (2 * 270 + 4, 3 * 450 + 8, 3)
    # Where the quality of the first clip is lowest, red outweighs blue, and where it is highest the reverse.
    quality = arrays["quality"].mean(axis=1)
    for worst, place in ((True, quality.argmin()), (False, quality.argmax())):
        sample, row, column = np.unravel_index(place, quality.shape)
        y, x = sample * 274 + int((row + 0.5) * 90), 454 + int((column + 0.5) * 150)
        red, blue = (int(picture[y, x, i]) for i in (0, 2))
        assert (red > blue) == worst
    scorer.write_maps(result, tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def spec_selector(scorer: Scorer) -> Any:
    return scorer._model.selector()


@pytest.mark.parametrize(
    ("name", "source", "words"), [("m.jpg", "x", "must end in"), ("m.png", "-", "read again")]
)
def test_targets_that_cannot_be(name: str, source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=words):
        scoring_maps.check_target(tmp_path / name, source)


def test_command(made: Any, clip: Path, tmp_path: Path) -> None:
    _, spec = made
    out = tmp_path / "m.npz"

    def assess(*more: object) -> Any:
        return CliRunner().invoke(app, ["assess", str(clip), *map(str, more)])

    done = assess("--model", spec.directory, "--maps", out, "--json")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["maps"]) == 2
    assert f"maps: {out}, local quality 0." in done.stderr
    assert out.exists()
    assert "error[unsupported]" in assess("--maps", tmp_path / "m.png").stderr


def test_model_json(made: Any) -> None:
    _, spec = made
    assert spec.has_maps
    data = to_json(spec)
    assert parse(data, spec.directory) == spec
    for change, words in (
        ({"view": data["view"] | {"side": 31}}, "view.side"),
        ({"sampling": data["sampling"] | {"burst": 9}}, "burst must be view.frames"),
        ({"sampling": data["sampling"] | {"kind": "segments"}}, "kind must be clips"),
    ):
        with pytest.raises(ModelError, match=words):
            parse(data | change, spec.directory)


def test_no_published_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no published weights"):
        convert("kvq", None, tmp_path / "out")
    with pytest.raises(InvalidArgument, match="no dataset and no backbone"):
        convert("kvq", None, tmp_path / "out", backbone="x", random_weights=True)
