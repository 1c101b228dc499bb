"""Training ``a2inet-lite``: folds by content, same seed same weights, and it learns."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from vqafast.training import metrics  # noqa: E402
from vqafast.training.lite import head, protocol, semantic  # noqa: E402
from vqafast.training.lite.data import Dataset, fold_of  # noqa: E402


def made_up(sources=12, versions=8):
    """Quality falls with one statistic; each source adds a bias of its own that its views show."""
    rng = np.random.default_rng(1)
    quality, views, frames, labels, names, records, clean = [], [], [], [], [], [], {}
    for s in range(sources):
        bias = rng.normal(size=176).astype(np.float32)
        clean[f"s{s}"] = np.exp(0.2 * bias)
        picture = rng.integers(0, 255, (3, 144, 192), dtype=np.uint8)
        for v in range(versions):
            level = v / versions
            signal = 0.2 * bias + 0.05 * rng.normal(size=(4, 176))
            signal[:, :20] += level
            quality.append(np.exp(signal).astype(np.float32))
            views.append(np.stack([picture] * 4))
            labels.append(100 * (1 - level))
            frames.append(np.full(4, labels[-1], dtype=np.float32))
            names.append(f"s{s}")
            recipe = {"group": "ladder", "codec": "h264"}
            records.append({"id": f"s{s}_{v}", "source": f"s{s}", "kind": "video", "recipe": recipe})
    return Dataset(records, quality, views, frames, np.array(labels, np.float32), np.array(names), clean)


@pytest.fixture(scope="module")
def data():
    return made_up()


def small(epochs=40):
    return head.Recipe(epochs=epochs, batch=32)


def fit_head(data, seed=0):
    zeros = [np.zeros((len(q), 24), np.float32) for q in data.quality]
    args = data.quality, zeros, data.frame_labels, data.labels
    return head.fit(*args, recipe=small(), seed=seed), zeros


def test_the_head_learns_and_is_deterministic(data):
    trained, zeros = fit_head(data)
    scores = head.predict(trained, data.quality, zeros)
    assert metrics.srcc(scores, data.labels) > 0.9
    again, _ = fit_head(data)
    for (name, a), b in zip(trained.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    other, _ = fit_head(data, seed=1)
    assert not np.array_equal(head.predict(other, data.quality, zeros), scores)


def test_a_source_is_never_on_both_sides(data):
    folds = {s: fold_of(s, 5) for s in data.clean}
    assert len(set(folds.values())) > 1
    assert fold_of("ffwasm_bbb1080p60", 5) == fold_of("skv_bbb", 5)


def test_targets_use_the_chosen_sources_only(data):
    chosen = np.arange(24)
    before = protocol.clean_targets(data, chosen)
    data.clean["s11"] = data.clean["s11"] * 100
    np.testing.assert_array_equal(protocol.clean_targets(data, chosen), before)
    data.clean["s11"] = data.clean["s11"] / 100


def test_cross_validation_scores_every_version_and_reports(data):
    schedule = protocol.Schedule(1, small())
    scores = protocol.cross_validate(data, 3, schedule)
    assert np.isfinite(scores).all()
    report = protocol.report(data, scores, 3)
    assert sum(f["n"] for f in report["folds"]) == report["pooled"]["n"] == len(data.labels)
    assert report["pooled"]["srcc"] == pytest.approx(
        metrics.srcc(np.clip(scores, 0, 100), data.labels), abs=1e-4
    )
    assert report["ladder_sources"] == 12


def test_pretraining_is_deterministic_and_returns_a_frozen_backbone(data):
    targets = protocol.clean_targets(data, np.arange(len(data.labels)))
    nets = [semantic.pretrain(data.views, targets, epochs=1, seed=5) for _ in range(2)]
    assert not any(p.requires_grad for p in nets[0].parameters())
    for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)
