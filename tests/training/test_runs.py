"""Whole runs on generated clips: what they leave, how they go on, and that scoring agrees."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("scipy")

from safetensors.torch import load_file  # noqa: E402
from tests.models.small import TwoStages  # noqa: E402
from tests.training import stand_in  # noqa: E402

from vqafast.errors import InvalidArgument, MissingFile, VqafastError  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.spec import SamplingSpec  # noqa: E402
from vqafast.scoring.scorer import Scorer  # noqa: E402
from vqafast.training import metrics, runs  # noqa: E402
from vqafast.training.backbones import Backbones  # noqa: E402
from vqafast.training.parts import parts_of  # noqa: E402
from vqafast.training.reporter import Silent  # noqa: E402
from vqafast.training.run_config import RunConfig  # noqa: E402
from vqafast.training.runs import run  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
# Torch and OpenVINO round differently; measured: below 1e-7 of the labels' range.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    stand_in.make_clips(root)
    return root


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return run(stand_in.config(folder), tmp_path_factory.mktemp("runs") / "whole", parts=stand_in.parts())


class Notes(Silent):
    def __init__(self):
        self.stages, self.notes, self.epochs = [], [], []

    def stage(self, name, total=None):
        self.stages.append(name)

    def epoch(self, row):
        self.epochs.append(row["epoch"])

    def note(self, text):
        self.notes.append(text)


def assert_scores_equal_predictions(result, folder):
    scorer = Scorer(result.directory / "model", threads=1)
    low, high = result.metrics["label_range"]
    assert len(result.predictions) == stand_in.COUNT
    for p in result.predictions:
        assert abs(scorer.score(folder / p.name) - p.predicted) <= TOLERANCE * (high - low), p


def test_the_exported_model_scores_what_the_trainer_predicts(whole, folder):
    assert_scores_equal_predictions(whole, folder)
    predicted = [p.predicted for p in whole.predictions]
    assert np.ptp(predicted) > 100 * TOLERANCE


@pytest.mark.parametrize(
    "sampling",
    [SamplingSpec("uniform_count", n=6), SamplingSpec("every_frame", window=7)],
    ids=["uniform", "every"],
)
def test_other_samplings_agree_too(folder, tmp_path, sampling):
    """As the papers' PR and FR; a single view at a time, as their RGB views are."""
    parts = stand_in.parts()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        quality = TwoStages(3)
    view = dataclasses.replace(parts.semantic_view, short_side=None)
    patches = dataclasses.replace(
        parts.quality_view,
        patches=None,
        size=None,
        output="rgb",
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        temporal=None,
    )
    parts = dataclasses.replace(
        parts, sampling=sampling, quality=quality, quality_view=patches, semantic_view=view
    )
    result = run(stand_in.config(folder, epochs=1), tmp_path / "run", parts=parts)
    assert_scores_equal_predictions(result, folder)


def test_what_a_run_leaves(whole, folder):
    root = whole.directory
    assert {p.name for p in root.iterdir()} == {
        "config.json", "extraction.json", "log.csv", "checkpoint.safetensors", "checkpoint.json",
        "best.safetensors", "predictions.csv", "metrics.json", "model",
    }  # fmt: skip
    assert RunConfig.read(root / "config.json") == stand_in.config(folder)
    assert json.loads((root / "extraction.json").read_text()) == {"computed": 12, "reused": 0, "failures": []}
    modes = {p.name: oct(p.stat().st_mode) for p in root.iterdir() if p.is_file()}
    assert len(set(modes.values())) == 1, modes
    figures = json.loads((root / "metrics.json").read_text())
    for part in ("train", "val", "test"):
        rows = [p for p in whole.predictions if p.split == part]
        expected = metrics.evaluate([p.predicted for p in rows], [p.mos for p in rows])
        assert figures[part]["srcc"] == expected.srcc
        assert figures["videos"][part] == len(rows) > 0
    labels = {i.name: i.mos for i in stand_in.dataset(folder).items}
    assert {p.name: p.mos for p in whole.predictions} == labels


