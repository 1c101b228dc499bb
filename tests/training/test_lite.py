"""Training ``a2inet-lite``: folds by content, same seed same weights, it learns, honest figures."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from vqafast.models.a2inet.kernel import KernelRegression  # noqa: E402
from vqafast.models.a2inet.lite import QUALITY_DIM, SEMANTIC_DIM  # noqa: E402
from vqafast.training import metrics  # noqa: E402
from vqafast.training.lite import baseline, card, head, kernel, protocol, report, uncertainty  # noqa: E402
from vqafast.training.lite.data import Dataset, fold_of  # noqa: E402

PRIOR = 5


def made_up(sources=12, versions=8):
    """Quality falls with some statistics; each source adds a bias of its own."""
    rng = np.random.default_rng(1)
    quality, scenes, frames, labels, names, records, bits, clean = [], [], [], [], [], [], [], {}
    for s in range(sources):
        bias = rng.normal(size=QUALITY_DIM).astype(np.float32)
        clean[f"masters/s{s}.0.mkv"] = np.exp(0.2 * bias)
        scene = rng.normal(size=SEMANTIC_DIM).astype(np.float32)
        for v in range(versions):
            level = v / versions
            signal = 0.2 * bias + 0.05 * rng.normal(size=(3 + v % 2, QUALITY_DIM))
            signal[:, : QUALITY_DIM // 9] += level
            quality.append(np.exp(signal).astype(np.float32))
            scenes.append(np.tile(scene, (len(signal), 1)))
            labels.append(100 * (1 - level))
            frames.append(np.full(len(signal), labels[-1], dtype=np.float32))
            bits.append([-4 * level, *np.eye(PRIOR - 1)[v % (PRIOR - 1)]])
            names.append(f"s{s}")
            recipe = {"group": "ladder", "codec": "h264", "steps": ["x264"]}
            records.append(
                {"id": f"s{s}.0_{v}", "source": f"s{s}", "kind": "video", "recipe": recipe,
                 "master": f"masters/s{s}.0.mkv", "width": 320, "height": 240}
            )  # fmt: skip
    return Dataset(
        records, quality, scenes, frames, np.array(labels, np.float32), np.array(names),
        np.array(bits, np.float32), clean,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return made_up()


def small(epochs=30, members=2):
    return head.Recipe(epochs=epochs, batch=32, members=members)


def alone(trained):
    """An ensemble of one head, whose kernel regression has no part in the score."""
    dims = trained.config.quality_dim
    return head.Ensemble([trained], [KernelRegression(dims, 1, 1)], 0.0)


def samples_of(data, prior=False):
    zeros = [np.zeros((len(q), 32), np.float32) for q in data.quality]
    bits = data.bitstream if prior else None
    return head.Samples.of(data.quality, zeros, data.frame_labels, data.labels, bits)


def test_the_head_learns_and_is_deterministic(data):
    samples = samples_of(data)
    trained = head.fit(samples, recipe=small(40), seed=0)
    scores = head.predict(alone(trained), samples).score
    assert metrics.srcc(scores, data.labels) > 0.9
    again = head.fit(samples, recipe=small(40), seed=0)
    for (name, a), b in zip(trained.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    other = head.fit(samples, recipe=small(40), seed=1)
    assert not np.array_equal(head.predict(alone(other), samples).score, scores)


def test_members_do_not_depend_on_how_many_train_at_once(data):
    samples = samples_of(data)
    one = head.fit_ensemble(samples, recipe=small(2), seed=3)
    with head.workers(2) as pool:
        two = head.fit_ensemble(samples, recipe=small(2), seed=3, pool=pool)
    assert len(one.heads) == len(one.kernels) == 2
    scores = head.predict(one, samples)
    np.testing.assert_array_equal(scores.members, head.predict(two, samples).members)
    first, second = scores.members
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(scores.spread, np.abs(first - second) / 2, rtol=1e-4)
    # pooling is nearly linear, so the pooled mean lies near the mean of the pooled
    np.testing.assert_allclose(scores.score, scores.members.mean(axis=0), atol=1.0)


def test_padding_never_reaches_a_score(data):
    samples = samples_of(data)
    trained = head.fit(samples, recipe=small(2), seed=0)
    before = head.predict(alone(trained), samples)
    hidden = torch.arange(samples.quality.shape[1])[None] >= samples.lengths[:, None]
    samples.quality[hidden] = 1e6
    np.testing.assert_array_equal(head.predict(alone(trained), samples).score, before.score)


def test_runs_stay_inside_their_version(data):
    samples = samples_of(data)
    marked = head.Samples(
        samples.quality, samples.semantic, torch.arange(len(data.labels))[:, None].expand_as(samples.frames),
        samples.lengths, samples.labels,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    chosen = np.arange(20, 50)
    q, _, frames, lengths = head._runs(marked, chosen, rng)
    assert (lengths <= samples.lengths[chosen]).all()
    assert lengths.min() == 2
    for row, (i, n) in enumerate(zip(chosen, lengths, strict=True)):
        np.testing.assert_allclose(frames[row, :n] / head.RAW_PER_VMAF, i, rtol=1e-5)
        own = samples.quality[i, : samples.lengths[i]]
        assert any(torch.equal(q[row, :n], own[s : s + n]) for s in range(len(own) - n + 1))


def test_the_prior_is_appended_to_both_sequences(data):
    samples = samples_of(data, prior=True)
    assert samples.prior == PRIOR
    assert samples.quality.shape[2] == QUALITY_DIM + PRIOR
    assert samples.semantic.shape[2] == 32 + PRIOR
    for sequence in (samples.quality, samples.semantic):
        np.testing.assert_array_equal(sequence[3, 0, -PRIOR:], data.bitstream[3])
        np.testing.assert_array_equal(sequence[3, 1, -PRIOR:], data.bitstream[3])


def test_a_source_is_never_on_both_sides(data):
    folds = {s: fold_of(s, 5) for s in data.sources}
    assert len(set(folds.values())) > 1
    assert fold_of("ffwasm_bbb1080p60", 5) == fold_of("skv_bbb", 5)


def test_kernel_regression_solves_its_system(data):
    """With every version a landmark, all axes and hardly any ridge it goes through its labels."""
    samples = samples_of(data)
    recipe = kernel.KernelRecipe(landmarks=10**6, axes=10**6, strength=1e-6, frames=0)
    fitted = kernel.fit(samples, recipe, seed=0)
    means = torch.stack(
        [q[:n].double().mean(0) for q, n in zip(samples.quality, samples.lengths, strict=True)]
    )
    found = fitted.double()(means) / head.RAW_PER_VMAF
    np.testing.assert_allclose(found, data.labels, atol=0.5)


def test_kernel_regression_learns_is_deterministic_and_ignores_padding(data):
    inside = np.arange(72)
    samples = samples_of(data)
    recipe = kernel.KernelRecipe(landmarks=50, axes=40)
    fitted = kernel.fit(samples.rows(inside), recipe, seed=0)
    ensemble = head.Ensemble([head.fit(samples, recipe=small(1), seed=0)], [fitted], 1.0)
    unseen = head.predict(ensemble, samples).score[72:]
    assert metrics.srcc(unseen, data.labels[72:]) > 0.8
    wild = samples_of(data)
    wild.quality[torch.arange(wild.quality.shape[1])[None] >= wild.lengths[:, None]] = 1e6
    again = kernel.fit(wild.rows(inside), recipe, seed=0)
    other = kernel.fit(samples.rows(inside), recipe, seed=1)
    for (name, a), b in zip(fitted.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(fitted.landmarks, other.landmarks)


def test_cross_validation_scores_every_version_and_reports(data):
    schedule = protocol.Schedule(small())
    scores = protocol.cross_validate(data, 3, schedule)
    assert set(scores) == {"pixels", "hybrid", *baseline.BASELINES}
    for name, got in scores.items():
        assert np.isfinite(got.score).all(), name
    assert scores["hybrid"].members.shape == (2, len(data.labels))
    mean = scores["pixels"].score
    result = report.report(data, mean, 3)
    assert sum(f["n"] for f in result["folds"]) == result["pooled"]["n"] == len(data.labels)
    assert result["pooled"]["srcc"] == pytest.approx(
        metrics.srcc(np.clip(mean, 0, 100), data.labels), abs=1e-4
    )
    assert result["ladder_sources"] == 12
    assert sum(row["n"] for row in result["reliability"]) == len(data.labels)
    text = card.tables({"cross_validation": result})
    assert f"| h264 | {len(data.labels)} | {result['pooled']['srcc']:.3f} |" in text
    assert card.summary({"pixels": result}).count("\n") == 2


def test_baselines_learn_and_do_not_see_the_held_out_labels(data):
    inside, outside = np.arange(72), np.arange(72, len(data.labels))
    hidden = data.labels.copy()
    for regress in baseline.BASELINES.values():
        scores = regress(data, inside, outside)
        assert metrics.srcc(scores, data.labels[outside]) > 0.8
        data.labels[outside] = 0
        np.testing.assert_array_equal(regress(data, inside, outside), scores)
        data.labels[:] = hidden


def simulated(n=4000, seed=0):
    """Members whose common error grows with their spread."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(5, 95, n)
    scale = rng.uniform(1, 10, n)
    common = labels + scale * rng.normal(size=n)
    members = common + 0.4 * scale * rng.normal(size=(4, n))
    return head.Scores(members.mean(axis=0), members), labels, rng.integers(0, 5, n)


def test_uncertainty_covers_what_it_says():
    scores, labels, fold = simulated()
    got = uncertainty.coverage(scores, labels, fold)
    assert got["within_u"] == pytest.approx(uncertainty.COVERAGE, abs=0.03)
    assert 0.9 < got["within_2u"] < 1
    low, _, high = got["mae_by_third_of_u"]
    assert high > 2 * low


def test_uncertainty_of_a_fold_does_not_see_its_errors():
    scores, labels, fold = simulated()
    before = uncertainty.held_out_half_widths(scores, labels, fold)
    worse = np.where(fold == 0, labels + 40, labels)
    after = uncertainty.held_out_half_widths(scores, worse, fold)
    np.testing.assert_array_equal(after[fold == 0], before[fold == 0])
    assert after[fold == 1].mean() > 1.2 * before[fold == 1].mean()
