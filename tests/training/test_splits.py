"""Partitions: disjoint, by content, stable, as their authors meant them."""

from __future__ import annotations

import hashlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import VideoItem
from vqafast.training.splits import Split, published_splits, random_splits, splits


def items(groups: list[str], parts: list[str] | None = None) -> list[VideoItem]:
    marks = parts or [""] * len(groups)
    return [
        VideoItem(f"v{i:03d}", Path(f"v{i}"), float(i), g, p)
        for i, (g, p) in enumerate(zip(groups, marks, strict=True))
    ]


def flat(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.train, split.val, split.test)]


@given(
    groups=st.lists(st.sampled_from("abcdefghij"), min_size=3, max_size=60).filter(
        lambda g: len(set(g)) >= 3
    ),
    seed=st.integers(0, 5),
)
def test_parts_cover_everything_once_and_share_no_content(groups: list[str], seed: int) -> None:
    for split in random_splits(groups, 4, seed):
        parts = flat(split)
        assert sorted(chain(*parts)) == list(range(len(groups)))
        contents = [{groups[i] for i in part} for part in parts]
        assert all(contents)
        assert sum(map(len, contents)) == len(set(groups))


def test_shares_are_met_where_groups_are_small() -> None:
    for split in random_splits([str(i) for i in range(1000)], 3, 0, (0.6, 0.2, 0.2)):
        assert [len(p) for p in flat(split)] == [600, 200, 200]
    (two,) = random_splits([str(i) for i in range(100)], 1, 0, (0.8, 0.2))
    assert [len(p) for p in flat(two)] == [80, 0, 20]


def test_the_same_seed_gives_the_same_partition_whatever_the_order() -> None:
    listed = items([f"g{i % 11}" for i in range(50)])
    first = splits(listed, 5, seed=3)
    turned = listed[::-1]
    for a, b in zip(first, splits(turned, 5, seed=3), strict=True):
        assert {listed[i].name for i in a.test} == {turned[i].name for i in b.test}
    assert flat(first[0]) != flat(first[1])
    assert flat(first[0]) != flat(splits(listed, 1, seed=4)[0])
    # Written out: a change of the order would silently change everybody's splits.
    order = sorted(range(10), key=lambda i: hashlib.sha256(f"0\0{0}\0{'abcdefghij'[i]}".encode()).digest())
    assert splits(items(list("abcdefghij")), 1, seed=0)[0].test.tolist() == sorted(order[8:]) == [1, 4]
    assert [flat(s) for s in splits(listed, 2, seed=3)] == [flat(s) for s in first[:2]]


def test_by_video_ignores_contents() -> None:
    listed = items(["one"] * 6 + ["two"] * 4)
    assert sum(len(p) for p in flat(splits(listed, 1, by="video")[0])) == 10
    with pytest.raises(InvalidArgument, match="3 parts need as many groups of content, got 2"):
        splits(listed, 1)


def test_official_parts() -> None:
    listed = items([f"g{i // 2}" for i in range(40)], ["train"] * 30 + ["test"] * 10)
    found = splits(listed, 3)
    for split in found:
        assert split.test.tolist() == list(range(30, 40))
        assert sorted([*split.train, *split.val]) == list(range(30))
        assert len(split.val) in (2, 4)
        assert {listed[i].group for i in split.val}.isdisjoint({listed[i].group for i in split.train})
    assert flat(found[0]) != flat(found[1])
    given_val = items(list("abc"), ["train", "val", "test"])
    assert flat(splits(given_val, 1)[0]) == [[0], [1], [2]]
    with pytest.raises(
        InvalidArgument, match=r"need items marked train and items marked test, got marks \[''\]"
    ):
        splits(items(list("abc")), 1, ratio="official")


def test_official_can_be_overruled() -> None:
    listed = items([str(i) for i in range(20)], ["train"] * 10 + ["test"] * 10)
    assert set(splits(listed, 1, ratio=(0.8, 0.2))[0].train.tolist()) & set(range(10, 20))


@pytest.mark.parametrize("n", [5, 10, 208, 234, 585, 1200])
def test_published_parts_have_the_sizes_of_the_authors_code(n: int) -> None:
    rng = np.random.default_rng(n)
    index = np.stack([rng.permutation(n) + 1 for _ in range(3)], axis=1).astype(float)
    found = published_splits(index, np.arange(1, n + 1))
    # The expressions of VSFA.py, with their rounding.
    a, b = int(np.ceil((1 - 0.2 - 0.2) * n)), int(np.ceil((1 - 0.2) * n))
    for k, split in enumerate(found):
        assert split.train.tolist() == sorted(index[:a, k].astype(int) - 1)
        assert split.val.tolist() == sorted(index[a:b, k].astype(int) - 1)
        assert split.test.tolist() == sorted(index[b:, k].astype(int) - 1)
    if n == 1200:
        assert len(found[0].train) == 721


def test_published_videos_follow_their_reference() -> None:
    # Ten videos of five references; each reference stands in the permutation twice.
    column = np.array([5, 5, 2, 2, 4, 4, 1, 1, 3, 3.0])
    (split,) = published_splits(column[:, None], [1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    # Seven of ten rows are for training (6.0000...1, rounded up); of reference 1 there is one row in it and
    # one in validation: training wins.
    assert flat(split) == [[0, 1, 2, 3, 6, 7, 8, 9], [], [4, 5]]


def test_bad_arguments() -> None:
    listed = items(list("abcdef"))
    with pytest.raises(InvalidArgument, match="n must be at least 1, got 0"):
        splits(listed, 0)
    for ratio in ((1.0,), (0.5, 0.6), (0.9, 0.2, -0.1), ()):
        with pytest.raises(InvalidArgument, match="must be 2 or 3 positive shares that add up to 1"):
            splits(listed, 1, ratio=ratio)
    with pytest.raises(InvalidArgument, match="must be shares, 'published' or 'official', got 'half'"):
        splits(listed, 1, ratio="half")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="the label file must bring published splits, got none"):
        splits(listed, 1, ratio="published")
    with pytest.raises(InvalidArgument, match=r"index must be \(3, splits\), got \(2, 2\)"):
        published_splits(np.ones((2, 2)), [1, 2, 3])
    with pytest.raises(InvalidArgument, match="every reference id must stand in index"):
        published_splits([[1], [2], [3]], [1, 2, 4])
    with pytest.raises(InvalidArgument, match="train and test must hold a video each, got 1 and 0"):
        Split(np.array([0]), np.array([1]), np.array([], dtype=np.int64))
    with pytest.raises(InvalidArgument, match="got an overlap"):
        Split(np.array([0, 1]), np.array([1]), np.array([2]))
