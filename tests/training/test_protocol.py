"""Medians, spread and cross-dataset tables, against plain NumPy and SciPy."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from vqafast.errors import InvalidArgument
from vqafast.training.protocol import FIGURES, Published, cross_dataset, evaluate_split, ten_splits
from vqafast.training.splits import random_splits

RNG = np.random.default_rng(11)
MOS = RNG.uniform(1, 5, 60)
NOISY = MOS + RNG.normal(0, 0.4, 60)
SPLITS = random_splits([str(i) for i in range(60)], 5, 0)


def given(train: Any, val: Any, test: Any, seed: int) -> Any:
    return NOISY[test]


def printed(table: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return out.getvalue()


def test_the_median_is_that_of_the_test_parts() -> None:
    seen: list[int] = []
    report = ten_splits(
        MOS, SPLITS, given, model="m", dataset="d", protocol="p", progress=lambda k, _: seen.append(k)
    )
    ranks = [stats.spearmanr(NOISY[s.test], MOS[s.test]).statistic for s in SPLITS]
    kendall = [stats.kendalltau(NOISY[s.test], MOS[s.test]).statistic for s in SPLITS]
    assert report.median()["srcc"] == pytest.approx(np.median(ranks), abs=1e-12)
    assert report.median()["krcc"] == pytest.approx(np.median(kendall), abs=1e-12)
    assert report.spread()["srcc"] == pytest.approx(np.std(ranks, ddof=1), abs=1e-12)
    assert report.values("srcc").tolist() == pytest.approx(ranks, abs=1e-12)
    assert report.parts == ((36, 12, 12),) * 5
    assert seen == [0, 1, 2, 3, 4]


def test_figures_do_not_depend_on_a_monotone_scale() -> None:
    def stretched(train: Any, val: Any, test: Any, seed: int) -> Any:
        return 1 / (1 + np.exp(-(NOISY[test] - 3)))

    a, b = ten_splits(MOS, SPLITS, given), ten_splits(MOS, SPLITS, stretched)
    assert a.median()["srcc"] == b.median()["srcc"]
    assert a.median()["plcc"] == pytest.approx(b.median()["plcc"], abs=0.01)


def test_each_split_has_its_own_seed_and_parts() -> None:
    calls: list[tuple[int, ...]] = []

    def spy(train: Any, val: Any, test: Any, seed: int) -> Any:
        calls.append((seed, len(train), len(val), len(test)))
        return NOISY[test]

    ten_splits(MOS, SPLITS, spy, seed=40)
    assert calls == [(40 + k, 36, 12, 12) for k in range(5)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda test: NOISY[test][:-1], r"split 1 needs 12 finite predictions, got \(11,\)"),
        (lambda test: NOISY[test] * np.nan, r"split 1 needs 12 finite predictions, got \(12,\) with NaN"),
        (lambda test: NOISY[test][:, None], r"split 1 needs 12 finite predictions, got \(12, 1\)"),
    ],
)
def test_predictions_must_fit(bad: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ten_splits(MOS, SPLITS, lambda train, val, test, seed: bad(test))


def test_labels_and_splits_must_be_there() -> None:
    with pytest.raises(InvalidArgument, match="there must be at least one split, got none"):
        ten_splits(MOS, [], given)
    with pytest.raises(InvalidArgument, match=r"mos must be \(N,\) finite numbers"):
        ten_splits([1.0, math.nan], SPLITS, given)
    with pytest.raises(InvalidArgument, match="split 3: at least 2 test videos are needed, got 1"):
        evaluate_split([1.0], [2.0], "split 3")


def test_constant_predictions_give_undefined_figures_not_zero() -> None:
    report = ten_splits(MOS, SPLITS[:1], lambda train, val, test, seed: np.zeros(len(test)))
    assert math.isnan(report.median()["srcc"])
    plain = report.to_dict()
    assert plain["median"]["srcc"] is None
    assert plain["std"]["srcc"] is None
    assert "-" in report.rows()[1]
    json.dumps(plain, allow_nan=False)


def test_report_as_table_markdown_and_json() -> None:
    others = [Published("VSFA", "A2INet, table 2", {"srcc": 0.8732})]
    report = ten_splits(MOS, SPLITS, given, model="ridge", dataset="[d]|x", protocol="p", published=others)
    text = printed(report.to_table())
    assert "ridge on [d]|x: p" in text
    assert f"{report.median()['srcc']:.4f}" in text
    assert "0.8732" in text
    lines = report.to_markdown().splitlines()
    assert lines[2] == "| split | train/val/test | " + " | ".join(FIGURES.values()) + " |"
    assert len(lines) == 4 + 5 + 3
    assert lines[-1] == "| VSFA | A2INet, table 2 | 0.8732 | - | - | - |"
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["splits"] == len(plain["per_split"]) == 5
    assert plain["published"] == [{"model": "VSFA", "source": "A2INet, table 2", "srcc": 0.8732}]


def test_cross_dataset_names_what_was_left_out() -> None:
    predicted = NOISY.copy()
    predicted[[3, 5]] = np.nan
    names = [f"v{i}" for i in range(60)]
    report = cross_dataset(
        "m", "lsvq", {"lsvq_1080p": (names, NOISY, MOS), "konvid1k": (names, predicted, MOS)},
        {"konvid1k": {"srcc": 0.8375, "plcc": 0.8446}},
    )  # fmt: skip
    assert report.left_out == {"lsvq_1080p": [], "konvid1k": ["v3", "v5"]}
    assert [report.kind(n) for n in report.tested] == ["intra", "cross"]
    keep = ~np.isnan(predicted)
    assert report.tested["konvid1k"].srcc == pytest.approx(stats.spearmanr(NOISY[keep], MOS[keep]).statistic)
    assert report.rows()[0][-2:] == ["SRCC published", "PLCC published"]
    assert report.rows()[2][1:4] == ["cross", "58", "2"]
    assert report.rows()[2][-2:] == ["0.8375", "0.8446"]
    assert report.rows()[1][-2:] == ["-", "-"]
    assert "m trained on lsvq" in printed(report.to_table())
    assert report.to_markdown().count("\n") == 6
    json.dumps(report.to_dict(), allow_nan=False)


def test_cross_dataset_kinds_and_errors() -> None:
    report = cross_dataset(
        "m",
        "live_vqc",
        {"live_vqc": ("abc", [1, 2, 3], [1, 2, 4]), "live_qualcomm": ("abc", [1, 2, 3], [3, 1, 2])},
    )
    assert [report.kind(n) for n in report.tested] == ["intra", "cross"]
    with pytest.raises(
        InvalidArgument, match="konvid1k needs as many names, predictions and labels, got 2, 1, 2"
    ):
        cross_dataset("m", "d", {"konvid1k": ("ab", [1.0], [1.0, 2.0])})
    with pytest.raises(InvalidArgument, match="konvid1k: at least 2 test videos are needed, got 1"):
        cross_dataset("m", "d", {"konvid1k": ("ab", [1.0, math.nan], [1.0, 2.0])})
