"""Subjective-study tools: simulated observers whose truth is known, and independent formulas."""

import io
import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from vqafast.errors import InvalidArgument, IsDirectory, MissingFile
from vqafast.training.subjective import (
    Rating,
    Ratings,
    agreement,
    bt500,
    disagreeing,
    fit_subject_model,
    opinion_scores,
    read_ratings,
)
from vqafast.training.subjective.screening import moments

OBSERVERS, VIDEOS = 18, 80


def table(values, scale=(1.0, 5.0)):
    values = np.asarray(values, dtype=np.float64)
    return Ratings(
        tuple(f"o{i}" for i in range(len(values))),
        tuple(f"v{j}" for j in range(values.shape[1])),
        values,
        scale,
    )


def study(seed, *, observers=OBSERVERS, videos=VIDEOS, noise=0.45, step=0.5):
    """True scores, and honest ratings on a scale of 1 to 5 in steps."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(1.3, 4.7, videos)
    bias = generator.normal(0, 0.2, observers)
    ratings = truth + bias[:, None] + noise * generator.normal(size=(observers, videos))
    return truth, np.clip(np.round(ratings / step) * step, 1, 5), generator


def holed(values, generator, share=0.3):
    return np.where(generator.uniform(size=values.shape) < share, np.nan, values)


# ---- screening


def looped_bt500(values):
    """Counted as the Recommendation writes it, one rating after the other."""
    p, q, rated = ([0] * len(values) for _ in range(3))
    for column in values.T:
        given = [u for u in column if not math.isnan(u)]
        if not given:
            continue
        mean = sum(given) / len(given)
        squares = sum((u - mean) ** 2 for u in given)
        kurtosis = stats.kurtosis(given, fisher=False) if squares else math.nan
        for i, u in enumerate(column):
            if math.isnan(u):
                continue
            rated[i] += 1
            if not squares:
                continue
            s = math.sqrt(squares / (len(given) - 1))
            alpha = 2 if 2 <= kurtosis <= 4 else math.sqrt(20)
            p[i] += u >= mean + alpha * s
            q[i] += u <= mean - alpha * s
    reject = [
        (a + b) / j > 0.05 and abs((a - b) / (a + b)) < 0.3 if a + b else False
        for a, b, j in zip(p, q, rated, strict=True)
    ]
    return p, q, rated, reject


@pytest.mark.parametrize("seed", range(6))
def test_bt500_equals_the_loop(seed):
    _, values, generator = study(seed, observers=30)
    values[3] = np.clip(values[3] + generator.choice([-2.5, 2.5], VIDEOS), 1, 5)
    values[:, 5] = 3.0
    if seed % 2:
        values = holed(values, generator)
    got, (p, q, rated, reject) = bt500(values), looped_bt500(values)
    assert got.above.tolist() == p
    assert got.below.tolist() == q
    assert got.rated.tolist() == rated
    assert got.rejected.tolist() == reject
    assert min(sum(p), sum(q)) > 5
    assert got.rejected[3] or seed % 2


def test_bt500_keeps_who_is_off_to_one_side():
    _, values, generator = study(0)
    wild, harsh = values.copy(), values.copy()
    wild[4] = np.clip(wild[4] + generator.choice([-2.0, 2.0], VIDEOS), 1, 5)
    harsh[4] = np.clip(harsh[4] - 2.0, 1, 5)
    assert np.flatnonzero(bt500(wild).rejected).tolist() == [4]
    got = bt500(harsh)
    assert (got.above[4] + got.below[4]) / got.rated[4] > 0.05
    assert not got.rejected.any()


def test_bt500_cannot_see_one_who_stands_alone_among_few():
    """One far rating makes the kurtosis large, and 4.47 S is out of reach below 22 ratings."""
    for observers, found in ((21, 0), (22, VIDEOS)):
        values = 3 + 0.001 * np.random.default_rng(0).normal(size=(observers, VIDEOS))
        values[0] = np.where(np.arange(VIDEOS) % 2, 1, 5)
        got = bt500(values)
        assert got.above[0] + got.below[0] == found
        assert got.rejected[0] == bool(found)


def test_moments_are_scipys():
    _, values, generator = study(1)
    values = holed(values, generator)
    values[:, 7] = np.nan
    values[:, 8] = np.nan
    values[0, 8] = 2.0
    got = moments(values)
    for j, column in enumerate(values.T):
        given = column[np.isfinite(column)]
        assert got.n[j] == len(given)
        if len(given) > 1:
            assert got.mean[j] == pytest.approx(given.mean())
            assert got.std[j] == pytest.approx(given.std(ddof=1))
            assert got.kurtosis[j] == pytest.approx(stats.kurtosis(given, fisher=False))
    assert np.isnan([got.mean[7], got.std[7], got.std[8], got.kurtosis[8]]).all()


def test_agreement_is_scipys():
    _, values, generator = study(2)
    values = holed(values, generator)
    got = agreement(values)
    for i, own in enumerate(values):
        rest = np.array([np.nanmean(np.delete(column, i)) for column in values.T])
        common = np.isfinite(own)
        expected = min(
            stats.spearmanr(own[common], rest[common]).statistic,
            stats.pearsonr(own[common], rest[common]).statistic,
        )
        assert got[i] == pytest.approx(expected, abs=1e-9)


def test_agreement_of_those_who_cannot_be_judged():
    values = np.array([[1, 2, 3, 4], [1, 3, 2, 4], [3, 3, 3, 3], [1, 5, np.nan, np.nan]], dtype=np.float64)
    got = agreement(values)
    assert got[2] == 0.0
    assert np.isnan(got[3])
    assert np.isnan(agreement(np.array([[1.0, 2, 3], [4, 4, 4]]))[0])


def with_two_bad(seed):
    """Honest observers between one who clicks at random and one who turned the scale."""
    truth, values, generator = study(seed)
    random = generator.choice(np.arange(1, 5.5, 0.5), VIDEOS)
    inverted = np.clip(np.round(2 * (6 - truth + 0.4 * generator.normal(size=VIDEOS))) / 2, 1, 5)
    return np.vstack([random, values, inverted]), {"o0", f"o{OBSERVERS + 1}"}


@pytest.mark.parametrize("seed", range(8))
def test_random_and_inverted_observers_are_rejected_and_good_ones_kept(seed):
    values, bad = with_two_bad(seed)
    got = opinion_scores(table(values), screen=("correlation",))
    assert {one.observer for one in got.rejected} == bad
    assert got.rejected[0].observer == f"o{OBSERVERS + 1}", "the worst comes first"
    assert all("correlation with the others" in one.reason for one in got.rejected)
    assert got.n.tolist() == [OBSERVERS] * VIDEOS


def test_both_screenings_cost_few_good_observers():
    """BT.500's 5 % is near what honest observers do, so it takes one of them now and then."""
    lost = 0
    for seed in range(20):
        values, bad = with_two_bad(seed)
        rejected = {one.observer for one in opinion_scores(table(values)).rejected}
        assert bad <= rejected
        lost += len(rejected - bad)
    assert lost / (20 * OBSERVERS) < 0.04


