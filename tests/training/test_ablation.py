"""The tables trained here: every row on the same splits, features once, and on from where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from tests.training import stand_in  # noqa: E402

from vqafast.errors import InvalidArgument, MissingFile  # noqa: E402
from vqafast.models.a2inet.variants import VARIANTS, rows_of, variant  # noqa: E402
from vqafast.training import ablation  # noqa: E402
from vqafast.training.ablation import Ablation, Row, ablate, configs, table_text  # noqa: E402
from vqafast.training.reporter import Silent  # noqa: E402
from vqafast.training.runs import RunResult, run  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.training.parts import Parts
    from vqafast.training.run_config import RunConfig

ROWS = ["table4-sq", "table4-sq-ss"]
SMALL = {"quality_dim": 20, "semantic_dim": 20, "dim": 8, "reduced_dim": 6, "gru_dim": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    stand_in.make_clips(folder, 12)
    return folder


@pytest.fixture(autouse=True)
def small_backbones(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows get the stand-in's small random backbones under their own heads; says which were built."""
    built: list[str] = []

    def parts_of(config: RunConfig) -> Parts:
        built.append(config.model)
        return stand_in.parts(head=replace(variant(config.model).head, **SMALL))

    monkeypatch.setattr(ablation, "parts_of", parts_of)
    return built


def settings(root: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "dataset": "csv", "root": str(root), "labels": str(root / "labels.csv"), "random_backbones": True,
        "epochs": 2, "batch": 4, "lr": 1e-3, "device": "cpu", "head": SMALL,
    }  # fmt: skip
    return {**values, **changes}


