"""``vqafast dataset``: what it prints and returns."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from tests.training import label_files as files
from typer.testing import CliRunner

from vqafast import cli
from vqafast.errors import EXIT_CODES

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def vqafast(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["dataset", *(str(a) for a in arguments)])


@pytest.fixture
def konvid(tmp_path: Path) -> Path:
    rows = [("3339962845", 3.22), ("9753414792", 3.84), ("6935410837", 2.5)]
    files.table(tmp_path / "KoNViD_1k_mos.csv", ("flickr_id", "mos"), rows)
    files.videos(tmp_path, *(f"KoNViD_1k_videos/{name}.mp4" for name, _ in rows))
    return tmp_path


def test_list_names_every_dataset() -> None:
    got = vqafast("list")
    assert got.exit_code == 0
    assert [line.split()[0] for line in got.stdout.splitlines()][:4] == [
        "cvd2014",
        "live_qualcomm",
        "live_vqc",
        "konvid1k",
    ]
    rows = json.loads(vqafast("list", "--json").stdout)
    assert {r["name"]: r["videos"] for r in rows}["konvid1k"] == 1200


def test_a_complete_dataset(konvid: Path) -> None:
    got = vqafast("check", "konvid1k", "--root", konvid)
    assert got.exit_code == 0, got.stderr
    lines = dict(line.split(None, 1) for line in got.stdout.splitlines()[1:])
    assert lines["listed"] == "3 videos, 3 contents"
    assert (lines["found"], lines["missing"], lines["unreadable"]) == ("3", "0", "0")
    assert lines["MOS"] == "2.5..3.84"
    assert lines["splits"] == "none official: random by content"


def test_missing_and_unreadable_are_named_and_change_the_status(konvid: Path) -> None:
    (konvid / "KoNViD_1k_videos" / "9753414792.mp4").write_bytes(b"garbage that is no video")
    got = vqafast("check", "konvid1k", "--root", konvid, "-q")
    assert got.exit_code == EXIT_CODES["not_a_video"]
    assert "unreadable [not_a_video]: " in got.stdout
    assert got.stderr == ""
    (konvid / "KoNViD_1k_videos" / "6935410837.mp4").unlink()
    got = vqafast("check", "konvid1k", "--root", konvid, "--json")
    assert got.exit_code == EXIT_CODES["missing_file"]
    report = json.loads(got.stdout)
    assert (report["videos"], report["found"], report["complete"]) == (3, 2, False)
    assert report["missing"] == ["KoNViD_1k_videos/6935410837.mp4"]
    assert [u["code"] for u in report["unreadable"]] == ["not_a_video"]


def test_long_lists_are_cut_unless_asked_for(tmp_path: Path) -> None:
    labels = files.listing(tmp_path / "KoNViD.txt", {f"{i}.mp4": 1 + i / 10 for i in range(30)})
    got = vqafast("check", "konvid1k", "--root", tmp_path, "--labels", labels)
    assert got.stdout.count("\nmissing: ") == 20
    assert got.stdout.endswith("and 10 more; --quiet or --json names all\n")
    assert vqafast("check", "konvid1k", "--root", tmp_path, "-q").stdout.count("\nmissing: ") == 30


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = vqafast("check", "konvid", "--root", tmp_path)
    assert (got.exit_code, "name must be one of cvd2014, " in got.stderr) == (2, True)
    got = vqafast("check", "konvid1k", "--root", tmp_path)
    assert (got.exit_code, "a label file must be there" in got.stderr) == (3, True)
    for name in [n for n in sys.modules if n.startswith("vqafast.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vqafast.training.datasets.table", None)
    got = vqafast("list")
    assert got.exit_code == EXIT_CODES["engine_unavailable"]
    assert "pip install 'vqafast[train]'" in got.stderr