def test_two_bad_observers_do_not_take_a_good_one_along():
    generator = np.random.default_rng(3)
    truth = np.linspace(1.2, 4.8, 60)
    good = truth + 0.2 * generator.normal(size=(3, 60))
    turned = 6 - truth + 0.2 * generator.normal(size=(2, 60))
    values = np.vstack([good, turned])
    assert (agreement(values)[:3] < 0.7).any(), "the case must be one in which a single pass goes wrong"
    assert sorted(disagreeing(values)) == [3, 4]


# ---- scores and intervals


@pytest.mark.parametrize("interval", ["normal", "student"])
def test_scores_and_intervals_are_the_formulas(interval):
    _, values, generator = study(4)
    values = holed(values, generator)
    got = opinion_scores(table(values), screen=(), interval=interval)
    for j, column in enumerate(values.T):
        given = column[np.isfinite(column)]
        quantile = 1.96 if interval == "normal" else stats.t.ppf(0.975, len(given) - 1)
        assert got.mos[j] == pytest.approx(given.mean())
        assert got.ci95[j] == pytest.approx(quantile * stats.sem(given))
        assert got.n[j] == len(given)
    assert got.removed == 0
    assert got.ratings == got.n.sum()


@pytest.mark.parametrize("observers", [6, 15, 24])
def test_intervals_cover_the_truth(observers):
    generator = np.random.default_rng(observers)
    truth = generator.uniform(2, 4, 4000)
    values = truth + 0.5 * generator.normal(size=(observers, 4000))
    covered = {}
    for interval in ("normal", "student"):
        got = opinion_scores(table(values, (-5, 10)), screen=(), interval=interval)
        covered[interval] = np.mean(np.abs(got.mos - truth) <= got.ci95)
    four_errors = 4 * math.sqrt(0.95 * 0.05 / 4000)
    assert covered["student"] == pytest.approx(0.95, abs=four_errors)
    # The normal quantile is short of Student's by a known amount.
    assert covered["normal"] == pytest.approx(2 * stats.t.cdf(1.96, observers - 1) - 1, abs=four_errors)


