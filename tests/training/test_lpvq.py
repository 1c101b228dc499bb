"""Local quality against LPVQ: figures by their definitions, areas by counting, and what a table may hold."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from vqafast.errors import InvalidArgument, Unreadable
from vqafast.training.lpvq import lpvq_correlations, read_lpvq, to_grid

if TYPE_CHECKING:
    from pathlib import Path


def labelled(n: int = 6) -> tuple[Any, Any]:
    generator = np.random.default_rng(3)
    # Steps of half a point, as the raters gave them, so that there are ties.
    mos = np.round(generator.uniform(1, 5, (n, 7, 7)) * 2) / 2
    return mos + generator.normal(size=mos.shape) + generator.normal(size=(n, 1, 1)), mos


def test_figures_by_their_definitions() -> None:
    predicted, mos = labelled()
    got = lpvq_correlations(predicted, mos)

    def both(p: Any, t: Any) -> tuple[float, float]:
        ranks = stats.rankdata(p), stats.rankdata(t)
        return float(np.corrcoef(*ranks)[0, 1]), float(np.corrcoef(p, t)[0, 1])

    each = [both(p.ravel(), t.ravel()) for p, t in zip(predicted, mos, strict=True)]
    assert (got.inter_srcc, got.inter_plcc) == pytest.approx(both(predicted.ravel(), mos.ravel()), abs=1e-12)
    assert (got.intra_srcc, got.intra_plcc) == pytest.approx(np.mean(each, axis=0), abs=1e-12)
    assert (got.pictures, got.undefined) == (6, 0)


def test_inter_and_intra_tell_different_faults() -> None:
    """An offset for each picture leaves intra as it is; a shuffle inside pictures destroys it."""
    _, mos = labelled()
    offset = mos + 100 * np.arange(len(mos))[::-1, None, None]
    moved = lpvq_correlations(offset, mos)
    assert moved.intra_srcc == pytest.approx(1)
    assert moved.intra_plcc == pytest.approx(1)
    assert abs(moved.inter_plcc) < 0.2
    level = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 7, 7)) * 100
    inside = np.arange(49.0).reshape(7, 7)
    turned = lpvq_correlations(level + inside[::-1, ::-1], level + inside)
    assert turned.intra_srcc == pytest.approx(-1)
    assert turned.inter_srcc > 0.8


def test_constant_pictures_are_left_out_and_counted() -> None:
    predicted, mos = labelled()
    whole = lpvq_correlations(predicted[2:], mos[2:])
    mos[0], predicted[1] = 3.0, 0.0
    got = lpvq_correlations(predicted, mos)
    assert (got.intra_srcc, got.intra_plcc) == (whole.intra_srcc, whole.intra_plcc)
    assert (got.pictures, got.undefined) == (6, 2)
    nothing = lpvq_correlations(np.zeros((2, 7, 7)), mos[:2])
    assert np.isnan([nothing.intra_srcc, nothing.intra_plcc, nothing.inter_srcc]).all()
    assert nothing.undefined == 2


@pytest.mark.parametrize(("h", "w"), [(14, 14), (7, 7), (1, 3), (5, 9), (21, 8)])
def test_areas_by_counting_small_squares(h: int, w: int) -> None:
    """Each region and each cell is a whole number of squares of a fine grid, whose mean is the average."""
    quality = np.random.default_rng(h).normal(size=(2, h, w))
    fine = quality.repeat(7, axis=1).repeat(7, axis=2)
    truth = np.array(
        [
            [[m[i * h : (i + 1) * h, j * w : (j + 1) * w].mean() for j in range(7)] for i in range(7)]
            for m in fine
        ]
    )
    np.testing.assert_allclose(to_grid(quality), truth, atol=1e-12)
    np.testing.assert_allclose(to_grid(quality).mean((1, 2)), quality.mean((1, 2)), atol=1e-12)


def written(path: Path, rows: list[str], header: str = "image,row,column,mos") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def cells(name: str, mos: Any) -> list[str]:
    return [f"{name},{i},{j},{mos[i, j]}" for i, j in itertools.product(range(7), range(7))]


def test_a_table_in_any_order(tmp_path: Path) -> None:
    _, mos = labelled(2)
    rows = cells("b.png", mos[0]) + cells("a.png", mos[1])
    names, got = read_lpvq(written(tmp_path / "x.csv", rows))
    assert names == ["b.png", "a.png"]
    np.testing.assert_array_equal(got, mos)
    turned = [",".join(reversed(r.split(","))) for r in reversed(rows)]
    names, got = read_lpvq(written(tmp_path / "y.csv", turned, "mos,column,row,image"))
    assert names == ["a.png", "b.png"]
    np.testing.assert_array_equal(got, mos[::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:-1], "must have 49 regions, got 48 of 'a'"),
        (lambda r: [*r, r[5]], r"must be there once, got 'a' \(0, 5\) twice"),
        (lambda r: ["a,7,0,3", *r[1:]], "row must be in 0..6, got '7' of 'a'"),
        (lambda r: ["a,0,-1,3", *r[1:]], "column must be in 0..6, got '-1'"),
        (lambda r: ["a,0,0,nan", *r[1:]], "MOS must be finite"),
        (lambda r: ["a,0,0,good", *r[1:]], "MOS must be a number, got 'good'"),
        (lambda r: [], "a column must be named image"),
    ],
)
def test_tables_that_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_lpvq(written(tmp_path / "x.csv", change(cells("a", np.full((7, 7), 3.0)))))


def test_what_else_is_refused(tmp_path: Path) -> None:
    predicted, mos = labelled(2)
    with pytest.raises(Unreadable):
        read_lpvq(tmp_path / "none.csv")
    with pytest.raises(InvalidArgument, match="a column must be named mos"):
        read_lpvq(written(tmp_path / "x.csv", ["a,0,0,1"], "image,row,column,score"))
    with pytest.raises(InvalidArgument, match=r"must be \(N, 7, 7\)"):
        lpvq_correlations(predicted[:, :6], mos[:, :6])
    with pytest.raises(InvalidArgument, match=r"must be \(N, 7, 7\)"):
        lpvq_correlations(predicted[:1], mos)
    predicted[0, 0, 0] = np.inf
    with pytest.raises(InvalidArgument, match="must be finite, got 1 and 0"):
        lpvq_correlations(predicted, mos)
    with pytest.raises(InvalidArgument, match="to_grid"):
        to_grid(np.zeros(7))


def test_a_models_maps_against_regions(tmp_path: Path) -> None:
    """`vqafast evaluate MODEL --lpvq DIR` on drawn pictures with an untrained small KVQ."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from tests.models.small_kvq import SWIN, HeadConfig, randomised
    from typer.testing import CliRunner

    from vqafast.cli import app
    from vqafast.models.kvq.config import KvqConfig
    from vqafast.models.kvq.convert import write_network
    from vqafast.models.kvq.network import KVQ

    image = pytest.importorskip("PIL.Image")
    net = KVQ(KvqConfig(SWIN, HeadConfig(64, 8), (3, 2), side=224, clips=1, frames=4, interval=1))
    write_network(randomised(net), tmp_path / "model", random=True)
    rng = np.random.default_rng(3)
    rows = ["name," + ",".join(f"r{i}" for i in range(49))]
    for name in ("a.png", "b.png", "c.png"):
        image.fromarray(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)).save(tmp_path / name)
        rows.append(name + "," + ",".join(str(x) for x in rng.uniform(1, 5, 49)))
    (tmp_path / "LPVQ.csv").write_text("\n".join(rows))
    command = ["evaluate", str(tmp_path / "model"), "--lpvq", str(tmp_path), "--json", "--quiet"]
    got = CliRunner().invoke(app, command)
    assert got.exit_code == 0, got.stderr
    figures = json.loads(got.stdout)
    assert (figures["pictures"], figures["undefined"]) == (3, 0)
    # The same through the network itself: FFV1 rounds colours, so pictures differ by a level or two.
    from vqafast.models.fast_vqa.config import MEAN, STD

    found = []
    for name in ("a.png", "b.png", "c.png"):
        rgb = np.asarray(image.open(tmp_path / name), np.float32)
        x = (torch.from_numpy(rgb) - torch.tensor(MEAN)) / torch.tensor(STD)
        clip = x.permute(2, 0, 1)[None, :, None].repeat(1, 1, 4, 1, 1)
        with torch.no_grad():
            found.append(to_grid(net.maps(clip).quality[0].mean(dim=0).numpy()))
    labels = np.array([[float(v) for v in row.split(",")[1:]] for row in rows[1:]]).reshape(3, 7, 7)
    expected = lpvq_correlations(np.stack(found), labels)
    assert figures["inter_srcc"] == pytest.approx(expected.inter_srcc, abs=0.02)
    assert figures["intra_plcc"] == pytest.approx(expected.intra_plcc, abs=0.02)
    refused = CliRunner().invoke(app, ["evaluate", "a2inet-lite", "--lpvq", str(tmp_path), "--quiet"])
    assert "the model must have them" in refused.stderr
