"""Ladders: their numbers are the scorer's, and what does not fit is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests import clips
from tests.farm.test_report import EVIL, Page, assert_fetches_nothing

import vqafast
from vqafast import cli
from vqafast.errors import EXIT_CODES, MissingFile
from vqafast.farm.ladder import Ladder, Rung, _flagged, ladder
from vqafast.farm.report.pages import ladder_page

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = clips.Clip(width=256, height=192, frames=60, options={"crf": "10", "preset": "ultrafast"})
SIZE = (256, 192)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ladder")
    small = replace(SOURCE, width=128, height=96)
    clips.encode(root / "source.mp4", SOURCE)
    clips.encode(root / "full.mp4", replace(SOURCE, options={"crf": "38", "preset": "ultrafast"}))
    clips.encode(root / "half.mp4", small)
    clips.encode(root / "short.mp4", replace(small, frames=36))
    (root / "text.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def made(folder: Path) -> Ladder:
    names = ("full.mp4", "text.mp4", "half.mp4", "short.mp4")
    return ladder(str(folder / "source.mp4"), [str(folder / n) for n in names], window=1.0, threads=1)


def test_numbers_are_the_scorers(made: Ladder, folder: Path) -> None:
    assert made.display == SIZE
    assert [r.name for r in made.rungs] == ["source.mp4", "full.mp4", "text.mp4", "half.mp4", "short.mp4"]
    scorer = vqafast.Scorer(threads=1)
    top = scorer.assess(str(folder / "source.mp4"), display=SIZE, window=1.0)
    for rung in made.rungs:
        if rung.code is not None:
            continue
        got = scorer.assess(rung.path, display=SIZE, window=1.0)
        assert got.uncertainty is not None
        assert got.video.duration is not None
        assert (rung.score, rung.uncertainty) == (got.score, got.uncertainty.half_width)
        assert (rung.width, rung.height, rung.codec) == (got.video.width, got.video.height, "h264")
        assert rung.timeline == tuple((f.pts, f.score) for f in got.frames)
        size = (folder / rung.name).stat().st_size
        assert rung.bit_rate == pytest.approx(8 * size / got.video.duration)
        if rung is made.rungs[0]:
            assert (rung.delta, rung.worst_delta) == (None, None)
            continue
        assert rung.delta == got.score - top.score
        pairs = zip(got.segments, top.segments, strict=False)
        deltas = {mine.start: mine.score - other.score for mine, other in pairs}
        assert len(deltas) > 1
        assert (rung.worst_start, rung.worst_delta) == min(deltas.items(), key=lambda item: item[1])


def test_a_rung_of_half_the_size_is_scored_as_it_is_watched(made: Ladder) -> None:
    half = made.rungs[3]
    assert half.score != vqafast.score(half.path, threads=1)
    assert half.score == vqafast.score(half.path, display=SIZE, threads=1)


def test_what_cannot_be_scored_and_what_lasts_shorter(made: Ladder) -> None:
    assert made.first_failure is made.rungs[2]
    assert made.rungs[2].code == "not_a_video"
    assert any("lasts 1.50 s, the source 2.50 s" in note for note in made.rungs[4].notes)
    assert not any("lasts" in note for r in made.rungs[:4] for note in r.notes)


def test_a_source_that_cannot_be_scored_ends_it(folder: Path) -> None:
    with pytest.raises(MissingFile):
        ladder(str(folder / "none.mp4"), [str(folder / "half.mp4")])


def test_rungs_of_one_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "half.mp4"
    copy.write_bytes((folder / "half.mp4").read_bytes())
    rungs = ladder(str(folder / "source.mp4"), [str(folder / "half.mp4"), str(copy)], threads=1).rungs
    assert [r.name for r in rungs] == ["source.mp4", str(folder / "half.mp4"), str(copy)]
    assert rungs[1].score == rungs[2].score


def rung(name: str, rate: float | None, score: float | None, half: float = 1.0) -> Rung:
    return Rung(name, name, score, half, bit_rate=rate)


def test_more_bits_for_less() -> None:
    rungs = [rung("top", 9e6, 50.0), rung("a", 4e6, 70.0), rung("b", 2e6, 80.0), rung("c", 5e6, 69.5)]
    rungs += [rung("d", None, 1.0), rung("e", 8e6, None), rung("f", 1e6, 70.0)]
    notes = {r.name: r.notes for r in _flagged(rungs)}
    assert notes["a"] == ("costs more bits than b and scores lower",)
    assert notes["c"] == (
        "costs more bits than a and scores lower, within the uncertainty",
        "costs more bits than b and scores lower",
        "costs more bits than f and scores lower, within the uncertainty",
    )
    # The source is no rung to be dropped, and equal scores are no fault.
    assert not any(notes[name] for name in ("top", "b", "d", "e", "f"))


def test_the_page(made: Ladder) -> None:
    html = ladder_page(made, title="T")
    assert_fetches_nothing(html)
    rows = Page(html).rows("rungs")
    assert len(rows) == 5
    for row, r in zip(rows, made.rungs, strict=True):
        assert row[0] == r.name
        if r.score is None:
            assert row[1] == f"{r.code}: {r.message}"
            continue
        assert row[1] == f"{r.width}×{r.height}"
        assert row[4:6] == [f"{r.score:.1f}", f"{r.uncertainty:.1f}"]
        if r.delta is not None:
            assert row[6:8] == [f"{r.delta:+.1f}", f"{r.worst_delta:+.1f} at {r.worst_start:.1f} s"]
    # One line and one dot for each rung with a score, in the colour of its row.
    colours = ["s0", "s1", "s3", "s4"]
    assert [c for c in colours if f'class="dot {c}"' in html and f'class="line {c}"' in html] == colours
    assert 'class="dot s2"' not in html


def test_nothing_of_a_file_becomes_markup(made: Ladder) -> None:
    rungs = [replace(r, name=EVIL, codec=EVIL, notes=(EVIL,), message=EVIL) for r in made.rungs]
    html = ladder_page(replace(made, rungs=tuple(rungs), model=EVIL), title=EVIL)
    assert_fetches_nothing(html)
    assert {row[0] for row in Page(html).rows("rungs")} == {EVIL}


def test_pages_of_few_rungs(made: Ladder) -> None:
    rungs = made.rungs
    for some in (rungs[:1], (rungs[0], rungs[2]), (replace(rungs[0], bit_rate=None),)):
        assert_fetches_nothing(ladder_page(replace(made, rungs=some), title="T"))


def test_the_command(folder: Path, made: Ladder, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = [str(folder / n) for n in ("source.mp4", "full.mp4", "text.mp4", "half.mp4")]
    html = tmp_path / "ladder.html"
    options = ["--window", "1s", "--threads", "1"]
    assert cli.run(["ladder", *paths, "--html", str(html), *options]) == EXIT_CODES["not_a_video"]
    out, err = capsys.readouterr()
    assert "error[not_a_video]" in err
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    full, text = made.rungs[1], rows["text.mp4"]
    assert text == ["--", "error[not_a_video]"]
    assert rows["full.mp4"][:2] == ["256x192", "h264"]
    wanted = (
        f"{full.score:.1f}",
        f"{full.uncertainty:.1f}",
        f"{full.delta:+.1f}",
        f"{full.worst_delta:+.1f}",
    )
    assert tuple(rows["full.mp4"][3:7]) == wanted
    assert "Differences within the uncertainty" in out
    assert Page(html.read_text(encoding="utf-8")).rows("rungs")

    assert cli.run(["ladder", paths[0], paths[1], "--json", "--display", "128x96", *options]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["display"] == [128, 96]
    assert got["rungs"][1]["score"] == vqafast.score(paths[1], display=(128, 96), threads=1)
    assert got["rungs"][1]["delta"] == got["rungs"][1]["score"] - got["rungs"][0]["score"]