def test_screening_leaves_intervals_honest():
    covered = []
    for seed in range(10):
        truth, values, generator = study(seed, videos=200, step=0.1)
        # The MOS is that of these observers, biases included, but not of the one who answers at random.
        expected = truth + np.mean([np.mean(row - truth) for row in values])
        values = np.vstack([values, generator.uniform(1, 5, 200)])
        got = opinion_scores(table(values), interval="student")
        assert [one.observer for one in got.rejected] == [f"o{OBSERVERS}"]
        middle = (truth > 2.3) & (truth < 3.7)
        covered.append(np.mean((np.abs(got.mos - expected) <= got.ci95)[middle]))
    assert 0.92 < np.mean(covered) < 0.99


@pytest.mark.parametrize("rule", ["range", "interval"])
def test_outliers_by_the_formula(rule):
    _, values, _ = study(5)
    values[2, 10] = 1.0 if values[:, 10].mean() > 3 else 5.0
    got = opinion_scores(table(values), screen=(), outliers=rule)
    removed, means, counts = 0, [], []
    for column in values.T:
        s = column.std(ddof=1)
        kept = column[
            np.abs(column - column.mean()) <= 1.96 * s / (math.sqrt(OBSERVERS) if rule == "interval" else 1)
        ]
        removed += OBSERVERS - len(kept)
        counts.append(len(kept))
        if len(kept):
            means.append(kept.mean())
    np.testing.assert_allclose(got.mos, means)
    assert got.n.tolist() == [n for n in counts if n]
    assert len(got.unrated) == counts.count(0)
    assert got.removed == got.beyond == removed > 0
    share = removed / values.size
    assert 0.02 < share < 0.08 if rule == "range" else 0.45 < share < 0.8


def test_kept_outliers_are_counted():
    _, values, _ = study(5)
    kept = opinion_scores(table(values), screen=())
    cut = opinion_scores(table(values), screen=(), outliers="range")
    assert kept.removed == 0
    assert kept.beyond == cut.removed > 0
    assert kept.n.sum() == values.size


def test_equal_ratings_have_no_outliers():
    values = np.full((7, 5), 3.3)
    got = opinion_scores(table(values), screen=("bt500",), outliers="interval")
    assert got.removed == 0
    assert got.rejected == ()
    np.testing.assert_allclose(got.ci95, 0, atol=1e-12)


def test_a_video_whose_ratings_all_go_has_no_score():
    values = np.array([[1.0, 2, 3]] * 10 + [[5.0, 2, 3]] * 10)
    got = opinion_scores(table(values), screen=(), outliers="interval")
    assert got.unrated == ("v0",)
    assert "v0" not in got.videos
    assert len(got.videos) == len(got.mos) == len(got.n) == 2


