"""The protocol on runs: which runs are asked for, which scores are used, what is refused."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from tests.training import label_files as files

from vqafast.errors import CorruptVideo, InvalidArgument, MissingFile
from vqafast.training import evaluation
from vqafast.training.datasets import load_dataset
from vqafast.training.reporter import Silent
from vqafast.training.run_config import RunConfig
from vqafast.training.runs import Prediction, RunResult
from vqafast.training.splits import splits

if TYPE_CHECKING:
    from pathlib import Path


def guess(name: str, mos: float) -> float:
    """A score that is off by something that depends on the name."""
    return mos + 3 * math.sin(len(name) + sum(map(ord, name)))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, Path]]:
    """`run` without the training: everything a run leaves, with scores by `guess`."""
    asked: list[tuple[RunConfig, Path]] = []

    def run(config: RunConfig, directory: Path, *, reporter: Any = None) -> RunResult:
        asked.append((config, directory))
        data = load_dataset(config.dataset, config.root, labels=config.labels)
        split = splits(data, config.splits, config.split_seed)[config.split]
        rows = [
            Prediction(
                data.items[i].name, part, data.items[i].mos, guess(data.items[i].name, data.items[i].mos)
            )
            for part in ("train", "val", "test")
            for i in getattr(split, part)
        ]
        (directory / "model").mkdir(parents=True, exist_ok=True)
        (directory / "model" / "model.json").write_text(json.dumps({"epochs": config.epochs}))
        (directory / "config.json").write_text(json.dumps(config.to_dict()))
        return RunResult(directory, {}, tuple(rows))

    monkeypatch.setattr(evaluation, "run", run)
    return asked


def dataset(root: Path, count: int, prefix: str = "v", **columns: list[str]) -> Path:
    names = [f"{prefix}{i}.mp4" for i in range(count)]
    files.videos(root, *names)
    rows = [(n, i, *(c[i] for c in columns.values())) for i, n in enumerate(names)]
    files.table(root / "labels.csv", ("name", "mos", *columns), rows)
    return root


def test_every_split_is_a_run_and_the_first_is_read_back(tmp_path: Path, runs: Any) -> None:
    config = RunConfig(
        dataset="csv", root=str(dataset(tmp_path / "data", 20)), split=1, random_backbones=True
    )
    out = tmp_path / "runs" / "mine"
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(config.to_dict()))
    report = evaluation.evaluate_run(out, 3)
    assert [(c.split, d) for c, d in runs] == [
        (0, out / "splits" / "00"),
        (1, out),
        (2, out / "splits" / "02"),
    ]
    # All share the features of the first run, and only that one exports a model.
    shared = str(tmp_path / "runs" / "features")
    assert [(c.features, c.export) for c, _ in runs] == [(shared, False), (None, True), (shared, False)]
    data = load_dataset("csv", config.root)
    mos = np.array([i.mos for i in data.items])
    scores = np.array([guess(i.name, i.mos) for i in data.items])
    ranks = [stats.spearmanr(scores[s.test], mos[s.test]).statistic for s in splits(data, 3)]
    assert report.values("srcc").tolist() == pytest.approx(ranks)
    assert report.parts == ((12, 4, 4),) * 3
    assert report.published == ()


def test_published_figures_stand_beside_the_papers_backbones_only(tmp_path: Path, runs: Any) -> None:
    rows = [(str(1000 + i), 1 + i / 10) for i in range(20)]
    files.table(tmp_path / "KoNViD_1k_mos.csv", ("flickr_id", "mos"), rows)
    for random in (True, False):
        out = tmp_path / f"run{random}"
        out.mkdir()
        config = RunConfig(dataset="konvid1k", root=str(tmp_path), random_backbones=random)
        (out / "config.json").write_text(json.dumps(config.to_dict()))
        report = evaluation.evaluate_run(out, 2)
        printed = [dict(p.figures) for p in report.published]
        assert printed == ([] if random else [{"plcc": 0.8657, "srcc": 0.8669}])


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"a run directory must hold config.json, got none"):
        evaluation.evaluate_run(tmp_path)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_cross_dataset_scores_once_and_goes_on(tmp_path: Path, runs: Any) -> None:
    marks = ["train"] * 12 + ["test"] * 6
    config = RunConfig(dataset="csv", root=str(dataset(tmp_path / "a", 18, split=marks)))
    dataset(tmp_path / "b", 8, "w")
    tests = {"csv": load_dataset("csv", config.root), "other": load_dataset("csv", tmp_path / "b")}
    asked: list[str] = []
    working = False

    def scorer(model: Path) -> Any:
        assert (model / "model.json").exists()

        def score(path: Path) -> float:
            asked.append(path.name)
            if path.name == "w3.mp4" and not working:
                raise CorruptVideo(f"{path.name}: broken", path=str(path))
            return float(path.stem[1:]) ** 2

        return score

    notes = Notes()
    report = evaluation.evaluate_cross(config, tmp_path / "run", tests, scorer, reporter=notes)
    # The run's own test part is not scored again.
    assert asked == [f"w{i}.mp4" for i in range(8)]
    assert report.tested["csv"].n == 6
    assert report.tested["other"].n == 7
    assert report.tested["other"].srcc == pytest.approx(1.0)
    assert report.left_out == {"csv": [], "other": ["w3.mp4"]}
    assert notes.notes == ["w3.mp4: [corrupt] w3.mp4: broken"]
    # What failed is tried again, and a line that a kill cut off is not read.
    (kept,) = (tmp_path / "run" / "cross").glob("other-*.csv")
    kept.write_text(kept.read_text().replace("w7.mp4,49.0,\n", "w7.mp4,4"))
    asked.clear()
    working = True
    report = evaluation.evaluate_cross(config, tmp_path / "run", tests, scorer, reporter=notes)
    assert asked == ["w3.mp4", "w7.mp4"]
    assert report.left_out["other"] == []
    # Another model has its own scores.
    asked.clear()
    evaluation.evaluate_cross(config.changed(epochs=7), tmp_path / "run", tests, scorer)
    assert len(asked) == 8


def test_a_test_video_that_was_trained_on_is_refused(tmp_path: Path, runs: Any) -> None:
    marks = ["train"] * 12 + ["test"] * 6
    config = RunConfig(dataset="csv", root=str(dataset(tmp_path / "a", 18, split=marks)))
    files.table(tmp_path / "a" / "leak.csv", ("name", "mos"), [("v3.mp4", 1), ("v15.mp4", 2), ("v16.mp4", 3)])
    tests = {"leak": load_dataset("csv", tmp_path / "a", labels=tmp_path / "a" / "leak.csv")}
    with pytest.raises(
        InvalidArgument, match=r"leak: test videos must not be among those trained on, got 1 such as 'v3"
    ):
        evaluation.evaluate_cross(config, tmp_path / "run", tests, lambda model: lambda path: 0.0)


def test_published_cross_figures_are_of_lsvq(tmp_path: Path, runs: Any) -> None:
    rows = [(f"a/{i}", 10 + i, i >= 8) for i in range(16)]
    files.table(tmp_path / "labels_train_test.csv", ("name", "mos", "is_test"), rows)
    names = [f"a/{i}.mp4" for i in range(16)]
    files.videos(tmp_path, *names)
    config = RunConfig(dataset="lsvq", root=str(tmp_path))
    tests = {"lsvq_test": load_dataset("lsvq_test", tmp_path)}
    report = evaluation.evaluate_cross(
        config, tmp_path / "run", tests, lambda model: pytest.fail("scored again")
    )
    assert report.tested["lsvq_test"].n == 8
    assert report.published["lsvq_test"] == {"plcc": 0.8564, "srcc": 0.8561}
    assert report.kind("lsvq_test") == "intra"


@pytest.mark.slow
def test_real_runs_are_evaluated_and_their_model_scores_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training import stand_in

    from vqafast.scoring.scorer import Scorer
    from vqafast.training import runs as real

    # Everything is real but the backbones' size.
    monkeypatch.setattr(real, "parts_of", lambda config: stand_in.parts())
    (tmp_path / "data").mkdir()
    stand_in.make_clips(tmp_path / "data")
    config = stand_in.config(tmp_path / "data", splits=2, epochs=2)
    out = tmp_path / "runs" / "one"
    result = real.run(config, out)
    report = evaluation.evaluate_run(out, 2)
    test = [r for r in result.predictions if r.split == "test"]
    assert report.per_split[0].n == len(test)
    assert report.per_split[0].srcc == pytest.approx(
        stats.spearmanr([r.predicted for r in test], [r.mos for r in test]).statistic, nan_ok=True
    )
    assert (out / "splits" / "01" / "metrics.json").exists()

    # The same videos elsewhere: the exported model must score them as the trainer did.
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (tmp_path / "data").iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    scores: dict[str, float] = {}

    def scorer(model: Path) -> Any:
        engine = Scorer(str(model))

        def score(path: Path) -> float:
            scores[path.name] = engine.assess(path).score
            return scores[path.name]

        return score

    cross = evaluation.evaluate_cross(config, out, {"csv:copy": load_dataset("csv", copy)}, scorer)
    assert cross.kind("csv:copy") == "cross"
    trained = {r.name: r.predicted for r in result.predictions}
    assert scores.keys() == trained.keys()
    for name, value in scores.items():
        assert value == pytest.approx(trained[name], abs=1e-3)
