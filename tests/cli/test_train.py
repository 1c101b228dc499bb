"""``vqafast train``: options, where they belong, and a run from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vqafast.cli import app
from vqafast.cli._run_progress import RunProgress
from vqafast.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parents[2]


def train(*arguments: object):
    return CliRunner().invoke(app, ["train", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("torch")
    from tests.training import stand_in

    root = tmp_path_factory.mktemp("videos")
    stand_in.make_clips(root)
    return root


@pytest.fixture
def small(monkeypatch):
    """The variants' networks are too large for a test; the command hands its config to this instead."""
    from tests.training import stand_in

    from vqafast.training import runs

    seen = []
    monkeypatch.setattr(runs, "parts_of", lambda config: (seen.append(config), stand_in.parts())[1])
    return seen


def options(folder):
    return (
        "--dataset",
        "csv",
        "--root",
        folder,
        "--random-backbones",
        "--epochs",
        2,
        "--lr",
        "1e-3",
        "--device",
        "cpu",
    )


def test_a_run(folder, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got = train("a2inet", *options(folder), "--split", 1, "--batch", 4)
    assert got.exit_code == 0, got.stderr
    lines = got.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["train", "val", "test", "run:", "score"]
    assert re.fullmatch(r"test +\d+ videos  SRCC -?\d\.\d{3}  PLCC .*  RMSE \d\.\d{3}", lines[2])
    out = Path("runs/a2inet-csv-split1")
    assert lines[4] == f"score with: vqafast score --model {out}/model VIDEO"
    assert "note: random backbones (quality, semantic): the scores will measure no quality" in got.stderr
    assert re.search(r"^epoch 2: loss [\d.e-]+, lr 0.001, val_srcc ", got.stderr, re.M)
    (config,) = small
    assert (config.model, config.split, config.batch, config.epochs) == ("a2inet", 1, 4, 2)
    # The run can be scored with, by the command that it names.
    video = next(folder.glob("*.mp4"))
    scored = CliRunner().invoke(app, ["score", "--model", str(out / "model"), str(video), "-q"])
    rows = dict(line.rsplit(",", 3)[::3] for line in (out / "predictions.csv").read_text().splitlines())
    assert float(scored.stdout) == pytest.approx(float(rows[video.name]), abs=0.06)
    again = train("a2inet", *options(folder), "--split", 1, "--batch", 4, "--quiet")
    assert again.stdout == got.stdout
    assert [line for line in again.stderr.splitlines() if "random" not in line] == [
        f"note: {out}: already finished"
    ]
    refused = train("a2inet", *options(folder), "--split", 1, "--batch", 5)
    assert refused.exit_code == EXIT_CODES["invalid_argument"]
    assert "batch 4 is now 5" in refused.stderr
    assert train("a2inet", *options(folder), "--split", 1, "--batch", 5, "--no-resume").exit_code == 0


def test_a_config_file_is_overridden_by_options(folder, small, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(
        json.dumps({"dataset": "csv", "root": "elsewhere", "epochs": 7, "eta": 0.5, "export": False})
    )
    got = train("table7-ss-fe", "--config", file, *options(folder), "--out", tmp_path / "run")
    assert got.exit_code == 0, got.stderr
    (config,) = small
    assert (config.model, config.epochs, config.eta, config.root) == ("table7-ss-fe", 2, 0.5, str(folder))
    assert not (tmp_path / "run" / "model").exists()


def test_errors_name_what_must_hold(folder, tmp_path):
    for arguments, message in (
        (("a2inet",), "train: a2inet needs --dataset, got none"),
        (("a2inet", "--dataset", "csv"), "train: a2inet needs --root, got none"),
        (("a2inet", "--data", "x", "--folds", 3), "options must belong to a2inet, got --data, --folds"),
        (("a2inet-lite", "--data", "x", "--out", "y", "--lr", 1), "must belong to a2inet-lite, got --lr"),
        (("a2inet-lite", "--data", "x"), "train: a2inet-lite needs --out, got none"),
        (("a3", *options(folder), "--out", tmp_path / "x"), "model must be one of a2inet"),
        (("a2inet", *options(folder), "--precision", "f16"), "precision must be one of f32, bf16, got 'f16'"),
    ):
        got = train(*arguments)
        assert (got.exit_code, got.stdout) == (EXIT_CODES["invalid_argument"], ""), got.stderr
        assert message in got.stderr


def test_random_backbones_are_never_silent(folder, tmp_path):
    arguments = [a for a in options(folder) if a != "--random-backbones"]
    got = train("a2inet", *arguments, "--out", tmp_path / "run")
    assert got.exit_code == EXIT_CODES["missing_file"]
    assert "quality weights for resnet34_iqa must be given" in got.stderr


def test_the_default_models_training_is_called_as_before(monkeypatch):
    module = pytest.importorskip("vqafast.training.lite.train")
    calls = []
    monkeypatch.setattr(module, "train", lambda *a, **k: calls.append((a, k)))
    assert train("a2inet-lite", "--data", "in", "--out", "out").exit_code == 0
    assert train("a2inet-lite", "--data", "in", "--out", "out", "--folds", 0, "--seed", 3).exit_code == 0
    paths = {"data": Path("in"), "out": Path("out")}
    # the training's own defaults hold for what is not given
    assert calls == [((), paths), ((), {**paths, "folds": 0, "seed": 3})]


def test_ctrl_c_says_how_to_go_on(folder, small, tmp_path, monkeypatch):
    from vqafast.cli import run as command_line
    from vqafast.training import runs

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.Job, "train", interrupted)
    arguments = ["train", "a2inet", *map(str, options(folder)), "--out", str(tmp_path / "run")]
    assert command_line(arguments) == 130


def test_progress_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with RunProgress() as progress:
        progress.stage("features", 2)
        progress.advance("a[b]\x1b.mp4 computed")
        progress.stage("train", 10)
        progress.advance("epoch 1/5", 7)
        progress.epoch({"epoch": 1, "loss": 0.5})
        progress.note("[bold]careful")
    shown = capsys.readouterr().err
    assert "epoch 1: loss 0.5" in shown
    assert "note: [bold]careful" in shown
    assert "\x1b.mp4" not in shown


def test_help_needs_no_torch():
    code = "import sys; from vqafast.cli import run; sys.exit(run(['train', '-h']) or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--dataset" in done.stdout