def test_csv_of_a_video_with_one_rating():
    values = np.array([[1.0, 2.0, np.nan], [2.0, 3.0, 4.25]])
    out = io.StringIO()
    opinion_scores(table(values), screen=()).write_csv(out)
    assert out.getvalue() == "name,mos,ci95,n\nv0,1.5,0.98,2\nv1,2.5,0.98,2\nv2,4.25,,1\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"screen": ("kurtosis",)}, "screen must be of correlation, bt500, got 'kurtosis'"),
        ({"outliers": "drop"}, "outliers must be of keep, range, interval, got 'drop'"),
        ({"interval": "t"}, "interval must be of normal, student, got 't'"),
        ({"method": "median"}, "method must be of mean, subject-model, got 'median'"),
        ({"min_correlation": 1.5}, r"min_correlation must be within -1 and 1, got 1\.5"),
    ],
)
def test_choices_are_checked(options, message):
    with pytest.raises(InvalidArgument, match=message):
        opinion_scores(table(study(0)[1]), **options)


def test_a_study_without_agreement_is_refused():
    values = np.random.default_rng(0).uniform(1, 5, (8, 50))
    with pytest.raises(InvalidArgument, match=r"screening must leave two observers at least, got \d of 8"):
        opinion_scores(table(values))


# ---- subject model


def test_subject_model_recovers_the_truth():
    generator = np.random.default_rng(6)
    truth, bias = generator.uniform(1, 5, 400), generator.normal(0, 0.5, 20)
    bias -= bias.mean()
    noise = np.array([0.2, 0.4, 0.6, 1.5] * 5)
    values = truth + bias[:, None] + noise[:, None] * generator.normal(size=(20, 400))
    got = fit_subject_model(values)
    np.testing.assert_allclose(got.bias, bias, atol=5 * (noise / 20).max())
    np.testing.assert_allclose(got.inconsistency, noise, rtol=0.15)
    weighed, plain = np.std(got.score - truth), np.std(values.mean(axis=0) - truth)
    assert weighed < 0.6 * plain
    assert weighed == pytest.approx(got.error.mean(), rel=0.15)
    assert np.mean(np.abs(got.score - truth) <= 1.96 * got.error) == pytest.approx(0.95, abs=0.05)


def test_subject_model_is_a_fixed_point():
    _, values, generator = study(7)
    values = holed(values, generator)
    got = fit_subject_model(values)
    for j, column in enumerate(values.T):
        given = np.isfinite(column)
        weight = 1 / got.inconsistency[given] ** 2
        assert got.score[j] == pytest.approx(np.average((column - got.bias)[given], weights=weight), abs=1e-6)
        assert got.error[j] == pytest.approx(1 / math.sqrt(weight.sum()))
    residual = values - got.score - got.bias[:, None]
    np.testing.assert_allclose(np.nanstd(residual, axis=1), got.inconsistency, rtol=1e-6)
    np.testing.assert_allclose(np.nanmean(residual, axis=1), 0, atol=1e-6)


def test_subject_model_of_equal_observers_is_the_mean():
    _, values, _ = study(8)
    paired = np.vstack([values[0], values[0]])
    np.testing.assert_allclose(fit_subject_model(paired).score, values[0])
    flat = fit_subject_model(np.full((3, 4), 2.0))
    assert flat.score.tolist() == [2.0] * 4
    assert not flat.error.any()


def test_subject_model_holds_an_inverted_observer_down():
    truth, values, generator = study(9)
    values = np.vstack([values, np.clip(6 - truth + 0.3 * generator.normal(size=VIDEOS), 1, 5)])
    got = opinion_scores(table(values), screen=(), method="subject-model")
    plain = opinion_scores(table(values), screen=())
    assert stats.pearsonr(got.mos, truth).statistic > stats.pearsonr(plain.mos, truth).statistic
    assert np.std(got.mos - truth) < np.std(plain.mos - truth)
    assert (got.ci95 > 0).all()


def test_subject_model_needs_ratings():
    with pytest.raises(InvalidArgument, match="every observer two, got at least 1 and 1"):
        fit_subject_model(np.array([[1.0, np.nan], [2.0, 3.0]]))


# ---- tables