def test_the_model_says_what_it_is(whole, folder):
    spec = registry.load(whole.directory / "model")
    train = [p.mos for p in whole.predictions if p.split == "train"]
    assert (spec.calibration.offset, spec.calibration.scale) == (min(train), pytest.approx(np.ptp(train)))
    assert not spec.calibration.clip
    assert (spec.scale.min, spec.scale.max) == stand_in.dataset(folder).mos_range
    assert spec.meaning.startswith("RANDOM BACKBONES")
    assert spec.metadata["random_backbones"] == ["quality", "semantic"]
    assert spec.metadata["data_sha256"] == whole.metrics["data_sha256"]
    # Everything that training could go on from is there, under a checked hash.
    assert {"head.safetensors", "quality.safetensors", "semantic.safetensors"} <= set(spec.files)
    best = load_file(whole.directory / "best.safetensors")
    head = load_file(whole.directory / "model" / "head.safetensors")
    assert {f"head.{n}" for n in head} == set(best)
    assert all(torch.equal(t, best[f"head.{n}"]) for n, t in head.items())


def test_published_backbones_are_not_copied_and_not_called_random(folder, tmp_path, whole):
    shutil.copytree(whole.directory.parent / "features", tmp_path / "features")
    result = run(stand_in.config(folder, epochs=1), tmp_path / "run", parts=stand_in.parts(random=()))
    spec = registry.load(result.directory / "model")
    assert not spec.meaning.startswith("RANDOM")
    assert [n for n in spec.files if n.endswith(".safetensors")] == ["head.safetensors"]
    report = json.loads((tmp_path / "run" / "extraction.json").read_text())
    assert (report["computed"], report["reused"]) == (0, 12)


@pytest.mark.parametrize(("stage", "done"), [("features", 5), ("train", 7), ("export", 0)])
def test_kill_9_and_resume(whole, folder, tmp_path, stage, done):
    command = [sys.executable, "-m", "tests.training.stand_in", folder, tmp_path / "run", stage, done]
    killed = subprocess.run([str(c) for c in command], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "metrics.json").exists()
    notes = Notes()
    config = stand_in.config(folder, checkpoint_steps=2)
    result = run(config, tmp_path / "run", parts=stand_in.parts(), reporter=notes)
    went_on = {
        "features": [],
        "train": ["training goes on from step 6"],
        "export": ["training goes on from step 12"],
    }
    assert notes.notes[1:] == went_on[stage]
    assert result.predictions == whole.predictions
    for name in ("best.safetensors", "predictions.csv", "log.csv", "model/model.json", "model/temporal.onnx"):
        assert (tmp_path / "run" / name).read_bytes() == (whole.directory / name).read_bytes(), name
    assert_scores_equal_predictions(result, folder)


def test_a_finished_run_is_read_back(whole, folder):
    before = {p: p.stat().st_mtime_ns for p in whole.directory.rglob("*.safetensors")}
    notes = Notes()
    again = run(stand_in.config(folder), whole.directory, parts=stand_in.parts(), reporter=notes)
    assert again.predictions == whole.predictions
    assert again.metrics == json.loads((whole.directory / "metrics.json").read_text())
    assert notes.stages == ["features"]
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_another_run_in_the_same_directory_is_refused(whole, folder):
    with pytest.raises(InvalidArgument, match=r"must hold the same run .*: batch 3 is now 4; choose another"):
        run(stand_in.config(folder, batch=4), whole.directory, parts=stand_in.parts())


def test_more_epochs_and_a_fresh_start(whole, folder, tmp_path):
    features = str(whole.directory.parent / "features")
    config = stand_in.config(folder, features=features, export=False, epochs=2)
    run(config, tmp_path / "run", parts=stand_in.parts())
    notes = Notes()
    longer = run(config.changed(epochs=4), tmp_path / "run", parts=stand_in.parts(), reporter=notes)
    assert notes.epochs == [3, 4]
    assert longer.predictions == whole.predictions
    other = run(config.changed(seed=1), tmp_path / "run", resume=False, parts=stand_in.parts())
    assert other.predictions != whole.predictions
    assert not (tmp_path / "run" / "model").exists()


