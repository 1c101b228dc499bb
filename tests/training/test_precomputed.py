"""Features that others computed: files that fit together, and the protocol on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.training import label_files as files

from vqafast.errors import InvalidArgument, MissingFile
from vqafast.training.precomputed import evaluate_precomputed, read_precomputed
from vqafast.training.regressors import regressor

if TYPE_CHECKING:
    from pathlib import Path

N = 60


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Features and an info file of LIVE-Qualcomm's form: 60 videos of 15 scenes."""
    rng = np.random.default_rng(2)
    latent = rng.normal(size=(N, 3))
    features = latent @ rng.normal(size=(3, 24)) + 0.3 * rng.normal(size=(N, 24))
    names = [f"Color/0911scene{i // 4}_cam{i % 4}.yuv" for i in range(N)]
    index = np.stack([rng.permutation(N) + 1 for _ in range(12)], axis=1)
    info = files.info(tmp_path / "info.mat", names, 50 + 10 * latent[:, 0], index, "LIVE-Qualcomm")
    return files.mat5(tmp_path / "features.mat", features=features.astype(np.float32)), info


def test_published_splits_and_figures(pair: tuple[Path, Path]) -> None:
    data = read_precomputed(*pair)
    assert (data.dataset, data.features.shape) == ("LIVE-Qualcomm", (N, 24))
    report, chosen = evaluate_precomputed("ridge", data, splits=4)
    assert report.parts == ((37, 11, 12),) * 4
    assert [p.model for p in report.published] == ["VSFA", "A2INet FR(S+S)"]
    assert [set(c) for c in chosen] == [{"strength"}] * 4
    assert report.median()["srcc"] > 0.9
    # The same by hand, for the second split.
    split = data.info.splits[1]
    scores = regressor("ridge", data.features, data.info.scores)(split.train, split.val, split.test, 1)
    ranks = [np.argsort(np.argsort(v)) for v in (scores, data.info.scores[split.test])]
    assert report.values("srcc")[1] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)


def test_content_splits_are_disjoint_and_have_nothing_published(pair: tuple[Path, Path]) -> None:
    data = read_precomputed(*pair)
    assert len(set(data.groups())) == 15
    report, _ = evaluate_precomputed("ridge", data, splits=3, kind="content", seed=5)
    assert report.parts == ((36, 12, 12),) * 3
    assert report.published == ()
    assert "content-disjoint" in report.protocol


def test_without_refitting_the_report_says_so(pair: tuple[Path, Path]) -> None:
    report, _ = evaluate_precomputed("ridge", read_precomputed(*pair), splits=2, refit=False)
    assert "fitted on training only" in report.protocol


def test_files_must_fit(pair: tuple[Path, Path], tmp_path: Path) -> None:
    features, info = pair
    np.save(tmp_path / "short.npy", np.zeros((N - 1, 4)))
    with pytest.raises(InvalidArgument, match=r"short.npy: features must be \(60, D\), .* got \(59, 4\)"):
        read_precomputed(tmp_path / "short.npy", info)
    np.save(tmp_path / "nan.npy", np.full((N, 4), np.nan))
    with pytest.raises(InvalidArgument, match="features must be finite"):
        read_precomputed(tmp_path / "nan.npy", info)
    (tmp_path / "text.npy").write_text("text")
    with pytest.raises(InvalidArgument, match=r"text.npy: must be a NumPy array"):
        read_precomputed(tmp_path / "text.npy", info)
    other = files.mat5(tmp_path / "other.mat", feats=np.zeros((N, 4)))
    with pytest.raises(InvalidArgument, match=r"other.mat: must hold the variable features, got feats"):
        read_precomputed(other, info)
    with pytest.raises(MissingFile, match="no such file"):
        read_precomputed(features, tmp_path / "none.mat")


def test_bad_arguments(pair: tuple[Path, Path], tmp_path: Path) -> None:
    data = read_precomputed(*pair)
    with pytest.raises(InvalidArgument, match="must be 1 to 12, the published ones, got 13"):
        evaluate_precomputed("ridge", data, splits=13)
    with pytest.raises(InvalidArgument, match="kind must be published or content, got 'video'"):
        evaluate_precomputed("ridge", data, kind="video")
    info = files.info(tmp_path / "Mineinfo.mat", ["a"] * N, [1.0] * N, np.arange(1, N + 1)[:, None])
    unnamed = read_precomputed(pair[0], info)
    assert unnamed.dataset == "Mine"
    with pytest.raises(
        InvalidArgument, match=r"must be known for the dataset \(CVD2014, LIVE-Qualcomm\), got 'Mine'"
    ):
        evaluate_precomputed("ridge", unnamed, kind="content")