def written(tmp_path, text):
    path = tmp_path / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_long_and_wide_are_the_same_table(tmp_path):
    long = read_ratings(
        written(
            tmp_path,
            "\ufeffrating, Video ,observer\n3,a.mp4,ann\n4.5,b.mp4,ann\n\n"
            "2,a.mp4,bob\n5,b.mp4,bob\n1,c.mp4,bob\n",
        )
    )
    wide = read_ratings(written(tmp_path, "video,ann,bob\na.mp4,3,2\nb.mp4,4.5,5\nc.mp4,,1\n"))
    assert long.observers == wide.observers == ("ann", "bob")
    assert long.videos == wide.videos == ("a.mp4", "b.mp4", "c.mp4")
    np.testing.assert_array_equal(long.values, wide.values)
    np.testing.assert_array_equal(long.values, [[3, 4.5, np.nan], [2, 5, 1]])
    assert long.count == 5


def test_sessions_are_averaged(tmp_path):
    text = "observer,video,rating,session\na,v,2,1\na,v,3,2\na,w,1,1\nb,v,4,1\nb,w,4,1\n"
    np.testing.assert_array_equal(read_ratings(written(tmp_path, text)).values, [[2.5, 1], [4, 4]])


HEAD = "observer,video,rating\n"
GOOD = "a,v,2\na,w,3\nb,v,4\nb,w,5\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a header and ratings, got an empty file"),
        ("\n  \n", "got an empty file"),
        (HEAD, "must hold at least one rating, got none"),
        (
            HEAD + GOOD + "a,v,3\n",
            r"one per observer, video and session, got a second by observer 'a' of video 'v' "
            r"\(line 6\), first line 2",
        ),
        (HEAD + "a,v,6\n", r"must be on the scale 1\.\.5, got 6 by observer 'a' of video 'v' \(line 2\)"),
        (HEAD + "a,v,nan\n", r"must be finite numbers, got nan by observer 'a' of video 'v' \(line 2\)"),
        (HEAD + "a,v,inf\n", "must be finite numbers, got inf"),
        (HEAD + "a,v,good\n", "must be numbers, got 'good' on line 2"),
        (HEAD + "a,v,\n", "must be numbers, got '' on line 2"),
        (HEAD + ",v,3\n", r"must be named, got an empty name \(line 2\)"),
        (HEAD + GOOD + "c,v,3\n", "must have rated two videos at least, got one by 'c'"),
        (HEAD + "a,v,3\na,w,3\n", "must come from two observers at least, got 1"),
        (HEAD + "a,v\n", "rows must have the header's 3 cells, got 2 on line 2"),
        (
            "who,what,stars\na,v,3\n",
            "must be observer, video, rating, or video and one for each observer, got who",
        ),
        ("observer,video\na,v\n", "must be observer, video, rating"),
        ("video,rating\nv,3\n", "must be observer, video, rating"),
        ("video,a,a\nv,3,3\n", "columns must have names of their own, got video, a, a"),
        ("video,a,\nv,3,3\n", "columns must have names of their own"),
        ("video,a,b\nv,3,3\nv,4,4\n", "one row for each video, got 'v' on lines 2 and 3"),
        ("video,a,b\nv,3,3\nw,,\n", "every video must have a rating, got none on line 3"),
        ("video,a,b\nv,3,x\n", "must be numbers, got 'x' on line 2"),
        (HEAD + 'a,"v,3\n', "must be CSV in UTF-8, got: "),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InvalidArgument, match=message) as caught:
        read_ratings(path)
    assert caught.value.path == str(path)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(MissingFile, match="no such file"):
        read_ratings(tmp_path / "absent.csv")
    with pytest.raises(IsDirectory, match="must be a file, got a directory"):
        read_ratings(tmp_path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"observer,video,rating\nj\xfcrgen,v,3\n")
    with pytest.raises(InvalidArgument, match="must be CSV in UTF-8"):
        read_ratings(latin)


def test_scale_is_checked(tmp_path):
    path = written(tmp_path, HEAD + "a,v,60\na,w,30\nb,v,40\nb,w,50\n")
    assert read_ratings(path, scale=(0, 100)).scale == (0, 100)
    with pytest.raises(InvalidArgument, match="scale must be two finite numbers, low < high"):
        read_ratings(path, scale=(5, 1))
    with pytest.raises(
        InvalidArgument, match=r"must be finite numbers, got nan by observer 'a' of video 'v'$"
    ):
        Ratings.of([Rating("a", "v", math.nan)])