def test_changed_labels_are_another_training(whole, folder, tmp_path):
    shutil.copytree(whole.directory, tmp_path / "run")
    data = stand_in.dataset(folder)
    items = [dataclasses.replace(i, mos=i.mos + (0.01 if n == 3 else 0)) for n, i in enumerate(data.items)]
    changed = dataclasses.replace(data, items=tuple(items))
    config = stand_in.config(folder, features=str(whole.directory.parent / "features"))
    with pytest.raises(InvalidArgument, match=r"checkpoint in .* must be of the same training .*fingerprint"):
        run(config, tmp_path / "run", dataset=changed, parts=stand_in.parts())


def test_splits_differ_and_share_features(whole, folder, tmp_path):
    features = str(whole.directory.parent / "features")
    config = stand_in.config(folder, split=1, features=features, export=False, epochs=1)
    other = run(config, tmp_path / "run", parts=stand_in.parts())
    parts = [{p.name for p in r.predictions if p.split == "test"} for r in (whole, other)]
    assert parts[0] != parts[1]
    assert json.loads((tmp_path / "run" / "extraction.json").read_text())["reused"] == 12


def test_weights_of_a_finished_run_may_go(whole, folder, tmp_path):
    features = str(whole.directory.parent / "features")
    config = stand_in.config(folder, features=features, export=False, keep_weights=False)
    for _ in range(2):
        result = run(config, tmp_path / "run", parts=stand_in.parts())
        assert result.predictions == whole.predictions
        assert not list((tmp_path / "run").glob("*.safetensors"))


def test_videos_that_fail_stop_the_run_unless_skipped(folder, tmp_path):
    data = stand_in.dataset(folder)
    items = list(data.items)
    items[2] = dataclasses.replace(items[2], path=tmp_path / "absent.mp4")
    broken = dataclasses.replace(data, items=tuple(items))
    config = stand_in.config(folder, epochs=1, export=False)
    message = r"every listed video must be readable, got 1 of 12 that are not .*absent.mp4: no such file"
    with pytest.raises(VqafastError, match=message) as caught:
        run(config, tmp_path / "run", dataset=broken, parts=stand_in.parts())
    assert caught.value.code == "missing_file"
    notes = Notes()
    result = run(
        config.changed(skip_failed=True),
        tmp_path / "run",
        dataset=broken,
        parts=stand_in.parts(),
        reporter=notes,
    )
    assert any(n.startswith("not used [missing_file]: ") for n in notes.notes)
    assert len(result.predictions) == 11
    (failure,) = json.loads((tmp_path / "run" / "extraction.json").read_text())["failures"]
    assert (failure["name"], failure["code"]) == (items[2].name, "missing_file")


def test_files_on_both_sides_are_named(folder, tmp_path):
    for video in folder.glob("*.mp4"):
        shutil.copy(video, tmp_path)
    lines = (folder / "labels.csv").read_text().splitlines()
    shutil.copy(tmp_path / "clip 00.mp4", tmp_path / "twin.mp4")
    parts = ["train"] * 8 + ["val", "val", "test", "test"]
    rows = [f"{line},{part}" for line, part in zip(lines[1:], parts, strict=True)]
    text = "\n".join([f"{lines[0]},split", *rows, "twin.mp4,4.6,twin,test"])
    (tmp_path / "labels.csv").write_text(text + "\n")
    notes = Notes()
    config = stand_in.config(tmp_path, epochs=1, export=False, ratio="official")
    run(config, tmp_path / "runs" / "run", parts=stand_in.parts(), reporter=notes)
    assert [n for n in notes.notes if "same file" in n] == [
        "the same file is in the training and in another part: clip 00.mp4, twin.mp4"
    ]


def test_fine_tuning_starts_from_a_models_head(whole, folder, tmp_path):
    features = str(whole.directory.parent / "features")
    config = stand_in.config(
        folder, features=features, export=False, epochs=1, lr=1e-12, init=str(whole.directory / "model")
    )
    tuned = run(config, tmp_path / "run", parts=stand_in.parts())
    for a, b in zip(tuned.predictions, whole.predictions, strict=True):
        assert a.predicted == pytest.approx(b.predicted, abs=1e-6)
    with pytest.raises(MissingFile, match=r"must be a model directory with a head.safetensors"):
        run(config.changed(init=str(folder)), tmp_path / "other", parts=stand_in.parts())


