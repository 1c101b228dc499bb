"""Finding files below a root, and the formats of label files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.training import label_files as files

from vqafast.errors import EngineUnavailable, InvalidArgument
from vqafast.training.datasets.files import Tree
from vqafast.training.datasets.matlab import read_info, read_mat
from vqafast.training.datasets.tables import read_csv, read_list, read_table, read_workbook

if TYPE_CHECKING:
    from pathlib import Path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_video_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    touch(tmp_path, "LSVQ/ia/747.mp4", "LSVQ/yfcc/747.mp4", "x/B.AVI")
    tree = Tree(tmp_path)
    assert tree.video("yfcc/747.mp4") == tmp_path / "LSVQ/yfcc/747.mp4"
    assert tree.video("fcc/747.mp4") is None
    assert tree.video("b.avi") == tmp_path / "x/B.AVI"
    assert tree.video("none.mp4", "./ia\\747.mp4") == tmp_path / "LSVQ/ia/747.mp4"
    with pytest.raises(InvalidArgument, match=r"one file must be named 747.mp4, got LSVQ/ia/747.mp4 and"):
        tree.video("747.mp4")


def test_exact_names_come_before_other_containers(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/a.mkv", "b.mkv", "v1.2_c.mp4")
    tree = Tree(tmp_path)
    assert tree.video("a.mkv") == tmp_path / "sub/a.mkv"
    assert tree.video("b.avi") == tmp_path / "b.mkv"
    assert tree.video("v1.2_c") == tmp_path / "v1.2_c.mp4"
    assert tree.video("v1.avi") is None


def test_the_closest_to_the_root_wins(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "copy/a.mp4")
    assert Tree(tmp_path).video("a.mp4") == tmp_path / "a.mp4"


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/passwd", "sub/../../secret.mp4"])
def test_nothing_outside_the_root_is_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "root/sub/in.mp4", "secret.mp4")
    assert Tree(tmp_path / "root").video(name) is None


def test_a_label_file_that_is_there_twice_must_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "one/labels.csv", "two/labels.csv")
    with pytest.raises(InvalidArgument, match=r"one file must match labels.csv, got one/labels.csv and"):
        Tree(tmp_path).labels(None, "labels.csv")


def test_csv_dialects(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffname;mos\r\n"a;b";1,5\r\n;\r\nc\r\n'.encode())
    assert read_csv(path) == [{"name": "a;b", "mos": "1,5"}, {"name": "c", "mos": ""}]
    path.write_bytes(b"name,mos\n\xff,1\n")
    with pytest.raises(InvalidArgument, match=r"t.csv: a label file must be UTF-8 text"):
        read_csv(path)


def test_list_lines(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("a, b.mp4, -1, -1, 3.5\n\nc.mp4,10.0,29.97,4\n")
    assert read_list(path) == [("a, b.mp4", 3.5), ("c.mp4", 4.0)]
    path.write_text("a.mp4, 3\n")
    with pytest.raises(
        InvalidArgument, match=r"l.txt:1: a line must be 'name, duration, fps, mos', got 'a.mp4, 3'"
    ):
        read_list(path)


def test_workbook_cells_keep_their_column(tmp_path: Path) -> None:
    path = files.workbook(tmp_path / "w.xlsx", {"one": [("a", "b", "c"), (1, "", "x&amp;y")], "two": []})
    assert read_workbook(path) == {"one": [["a", "b", "c"], ["1", "", "x&y"]], "two": []}
    assert read_table(path, "missing") == [{"a": "1", "b": "", "c": "x&y"}]
    (tmp_path / "bad.xlsx").write_text("no zip")
    with pytest.raises(InvalidArgument, match=r"bad.xlsx: must be an .xlsx workbook, got "):
        read_workbook(tmp_path / "bad.xlsx")


def test_matlab_73_is_read_as_matlab_shows_it(tmp_path: Path) -> None:
    names = ["a/1.avi", "b.avi", "c.avi", "d.avi", "e.avi"]
    index = np.array([[3, 1, 2, 5, 4], [2, 5, 1, 4, 3]]).T
    path = files.info(tmp_path / "info.mat", names, [1.0, 2.0, 3.0, 4.0, 5.0], index, "Some DB")
    data = read_mat(path)
    assert data["database"] == "Some DB"
    assert data["video_names"] == names
    assert data["scores"].shape == (5, 1)
    # Stored (5, 2), so that MATLAB shows one permutation a row.
    assert data["index"].shape == (2, 5)
    info = read_info(path)
    assert [list(s.train) for s in info.splits] == [[0, 1, 2, 4], [0, 1, 3, 4]]
    assert [list(s.test) for s in info.splits] == [[3], [2]]


def test_matlab_5_info_is_read_the_same(tmp_path: Path) -> None:
    index = np.stack([np.random.default_rng(k).permutation(10) + 1 for k in range(4)])
    names = [f"{i}.avi" for i in range(10)]
    files.mat5(
        tmp_path / "five.mat", video_names=files.cells(*names), scores=np.arange(10.0)[:, None],
        ref_ids=np.arange(1, 11)[:, None], index=index,
    )  # fmt: skip
    files.info(tmp_path / "seven.mat", names, np.arange(10.0), index.T)
    five, seven = read_info(tmp_path / "five.mat"), read_info(tmp_path / "seven.mat")
    assert five.names == seven.names
    for a, b in zip(five.splits, seven.splits, strict=True):
        assert (list(a.train), list(a.val), list(a.test)) == (list(b.train), list(b.val), list(b.test))


def test_other_matlab_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(b"text that is no MATLAB file" * 9)
    with pytest.raises(InvalidArgument, match=r"x.mat: must be a MATLAB file"):
        read_mat(tmp_path / "x.mat")
    (tmp_path / "y.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(600))
    with pytest.raises(InvalidArgument, match=r"y.mat: must be a MATLAB 7.3 file"):
        read_mat(tmp_path / "y.mat")
    files.mat5(tmp_path / "z.mat", scores=[1.0])
    with pytest.raises(
        InvalidArgument, match="an info file must hold video_names, scores, index and ref_ids, got"
    ):
        read_info(tmp_path / "z.mat")


def test_without_h5py_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.info(tmp_path / "i.mat", ["a", "b"], [1.0, 2.0], np.array([[1], [2]]))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EngineUnavailable, match=r"needs h5py: pip install 'vqafast\[train\]'"):
        read_mat(path)
