"""``vqafast mos`` from a table on disk to one that a dataset reader takes."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("scipy")

from vqafast.cli import app
from vqafast.errors import EXIT_CODES


@pytest.fixture
def ratings(tmp_path):
    """Twelve good observers, one who turned the scale, in a wide table."""
    generator = np.random.default_rng(0)
    truth = np.linspace(1.5, 4.5, 40)
    values = truth + 0.4 * generator.normal(size=(12, 40))
    values = np.clip(np.round(2 * np.vstack([values, 6 - truth])) / 2, 1, 5)
    path = tmp_path / "ratings.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", *(f"o{i}" for i in range(12)), "turned"])
        writer.writerows([f"clip{j:02}.mp4", *column] for j, column in enumerate(values.T))
    return path


def mos(*arguments):
    return CliRunner().invoke(app, ["mos", *(str(a) for a in arguments)])


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_writes_scores_and_says_what_was_removed(ratings, tmp_path):
    got = mos(ratings, "-o", tmp_path / "mos.csv")
    assert got.exit_code == 0, got.stderr
    first, removed, who, outliers = got.stdout.splitlines()
    assert first == "40 videos scored from 480 of 520 ratings, 12 of 13 observers"
    assert removed == "observers removed: 1, with 40 ratings"
    assert who.startswith("  turned: correlation with the others -0.9")
    assert who.endswith("below 0.7 (40 ratings)")
    assert outliers.startswith("outlying ratings removed: 0 (")
    scores = rows((tmp_path / "mos.csv").read_text())
    assert list(scores[0]) == ["name", "mos", "ci95", "n"]
    assert [row["name"] for row in scores] == [f"clip{j:02}.mp4" for j in range(40)]
    assert {row["n"] for row in scores} == {"12"}
    error = np.array([float(row["mos"]) for row in scores]) - np.linspace(1.5, 4.5, 40)
    assert np.abs(error).mean() < 0.15


def test_without_out_the_table_is_alone_on_stdout(ratings):
    got = mos(ratings, "--screen", "none", "--outliers", "range", "--interval", "student")
    assert got.exit_code == 0
    assert len(rows(got.stdout)) == 40
    assert got.stderr.splitlines()[1] == "observers removed: 0, with 0 ratings"
    assert got.stderr.splitlines()[-1].startswith("outlying ratings removed: ")
    assert int(got.stderr.split()[-1]) == 520 - sum(int(row["n"]) for row in rows(got.stdout))


def test_subject_model(ratings):
    got = mos(ratings, "--screen", "none", "--method", "subject-model")
    plain = mos(ratings, "--screen", "none")
    error = {
        name: np.std([float(r["mos"]) for r in rows(run.stdout)] - np.linspace(1.5, 4.5, 40))
        for name, run in (("model", got), ("mean", plain))
    }
    assert error["model"] < error["mean"]


def test_a_video_without_a_rating_left_is_named(tmp_path):
    path = tmp_path / "r.csv"
    lines = [f"o{i},split.mp4,{1 if i % 2 else 5}\no{i},other.mp4,{3 + i % 2}" for i in range(20)]
    path.write_text("observer,video,rating\n" + "\n".join(lines) + "\n")
    got = mos(path, "--screen", "none", "--outliers", "interval")
    assert got.exit_code == 0
    assert "warning[no_rating_left]: split.mp4: no rating is left, no score" in got.stderr.splitlines()
    assert "split.mp4" not in got.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--scale", "1,3"], "invalid_argument", "must be on the scale 1..3, got "),
        (["--scale", "five"], "invalid_argument", "scale: must be two numbers like 1,5, got 'five'"),
        (["--screen", "all"], "invalid_argument", "mos: screen must be of correlation, bt500, got 'all'"),
        (["--out", "/nowhere/at/all.csv"], "invalid_argument", "out: must be a file that can be written"),
    ],
)
def test_errors(ratings, arguments, code, message):
    got = mos(ratings, *arguments)
    assert got.exit_code == EXIT_CODES[code]
    assert got.stderr.startswith(f"error[{code}]: ")
    assert message in got.stderr
    assert got.stdout == ""


def test_a_missing_table(tmp_path):
    got = mos(tmp_path / "absent.csv")
    assert got.exit_code == EXIT_CODES["missing_file"]
    assert got.stderr == f"error[missing_file]: {tmp_path / 'absent.csv'}: no such file\n"
