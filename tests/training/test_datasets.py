"""Readers on stand-ins with the authors' layout: names, MOS, contents, official parts, files found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.training import label_files as files

from vqafast.errors import InvalidArgument, IsDirectory, MissingFile
from vqafast.training.datasets import DATASETS, RankedPair, check, load_dataset
from vqafast.training.splits import splits

if TYPE_CHECKING:
    from pathlib import Path


def mos(data) -> dict[str, float]:
    return {item.name: item.mos for item in data.items}


CVD = [
    ("City", "Test01_City_D01", "71,17", "67,29"),
    ("Talking head", "Test01_Talking_Head_D02", "25,43", "31,65"),
    ("City", "Test04_City_D06", "4,58", "-6,50"),
]


def test_cvd2014_from_the_authors_table(tmp_path: Path) -> None:
    rows = [(*row, "", "", "", "") for row in CVD] + [("",) * 8] * 3
    header = ("Content", "File_name", "Original MOS", "Realignment MOS", "", "", "", "")
    files.table(tmp_path / "CVD2014_ratings" / "Realignment_MOS.csv", header, rows, ";")
    # On disk the folder and the file disagree about capitals.
    files.videos(tmp_path, "Test1/City/Test01_City_D01.avi", "Test1/Talking_head/test01_talking_head_D02.avi")
    data = load_dataset("cvd2014", tmp_path)
    assert mos(data) == {
        "Test1/City/Test01_City_D01.avi": 67.29,
        "Test1/Talking_head/Test01_Talking_Head_D02.avi": 31.65,
        "Test4/City/Test04_City_D06.avi": -6.5,
    }
    assert data.mos_range == (-6.5, 67.29)
    assert [i.group for i in data.items] == ["city", "talking_head", "city"]
    assert data.missing == ("Test4/City/Test04_City_D06.avi",)
    assert data.items[1].path == tmp_path / "Test1/Talking_head/test01_talking_head_D02.avi"
    assert data.items[2].path == tmp_path / "Test4/City/Test04_City_D06.avi"
    assert data.items[2].extra == {"test": 4}


def test_cvd2014_from_the_info_file_brings_its_splits(tmp_path: Path) -> None:
    names = [f"Test1/City/Test01_City_D{i:02d}.avi" for i in range(1, 6)]
    rng = np.random.default_rng(5)
    index = np.stack([rng.permutation(5) + 1 for _ in range(7)], axis=1)
    files.info(tmp_path / "CVD2014info.mat", names, [1.5, 2, 3, 4, 5], index, "CVD2014")
    data = load_dataset("cvd2014", tmp_path)
    assert mos(data) == dict(zip(names, [1.5, 2, 3, 4, 5], strict=True))
    assert len(data.splits or ()) == 7
    assert {data.items[i].name for i in splits(data, 7)[6].test} == {names[index[4, 6] - 1]}


QUALCOMM = {
    "Artifacts/0723_ManUnderTree_GS5_03_20150723_130016.yuv": 52.5,
    "Artifacts/0723_ManUnderTree_GS6_03_20150723_130100.yuv": 57.25,
    "Exposure/0911driving_5s_IMG_1.yuv": 40.0,
    "Color/0912_CheerLeader1_A.yuv": 61.0,
    "Color/0912_Cheerleader1_B.yuv": 62.0,
}


def test_live_qualcomm_from_the_authors_variables(tmp_path: Path) -> None:
    kinds = ["Artifacts", "Color", "Exposure"]
    files.mat5(
        tmp_path / "qualcommSubjectiveData.mat",
        qualcommVideoData={
            "vidNames": files.cells(*(n.split("/")[1] for n in QUALCOMM)),
            "distortionNames": files.cells(*kinds),
            "distortionType": np.array([[kinds.index(n.split("/")[0]) + 1] for n in QUALCOMM]),
        },
        qualcommSubjectiveData={"unBiasedMOS": np.array([[v] for v in QUALCOMM.values()])},
    )
    names = list(QUALCOMM)
    files.videos(tmp_path, names[0].replace(".yuv", ".mp4"))
    (tmp_path / "Exposure").mkdir()
    (tmp_path / names[2]).write_bytes(bytes(1000))
    data = load_dataset("live_qualcomm", tmp_path)
    assert mos(data) == QUALCOMM
    assert [i.group for i in data.items] == [
        "0723_manundertree", "0723_manundertree", "0911driving", "0912_cheerleader1", "0912_cheerleader1",
    ]  # fmt: skip
    assert data.missing == (names[1], names[3], names[4])
    report = check(data)
    assert (report.found, report.groups, report.complete) == (2, 3, False)
    (bad,) = report.unreadable
    assert (bad.name, bad.code) == (names[2], "not_a_video")
    assert "raw YUV has no header" in bad.message


def test_live_qualcomm_refuses_ragged_variables(tmp_path: Path) -> None:
    files.mat5(
        tmp_path / "qualcommSubjectiveData.mat",
        qualcommVideoData={"vidNames": files.cells("a", "b"), "distortionNames": files.cells("x"),
                           "distortionType": np.array([1, 2])},
        qualcommSubjectiveData={"unBiasedMOS": np.array([1.0, 2.0])},
    )  # fmt: skip
    with pytest.raises(
        InvalidArgument, match="names, distortions and scores must be as many, got 2, 2 and 2"
    ):
        load_dataset("live_qualcomm", tmp_path)


def test_live_vqc(tmp_path: Path) -> None:
    files.mat5(tmp_path / "data.mat", video_list=files.cells("A001.mp4", "A002.mp4"), mos=[[80.25], [57.5]])
    files.videos(tmp_path, "Video/A001.mp4")
    data = load_dataset("live_vqc", tmp_path)
    assert mos(data) == {"Video/A001.mp4": 80.25, "Video/A002.mp4": 57.5}
    assert data.missing == ("Video/A002.mp4",)
    listed = load_dataset("live_vqc", tmp_path, labels=files.listing(tmp_path / "LIVE_VQC.txt", mos(data)))
    assert mos(listed) == mos(data)


@pytest.mark.parametrize("attributes", [True, False])
def test_konvid1k_under_its_old_and_new_names(tmp_path: Path, attributes: bool) -> None:
    old = "3339962845_original_centercrop_960x540_8s.mp4"
    if attributes:
        header = ("flickr_id", "mediaeval_id", "file_name", "MOS", "blur")
        rows = [("3339962845", 1, old, 3.22, 9.5), ("9753414792", 2, "9753414792_cut.mp4", 3.84, 1)]
        files.table(tmp_path / "KoNViD_1k_metadata" / "KoNViD_1k_attributes.csv", header, rows)
        files.videos(tmp_path, f"KoNViD_1k_videos/{old}", "KoNViD_1k_videos/9753414792.mp4")
    else:
        rows = [("3339962845.0", 3.22), ("9753414792", 3.84)]
        files.table(tmp_path / "KoNViD_1k_mos.csv", ("flickr_id", "mos"), rows)
        files.videos(tmp_path, "KoNViD_1k_videos/3339962845.mp4", "videos/9753414792.mp4")
    data = load_dataset("konvid1k", tmp_path)
    assert mos(data) == {"KoNViD_1k_videos/3339962845.mp4": 3.22, "KoNViD_1k_videos/9753414792.mp4": 3.84}
    assert data.missing == ()
    assert check(data).complete


def test_youtube_ugc_from_workbook_and_list(tmp_path: Path) -> None:
    rows = [
        ("vid", "category", "MOS full", "MOS chunk00"),
        ("Animation_1080P-05f8", "Animation", 4.25, ""),
        ("Sports_360P-32d3", "Sports", 3.012, 3),
    ]
    path = tmp_path / "original_videos_MOS_for_YouTube_UGC_dataset.xlsx"
    files.workbook(path, {"about": [("nothing",)], "MOS": rows})
    files.videos(tmp_path, "Animation_1080P-05f8_crf_10_ss_00_t_20.0.mp4", "Sports_360P-32d3.mkv")
    data = load_dataset("youtube_ugc", tmp_path)
    assert mos(data) == {"Animation_1080P-05f8": 4.25, "Sports_360P-32d3": 3.012}
    assert data.missing == ()
    assert data.items[0].extra == {"category": "Animation"}
    names = {"Animation_1080P-05f8_crf_10_ss_00_t_20.0.mp4": 4.25}
    listed = load_dataset("youtube_ugc", tmp_path, labels=files.listing(tmp_path / "YouTubeUGC.txt", names))
    assert listed.items[0].group == data.items[0].group == "Animation_1080P-05f8"
    assert listed.items[0].path == data.items[0].path


LSVQ = [("yfcc-batch1/747", 480, 640, 67.75, False), ("ia-batch10/St._Charles_16", 480, 640, 62.5, True),
        ("yfcc-batch1/752", 240, 320, 50.9, "False")]  # fmt: skip


def test_lsvq_from_the_authors_table(tmp_path: Path) -> None:
    header = ("name", "height", "width", "mos", "is_test")
    files.table(tmp_path / "labels_train_test.csv", header, LSVQ)
    files.table(tmp_path / "labels_test_1080p.csv", header[:4], [("yfcc-batch1/722", 1080, 1920, 78.5)])
    files.videos(tmp_path, "yfcc-batch1/747.mp4", "ia-batch10/St._Charles_16.mp4", "yfcc-batch1/722.mp4")
    data = load_dataset("lsvq", tmp_path)
    assert [(i.name, i.split) for i in data.items] == [
        ("yfcc-batch1/747", "train"), ("ia-batch10/St._Charles_16", "test"), ("yfcc-batch1/752", "train"),
    ]  # fmt: skip
    assert data.missing == ("yfcc-batch1/752",)
    assert data.items[0].extra == {"height": "480", "width": "640"}
    assert mos(load_dataset("lsvq_train", tmp_path)) == {"yfcc-batch1/747": 67.75, "yfcc-batch1/752": 50.9}
    assert mos(load_dataset("lsvq_test", tmp_path)) == {"ia-batch10/St._Charles_16": 62.5}
    last = load_dataset("lsvq_1080p", tmp_path)
    assert (mos(last), last.items[0].split, last.missing) == ({"yfcc-batch1/722": 78.5}, "test", ())


def test_lsvq_from_lists(tmp_path: Path) -> None:
    files.listing(tmp_path / "train_labels.txt", {"yfcc-batch1/747.mp4": 67.75, "yfcc-batch1/752.mp4": 50.0})
    files.listing(tmp_path / "labels_test.txt", {"ia-batch1/A, B.mp4": 31.0})
    data = load_dataset("lsvq", tmp_path)
    assert check(data).official == {"test": 1, "train": 2}
    assert data.items[2].name == "ia-batch1/A, B.mp4"
    (split,) = splits(data, 1)
    assert ([data.items[i].split for i in split.test], len(split.train), len(split.val)) == (["test"], 1, 1)


def test_lsvq_refuses_a_training_list_that_holds_test_videos(tmp_path: Path) -> None:
    files.listing(tmp_path / "LSVQ_labels_test.txt", {"a/1.mp4": 1.0, "a/2.mp4": 2.0})
    wrong = files.listing(tmp_path / "all.txt", {"a/1.mp4": 1.0, "a/2.mp4": 2.0, "a/3.mp4": 3.0})
    with pytest.raises(InvalidArgument, match=r"must share no video with LSVQ_labels_test.txt, got 2 such"):
        load_dataset("lsvq", tmp_path, labels=wrong)


def test_lsvq_needs_to_know_what_is_for_testing(tmp_path: Path) -> None:
    files.table(tmp_path / "labels_train_test.csv", ("name", "mos"), [("a/1", 3.0)])
    with pytest.raises(InvalidArgument, match="must have the column is_test"):
        load_dataset("lsvq", tmp_path)


def test_kvq_groups_uploads_and_reads_ranked_pairs(tmp_path: Path) -> None:
    names = [f"train/{i:04d}.mp4" for i in range(1, 16)]
    files.table(
        tmp_path / "train_data.csv", ("filename", "score"), [(n, 1 + i / 5) for i, n in enumerate(names)]
    )
    head = ("video1", "video2", "rank")
    files.workbook(
        tmp_path / "rank-pair-train.xlsx",
        {"source": [head, (names[0], names[3], 1)], "nonsource": [head, (names[0], names[8], 2)]},
    )
    files.videos(tmp_path, *names[:14])
    data = load_dataset("kvq", tmp_path)
    groups = [i.group for i in data.items]
    assert len(set(groups[:7])) == len(set(groups[7:14])) == 1
    assert len(set(groups)) == 3
    assert data.pairs == (
        RankedPair(names[0], names[3], "homogeneous"),
        RankedPair(names[8], names[0], "non-homogeneous"),
    )
    assert data.missing == (names[14],)
    for split in splits(data, 5, ratio=(0.5, 0.5)):
        assert {groups[i] for i in split.train}.isdisjoint({groups[i] for i in split.test})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("train/0001.mp4", "train/0002.mp4", 3), "a rank must be 1 or 2, got '3' in source"),
        (("train/0001.mp4", "train/0009.mp4", 1), "pairs must be of listed videos, got 'train/0009.mp4'"),
    ],
)
def test_kvq_refuses_pairs(tmp_path: Path, row: tuple[object, ...], message: str) -> None:
    rows = [("train/0001.mp4", 2), ("train/0002.mp4", 3)]
    files.table(tmp_path / "train_data.csv", ("filename", "score"), rows)
    files.workbook(tmp_path / "rank-pair-train.xlsx", {"source": [("a", "b", "rank"), row]})
    with pytest.raises(InvalidArgument, match=message):
        load_dataset("kvq", tmp_path)


def test_lpvq_reads_regions_row_by_row(tmp_path: Path) -> None:
    scores = np.arange(49).reshape(7, 7) / 12
    header = ("name", *(f"r{i}" for i in range(49)))
    files.table(tmp_path / "LPVQ.csv", header, [("01.png", *scores.ravel())])
    (tmp_path / "01.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = load_dataset("lpvq", tmp_path)
    np.testing.assert_allclose(data.items[0].extra["regions"], scores)
    assert data.items[0].mos == pytest.approx(2.0)
    assert check(data).complete
    (tmp_path / "01.png").write_bytes(b"text")
    assert check(data).unreadable[0].code == "not_a_video"
    (tmp_path / "LPVQ.json").write_text('{"01.png": [[1, 2]]}')
    with pytest.raises(InvalidArgument, match=r"'01.png' must have 7 x 7 numbers, got \(1, 2\)"):
        load_dataset("lpvq", tmp_path, labels=tmp_path / "LPVQ.json")


def test_any_csv(tmp_path: Path) -> None:
    rows = [("a.mp4", 3, "train", "x", "me"), ("b.mp4", 4, "train", "y", ""), ("c.mp4", 5, "test", "y", "")]
    files.table(tmp_path / "labels.csv", ("name", "MOS", "split", "group", "who"), rows, "\t")
    files.videos(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    data = load_dataset("csv", tmp_path)
    assert [(i.mos, i.split, i.group) for i in data.items] == [
        (3.0, "train", "x"), (4.0, "train", "y"), (5.0, "test", "y"),
    ]  # fmt: skip
    assert data.items[0].extra == {"who": "me"}
    files.table(tmp_path / "labels.csv", ("name", "mos", "split"), [("a.mp4", 3, "training")])
    with pytest.raises(InvalidArgument, match="split must be train, val or test, got 'training'"):
        load_dataset("csv", tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a.mp4", 1), ("a.mp4", 2)], "every video must be listed once, got 'a.mp4' twice"),
        ([("a.mp4", "nan")], "MOS must be finite, got 'nan'"),
        ([("a.mp4", "inf")], "MOS must be finite, got 'inf'"),
        ([("a.mp4", "good")], "MOS must be a number, got 'good'"),
        ([("a.mp4", "")], "MOS must be a number, got ''"),
    ],
)
def test_bad_rows_are_typed_errors(tmp_path: Path, rows: list[tuple[object, ...]], message: str) -> None:
    files.table(tmp_path / "labels.csv", ("name", "mos"), rows)
    with pytest.raises(InvalidArgument, match=message):
        load_dataset("csv", tmp_path)


def test_two_rows_of_one_file_are_an_error(tmp_path: Path) -> None:
    files.table(tmp_path / "labels.csv", ("name", "mos"), [("v/a.mp4", 1), ("a.mp4", 2)])
    files.videos(tmp_path, "v/a.mp4")
    with pytest.raises(
        InvalidArgument, match=r"every file must belong to one row, got .*a.mp4 for 'v/a.mp4' and"
    ):
        load_dataset("csv", tmp_path)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="name must be one of cvd2014, "):
        load_dataset("imagenet", tmp_path)
    with pytest.raises(MissingFile, match="no such directory"):
        load_dataset("csv", tmp_path / "none")
    with pytest.raises(MissingFile, match=r"a label file must be there \(\*Realignment_MOS.csv, "):
        load_dataset("cvd2014", tmp_path)
    with pytest.raises(MissingFile, match="no such file"):
        load_dataset("csv", tmp_path, labels=tmp_path / "none.csv")
    with pytest.raises(IsDirectory, match="a label file must be a file"):
        load_dataset("csv", tmp_path, labels=tmp_path)
    files.table(tmp_path / "labels.csv", ("name", "mos"), [])
    with pytest.raises(InvalidArgument, match="got no header"):
        load_dataset("csv", tmp_path)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InvalidArgument, match="must list at least one video, got none"):
        load_dataset("konvid1k", tmp_path, labels=tmp_path / "x.txt")


def test_split_file_is_matched_by_name(tmp_path: Path) -> None:
    names = [f"{c}.mp4" for c in "abcde"]
    files.table(tmp_path / "labels.csv", ("name", "mos"), [(n, i) for i, n in enumerate(names)])
    turned = names[::-1]
    index = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]).T
    given = files.info(tmp_path / "info.mat", turned, [0.0] * 5, index)
    data = load_dataset("csv", tmp_path, split_file=given)
    # ceil(0.6 * 5 + a rounding) = 4 for training, ceil(0.8 * 5) = 4: the fifth is for testing.
    assert [[data.items[i].name for i in s.test] for s in data.splits or ()] == [["a.mp4"], ["e.mp4"]]
    marks = files.table(
        tmp_path / "s.csv", ("name", "split"), [(n, "train") for n in names[:4]] + [("e.mp4", "test")]
    )
    assert [i.split for i in load_dataset("csv", tmp_path, split_file=marks).items] == ["train"] * 4 + [
        "test"
    ]
    files.table(marks, ("name", "split"), [(names[0], "train")])
    with pytest.raises(InvalidArgument, match=r"every video must be marked .* got None for 'b.mp4'"):
        load_dataset("csv", tmp_path, split_file=marks)
    files.info(given, ["x.mp4", *turned[1:]], [0.0] * 5, index)
    with pytest.raises(InvalidArgument, match="got 4 of 5 names in common"):
        load_dataset("csv", tmp_path, split_file=given)


def test_check_names_what_cannot_be_opened(tmp_path: Path) -> None:
    rows = [("a.mp4", 1), ("b.mp4", 2), ("c.mp4", 3)]
    files.table(tmp_path / "labels.csv", ("name", "mos"), rows)
    files.videos(tmp_path, "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"no video at all")
    seen: list[str] = []
    report = check(load_dataset("csv", tmp_path), lambda item: seen.append(item.name))
    assert (report.videos, report.found, report.missing) == (3, 2, ("c.mp4",))
    assert [(u.name, u.code) for u in report.unreadable] == [("b.mp4", "not_a_video")]
    assert seen == ["a.mp4", "b.mp4", "c.mp4"]
    assert report.to_dict()["complete"] is False


def test_every_entry_says_where_it_is_from() -> None:
    for name, entry in DATASETS.items():
        assert name == "csv" or (entry.citation and entry.address.startswith("https://"))
