"""``vqafast evaluate``: its three forms, what they print, and what they refuse."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.training import label_files as files
from typer.testing import CliRunner

from vqafast import cli
from vqafast.training import evaluation
from vqafast.training.protocol import cross_dataset, ten_splits
from vqafast.training.splits import random_splits

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def vqafast(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["evaluate", *(str(a) for a in arguments)])


def report() -> Any:
    mos = np.linspace(1, 5, 20)
    made = random_splits([str(i) for i in range(20)], 3, 0)
    return ten_splits(
        mos, made, lambda train, val, test, seed: mos[test], model="m", dataset="d", protocol="p"
    )


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(40, 6))
    index = np.stack([rng.permutation(40) + 1 for _ in range(11)], axis=1)
    names = [f"Color/0911s{i // 2}_c.yuv" for i in range(40)]
    info = files.info(tmp_path / "info.mat", names, features @ np.ones(6), index, "LIVE-Qualcomm")
    np.save(tmp_path / "f.npy", features)
    return tmp_path / "f.npy", info


def test_features_as_table_markdown_and_json(pair: tuple[Path, Path]) -> None:
    arguments = ("ridge", "--features", pair[0], "--info", pair[1], "--splits", 4)
    got = vqafast(*arguments)
    assert got.exit_code == 0, got.stderr
    assert re.search(r"median .* 1\.0000 .* 1\.0000", got.stdout)
    assert "A2INet, table 2" in got.stdout
    assert got.stderr == "splits: 4\n"
    quiet = vqafast(*arguments, "--markdown", "-q")
    assert quiet.stderr == ""
    assert quiet.stdout.count("\n") == 2 + 2 + 4 + 2 + 2
    plain = json.loads(vqafast(*arguments, "--json", "--by", "content", "--no-refit").stdout)
    assert plain["median"]["srcc"] > 0.99
    assert plain["published"] == []
    assert len(plain["chosen"]) == 4
    assert "content-disjoint" in plain["protocol"]
    assert "fitted on training only" in plain["protocol"]


def test_a_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int]] = []

    def evaluate_run(directory: Path, splits: int, *, reporter: Any) -> Any:
        asked.append((directory, splits))
        return report()

    monkeypatch.setattr(evaluation, "evaluate_run", evaluate_run)
    got = vqafast(tmp_path / "run", "--splits", 3)
    assert got.exit_code == 0, got.stderr
    assert asked == [(tmp_path / "run", 3)]
    assert "m on d: p" in got.stdout


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    got = vqafast(tmp_path)
    assert (got.exit_code, "a run directory must hold config.json" in got.stderr) == (3, True)


def test_across_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.table(
        tmp_path / "l" / "labels_train_test.csv",
        ("name", "mos", "is_test"),
        [("a/1", 3, False), ("a/2", 4, True)],
    )
    files.table(tmp_path / "k.csv", ("flickr_id", "mos"), [("1", 3), ("2", 4)])
    (tmp_path / "k").mkdir()
    asked: list[Any] = []

    def evaluate_cross(config: Any, directory: Path, tests: Any, scorer: Any, *, reporter: Any) -> Any:
        asked.append((config, directory, tests, scorer))
        return cross_dataset(
            config.model, config.dataset, {n: (["x\n", "y", "z"], [1, 2, np.nan], [1, 2, 3]) for n in tests}
        )

    monkeypatch.setattr(evaluation, "evaluate_cross", evaluate_cross)
    got = vqafast(
        "a2inet", "--train-on", "lsvq", "--test-on", "lsvq_test, konvid1k",
        "--root", f"lsvq={tmp_path / 'l'}", "--root", f"konvid1k={tmp_path / 'k'}",
        "--labels", f"konvid1k={tmp_path / 'k.csv'}", "--out", tmp_path / "run",
        "--set", "epochs=3", "--set", "quality_weights=some.pth",
    )  # fmt: skip
    assert got.exit_code == 0, got.stderr
    ((config, directory, tests, _),) = asked
    assert (config.model, config.dataset, config.root) == ("a2inet", "lsvq", str(tmp_path / "l"))
    assert (config.epochs, config.quality_weights, config.labels) == (3, "some.pth", None)
    assert directory == tmp_path / "run"
    assert {name: len(data) for name, data in tests.items()} == {"lsvq_test": 1, "konvid1k": 2}
    assert "a2inet trained on lsvq" in got.stdout
    assert got.stdout.count("left out of") == 2
    assert "left out of konvid1k: z\n" in got.stdout


def test_the_scorer_gives_the_score_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vqafast.cli.evaluate import _scorer
    from vqafast.scoring import scorer

    class Fake:
        def __init__(self, model: str) -> None:
            assert model == str(tmp_path)

        def assess(self, path: Path) -> Any:
            return type("Assessment", (), {"score": float(path.stem)})

    monkeypatch.setattr(scorer, "Scorer", Fake)
    assert _scorer(tmp_path)(tmp_path / "4.mp4") == 4.0


CROSS = ("a2inet", "--train-on", "lsvq", "--test-on", "kvq")
BOTH = ("ridge", "--features", "x", "--info", "y", "--train-on", "a", "--test-on", "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ridge", "--features", "x.mat"), "--features and --info must be given together"),
        (("a2inet", "--train-on", "lsvq"), "--train-on and --test-on must be given together"),
        (("run", "--root", "a=b"), "must come with --train-on"),
        ((*CROSS[:4], ","), "--test-on must name at least one dataset"),
        (CROSS, "--root lsvq=DIR must be given, got none"),
        ((*CROSS, "--root", "lsvq"), "--root must be NAME=PATH, got 'lsvq'"),
        ((*CROSS, "--root", "lsvq=a", "--root", "lsvq=b"), "given once a dataset, got lsvq twice"),
        ((*CROSS, "--set", "epochs"), "--set must be FIELD=VALUE, got 'epochs'"),
        ((*CROSS, "--set", "root=1"), "--set must leave root to its own option"),
        ((*CROSS, "--root", "lsvq=a", "--set", "spam=1"), "got unknown ['spam']"),
        (("run", "--json", "--markdown"), "--json or --markdown must be given, got both"),
        (BOTH, "--features or --train-on must be given, got both"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: tuple[str, ...], message: str) -> None:
    got = vqafast(*arguments)
    assert got.exit_code == 2
    assert message in got.stderr


def test_regressors_are_named_in_the_error(pair: tuple[Path, Path]) -> None:
    got = vqafast("lasso", "--features", pair[0], "--info", pair[1])
    assert (got.exit_code, "must be one of ridge, svr, vsfa, got 'lasso'" in got.stderr) == (2, True)