def test_constants_of_the_head_come_from_the_training_part(folder, whole, tmp_path):
    parts = stand_in.parts()
    parts = dataclasses.replace(parts, head=dataclasses.replace(parts.head, standardise=True))
    features = whole.directory.parent / "features"
    config = stand_in.config(folder, epochs=1, features=str(features), export=False)
    result = run(config, tmp_path / "run", parts=parts)
    store = runs.FeatureStore(features, parts.backbones().key())
    names = {p.name for p in result.predictions if p.split == "train"}
    rows = np.concatenate([store.load(i).quality for i in stand_in.dataset(folder).items if i.name in names])
    best = load_file(tmp_path / "run" / "best.safetensors")
    np.testing.assert_allclose(best["head.quality_mean"], rows.mean(0), rtol=1e-4, atol=1e-6)


def test_end_to_end(folder, tmp_path):
    """Backbones train too, from patches that move between epochs; the exported model has them."""
    config = stand_in.config(folder, end_to_end=True, epochs=2, batch=4, lr=1e-3)
    parts = stand_in.parts(random=())
    before = {n: t.clone() for n, t in parts.quality.state_dict().items()}
    result = run(config, tmp_path / "run", parts=parts)
    assert any(not torch.equal(t, before[n]) for n, t in parts.quality.state_dict().items())
    assert_scores_equal_predictions(result, folder)
    spec = registry.load(result.directory / "model")
    assert {"quality.safetensors", "semantic.safetensors", "head.safetensors"} <= set(spec.files)
    assert not list((tmp_path / "features").rglob("*.npy"))
    again = run(config, tmp_path / "again", parts=stand_in.parts(random=()))
    assert again.predictions == result.predictions


def test_an_export_that_cannot_be_is_refused_before_anything_is_computed():
    config = RunConfig(dataset="csv", root=".", model="table5-cnn-swin-mlp", random_backbones=True)
    with pytest.raises(InvalidArgument, match=r"export must be false .* swin3d_t has no ONNX graph"):
        parts_of(config)
    assert parts_of(config.changed(export=False)).semantic is not None


def test_variants_with_changes():
    config = RunConfig(
        dataset="csv", root=".", model="a2inet", random_backbones=True,
        head={"dim": 64}, sampling={"n": 5}, quality_view={"patches": [1, 1], "size": 96},
        semantic_view={"short_side": 64},
    )  # fmt: skip
    parts = parts_of(config)
    assert (parts.head.dim, parts.sampling.n, parts.semantic_view.short_side) == (64, 5, 64)
    assert parts.quality_view.patches == (1, 1)
    assert parts.random == ("quality", "semantic")
    assert isinstance(parts.backbones(), Backbones)
    # Random backbones do not depend on the seed, so that their features are shared.
    assert parts_of(config.changed(seed=5)).backbones().key() == parts.backbones().key()
    with pytest.raises(MissingFile, match="quality weights for resnet34_iqa must be given"):
        parts_of(config.changed(random_backbones=False))
    with pytest.raises(InvalidArgument, match=r"sampling must have fields of .*, got \['m'\]"):
        parts_of(config.changed(sampling={"m": 5}))


def test_config_as_json(tmp_path):
    config = RunConfig(dataset="csv", root="videos", ratio=(0.8, 0.2), losses=("mae", "plcc"), eta=0.5)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert RunConfig.read(path) == config
    assert RunConfig.read(path, split=3).split == 3
    assert RunConfig(dataset="a", root="b", eta=0.3).loss_weights() == {"mae": 1.0, "rank": 0.3}
    for text, message in (
        ('{"dataset": "a", "root": "b", "epoch": 3}', r"got unknown \['epoch'\]"),
        ('{"dataset": "a"}', "dataset and root must be given, got no root"),
        ('{"dataset": "a", "root": "b", "split": 10}', r"split must be in 0\.\.9, got 10"),
        ("[1]", "must hold a JSON object, got list"),
        ("{", "must be a JSON file"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidArgument, match=message):
            RunConfig.read(path)
    with pytest.raises(MissingFile):
        RunConfig.read(tmp_path / "absent.json")