class Counting:
    """The real runner, which may be stopped before its n-th run."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.results: list[RunResult] = []
        self._stop = stop_before

    def __call__(self, config: RunConfig, directory: Any, **rest: Any) -> RunResult:
        if len(self.calls) == self._stop:
            raise KeyboardInterrupt
        self.calls.append((config.model, config.split))
        self.results.append(run(config, directory, **rest))
        return self.results[-1]


def test_rows_train_and_share_features(root: Path, tmp_path: Path, small_backbones: list[str]) -> None:
    runner = Counting()
    got = ablate(4, tmp_path, splits=2, rows=ROWS, runner=runner, **settings(root))
    assert runner.calls == [(name, i) for name in ROWS for i in (0, 1)]
    extraction = [
        json.loads((tmp_path / name / f"split-{i}" / "extraction.json").read_text())
        for name, i in runner.calls
    ]
    assert [(e["computed"], e["reused"]) for e in extraction] == [(12, 0), (0, 12), (0, 12), (0, 12)]
    assert small_backbones == ["table4-sq"]
    for row, results in zip(got.rows, (runner.results[:2], runner.results[2:]), strict=True):
        ranks = [r.metrics["test"]["srcc"] for r in results]
        assert [s["srcc"] for s in row.splits] == ranks
        assert row.median("srcc") == pytest.approx(sum(ranks) / 2)
    # The same videos are tested in both rows, and the heads are not the same.
    tested = [{p.name for p in r.predictions if p.split == "test"} for r in runner.results]
    assert tested[0] == tested[2] != tested[1] == tested[3]
    assert runner.results[0].predictions != runner.results[2].predictions
    assert not (tmp_path / "table4-sq" / "split-0" / "model").exists()
    written = json.loads((tmp_path / "table-4.json").read_text())
    assert [r["name"] for r in written["rows"]] == ROWS
    assert written["rows"][1]["median"]["plcc"] == pytest.approx(got.rows[1].median("plcc"))
    assert written["random_backbones"] is True


def test_goes_on_where_it_stopped(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ablate(4, tmp_path / "a", splits=2, rows=ROWS, runner=Counting(3), **settings(root))
    assert [r["name"] for r in json.loads((tmp_path / "a" / "table-4.json").read_text())["rows"]] == ROWS[:1]
    first = (tmp_path / "a" / "table4-sq" / "split-1" / "metrics.json").stat().st_mtime_ns
    notes: list[str] = []

    class Listening(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    resumed = ablate(4, tmp_path / "a", splits=2, rows=ROWS, reporter=Listening(), **settings(root))
    assert (tmp_path / "a" / "table4-sq" / "split-1" / "metrics.json").stat().st_mtime_ns == first
    assert sum("already finished" in n for n in notes) == 3
    assert any(n == "table4-sq-ss (row 2 of 2), split 2 of 2" for n in notes)
    whole = ablate(4, tmp_path / "b", splits=2, rows=ROWS, **settings(root))
    assert resumed == whole


def test_rows_that_do_not_exist() -> None:
    assert [v.name for v in rows_of(7, ["table7-sm-fe", "table7-baseline"])] == [
        "table7-baseline", "table7-sm-fe"
    ]  # fmt: skip
    with pytest.raises(InvalidArgument, match=r"table must be one of \[2, 4, 5, 6, 7\], got 3"):
        ablate(3, "x", dataset="csv", root="r")
    with pytest.raises(InvalidArgument, match=r"rows of table 4 must be of \['table4-sq'.*got \['sq'\]"):
        ablate(4, "x", rows=["sq"], dataset="csv", root="r")


def test_configs_are_the_papers() -> None:
    row = VARIANTS["table5-vit-fast-cagi"]
    weights = {"vit_b8_iqa": "m.pt", "slowfast_fast": "s.pyth", "resnet50": "unused"}
    runs = configs(row, weights=weights, splits=3, settings={"dataset": "d", "root": "r", "epochs": 7})
    assert [c.split for c in runs] == [0, 1, 2]
    c = runs[2]
    assert (c.model, c.quality_weights, c.semantic_weights) == (row.name, "m.pt", "s.pyth")
    assert (c.lr, c.batch, c.eta, c.losses, c.optimiser) == (2e-5, 8, 1.0, ("mae", "rank"), "adam")
    assert (c.splits, c.epochs, c.export) == (3, 7, False)
    with pytest.raises(InvalidArgument, match=r"weights must be for \[.*got \['vgg'\]"):
        configs(row, weights={"vgg": "x"}, splits=1, settings={"dataset": "d", "root": "r"})
    with pytest.raises(InvalidArgument, match="splits must be at least 1, got 0"):
        configs(row, weights={}, splits=0, settings={"dataset": "d", "root": "r"})


def test_missing_weights_are_all_named_before_anything_runs(root: Path, tmp_path: Path) -> None:
    def runner(*_: Any, **__: Any) -> Any:
        raise AssertionError("must not run")

    known = {"runner": runner, **settings(root, random_backbones=False)}
    out = tmp_path / "out"
    (tmp_path / "s.pyth").write_bytes(b"x")
    with pytest.raises(MissingFile) as caught:
        ablate(4, out, weights={"slowfast_fast": str(tmp_path / "s.pyth")}, **known)
    assert "given for resnet34_iqa, resnet50; the papers' are unique, resnet50-imagenet" in str(caught.value)
    # One feature needs one backbone.
    with pytest.raises(MissingFile, match="given for slowfast_fast; the papers' are slowfast-kinetics"):
        ablate(4, out, rows=["table4-ms"], **known)
    with pytest.raises(MissingFile, match="weights must be a file"):
        ablate(4, out, rows=["table4-ms"], weights={"slowfast_fast": "gone"}, **known)
    assert not out.exists()


def test_downloads_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[Any] = []

    class Listening(Silent):
        def stage(self, name: str, total: int | None = None) -> None:
            told.append((name, total))

        def advance(self, text: str = "", done: int | None = None) -> None:
            told.append(done)

    def resolve(source: str, *, progress: Any) -> Path:
        assert source == "resnet50-imagenet"
        progress(5, 9)
        progress(9, 9)
        return tmp_path

    monkeypatch.setattr(ablation, "resolve", resolve)
    ablation._check_weights([VARIANTS["table4-ss"]], {"resnet50": "resnet50-imagenet"}, Listening())
    assert told == [("weights of resnet50, bytes", 9), 5, 9]


def test_a_test_part_of_one_video_is_refused(root: Path, tmp_path: Path) -> None:
    def runner(_: RunConfig, directory: Any, **__: Any) -> RunResult:
        return RunResult(directory, {"test": None}, ())

    with pytest.raises(InvalidArgument, match="table4-sq, split 0: the test part must hold at least two"):
        ablate(4, tmp_path, splits=1, rows=["table4-sq"], runner=runner, **settings(root))


def test_the_table_for_people() -> None:
    def figures(*ranks: float) -> tuple[dict[str, float], ...]:
        return tuple({"srcc": r, "plcc": r / 2, "krcc": 0.1, "rmse": 1.0} for r in ranks)

    published = VARIANTS["table4-sq"].published["konvid1k"]
    rows = (
        Row("table4-sq", "p", published, figures(0.2, 0.9, 0.4)),
        Row("other", "p", {"srcc": 0.5}, figures(0.1, 0.3)),
    )
    lines = [line.split() for line in table_text(Ablation(4, "konvid1k", rows, False))]
    assert lines[1] == ["table4-sq", "0.8224", "0.2000", "0.8261", "0.4000", "0.2000..0.9000"]
    assert lines[2] == ["other", "--", "0.1000", "0.5000", "0.2000", "0.1000..0.3000"]
