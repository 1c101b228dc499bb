"""The commands through Typer's runner: what is printed where, and the exit status."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import pytest
from tests import clips
from tests.scoring.random_model import export
from tests.scoring.test_assessment import validate
from typer.testing import CliRunner

from vqafast.cli import app
from vqafast.errors import EXIT_CODES
from vqafast.models.spec import Uncertainty
from vqafast.scoring.assessment import Assessment

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def vqafast(model: Path):
    def invoke(*arguments: object) -> Result:
        command, *rest = (str(a) for a in arguments)
        return CliRunner().invoke(app, [command, "--model", str(model), *rest])

    return invoke


def test_score_says_the_number_then_one_line(vqafast, clip):
    got = vqafast("score", clip)
    assert got.exit_code == 0
    assert re.fullmatch(
        r"\d+\.\d  \(0\.\.100, higher is better\)\nrandom 1, 20 frames scored, \d+\.\d\d s\n", got.stdout
    )
    assert got.stderr == ""


def test_score_quiet_is_a_bare_number(vqafast, clip):
    assert re.fullmatch(r"\d+\.\d\n", vqafast("score", clip, "-q").stdout)


def test_score_json(vqafast, clip):
    (line,) = vqafast("score", clip, "--json", "--window", "2s", "--pooling", "mean").stdout.splitlines()
    record = json.loads(line)
    assert record["path"] == str(clip)
    assert record["pooling"] == "mean"
    assert record["frames"] == 20
    assert len(record["segments"]) == 5


def test_score_windows_and_samples(vqafast, clip):
    got = vqafast("score", clip, "--window", "5s", "--samples", "3")
    assert re.search(r"^  0\.00\.\.5\.00 s  \d+\.\d$", got.stdout, re.M)
    assert re.search(r"3 draws: std \d+\.\d\d, 95% ", got.stdout)


def test_score_on_a_display(vqafast, clip):
    got = vqafast("score", clip, "--display", "400x300")
    assert re.search(r"^random 1, on a display of 400x300, 20 frames scored, ", got.stdout, re.M)
    record = json.loads(vqafast("score", clip, "--display", "400x300", "--json").stdout)
    assert record["display"] == {"width": 400, "height": 300, "shown_width": 400, "shown_height": 240}
    assert record["score"] == pytest.approx(float(got.stdout.split()[0]), abs=0.051)
    plain = json.loads(vqafast("score", clip, "--json").stdout)
    assert plain["display"] is None
    assert plain["score"] != record["score"]
    assert re.search(
        r"display +400x300, the picture on it 400x240", vqafast("assess", clip, "--display", "400x300").stdout
    )


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("models") / "ensemble"
    known = Uncertainty(0.5, 2.0, ((0.0, 1.0),), 0.9, "against nothing")
    export(directory, heads=2, uncertainty=known)

    def invoke(command: str, *arguments: object) -> Result:
        return CliRunner().invoke(app, [command, "--model", str(directory), *map(str, arguments)])

    return invoke


def test_score_says_how_far_off_it_may_be(ensemble, clip):
    got = ensemble("score", clip, "--window", "5s")
    first, *rest = got.stdout.splitlines()
    assert re.fullmatch(r"\d+\.\d \+- \d+\.\d  \(0\.\.100, higher is better\)", first)
    assert re.fullmatch(r"  0\.00\.\.5\.00 s  \d+\.\d \+- \d+\.\d", rest[0])
    record = json.loads(ensemble("score", clip, "--json").stdout)
    assert f"{record['uncertainty']['half_width']:.1f}" == first.split()[2]


def test_scripts_still_read_a_bare_number(ensemble, clip):
    """What is read by programs has no second number: --quiet, and the lines of several files."""
    assert re.fullmatch(
        r"\d+\.\d\n  0\.00\.\.9\.00 s  \d+\.\d\n.*\n", ensemble("score", clip, "-q", "--window", "9s").stdout
    )
    for line in ensemble("score", clip, clip).stdout.splitlines():
        assert re.fullmatch(rf"\d+\.\d  {re.escape(str(clip))}", line)
    rows = list(csv.DictReader(io.StringIO(ensemble("assess", clip, "--frames").stdout)))
    assert rows[0].keys() == {"index", "pts", "score"}


def test_assess_says_what_the_uncertainty_means(ensemble, clip):
    shown = " ".join(ensemble("assess", clip, "--window", "5s").stdout.split())
    assert re.search(
        r"uncertainty \+- \d+\.\d \(\d+\.\d\.\.\d+\.\d\) for 90% of videos, against nothing", shown
    )
    assert re.search(r"0\.00 │ 5\.00 │ \d+\.\d \+- \d+\.\d │ 10", shown)


def test_several_files_go_on_after_a_failure(vqafast, clip, tmp_path):
    bad, absent = tmp_path / "bad.mp4", tmp_path / "absent.mp4"
    bad.write_bytes(b"text" * 500)
    got = vqafast("score", clip, bad, absent, clip)
    lines = got.stdout.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(rf"\d+\.\d  {re.escape(str(clip))}", lines[0])
    assert lines[1] == f"  --  {bad}  error[not_a_video]"
    assert lines[2] == f"  --  {absent}  error[missing_file]"
    assert lines[3] == lines[0]
    assert got.exit_code == EXIT_CODES["not_a_video"]
    assert [line.split(":")[0] for line in got.stderr.splitlines()] == [
        "error[not_a_video]",
        "error[missing_file]",
    ]


def test_several_files_as_json_have_one_record_each(vqafast, clip, tmp_path):
    got = vqafast("score", clip, tmp_path / "absent.mp4", "--json")
    good, bad = (json.loads(line) for line in got.stdout.splitlines())
    assert good["score"] > 0
    assert bad["error"]["code"] == "missing_file"


def test_warnings_go_to_stderr(vqafast, clip):
    got = vqafast("score", clip, "--device", "auto")
    assert got.exit_code == 0
    assert got.stderr.startswith("warning[device_auto]: ")
    assert vqafast("score", clip, "--device", "auto", "--quiet").stderr == ""


def test_assess_json_is_the_assessment(vqafast, clip):
    got = vqafast("assess", clip, "--json", "--window", "2s")
    assert got.exit_code == 0
    validate(json.loads(got.stdout))
    assert len(Assessment.from_json(got.stdout).segments) == 5


def test_assess_frames_is_csv(vqafast, clip):
    rows = list(csv.DictReader(io.StringIO(vqafast("assess", clip, "--frames").stdout)))
    assert len(rows) == 20
    assert rows[1].keys() == {"index", "pts", "score"}
    assert (rows[1]["index"], rows[1]["pts"]) == ("12", "0.500000")


def test_assess_tables(vqafast, clip):
    shown = vqafast("assess", clip, "--window", "2s", "--samples", "2").stdout
    for word in ("score", "spread", "hysteresis", "h264", "segments", "frames", "decode", "total"):
        assert word in shown


@pytest.mark.parametrize("command", ["score", "assess"])
def test_failure(vqafast, command, tmp_path):
    got = vqafast(command, tmp_path)
    assert got.exit_code == EXIT_CODES["is_directory"]
    assert got.stdout == ""
    assert got.stderr.startswith("error[is_directory]: ")


def test_unexpected_errors_have_no_traceback_unless_asked(vqafast, clip, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("vqafast.scoring.pipeline.run", broken)
    got = vqafast("score", clip)
    assert got.exit_code == 1
    assert (
        got.stderr == "error[internal]: " + f"{clip}: ZeroDivisionError: oops (--debug shows the traceback)\n"
    )
    assert "Traceback" in vqafast("score", clip, "--debug").stderr
    assert "Traceback" in vqafast("assess", clip, "--debug").stderr


def test_no_traceback_for_files_that_are_no_videos(vqafast, tmp_path):
    clips.audio_only(tmp_path / "sound.mp4")
    got = vqafast("score", tmp_path / "sound.mp4", "--debug")
    assert got.exit_code == EXIT_CODES["audio_only"]
    assert "Traceback" not in got.stderr


def test_doctor():
    got = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(got.stdout)
    findings = {f["name"]: f for f in report["findings"]}
    assert {"versions", "cpu", "self-test", "decoders", "openvino", "default model"} <= set(findings)
    assert {"cuda build", "cuda driver", "torch"} <= set(findings)
    assert findings["self-test"]["status"] == "ok"
    assert [f for f in report["findings"] if f["status"] == "broken"] == []
    assert report["can_score"]
    assert got.exit_code == 0
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == got.exit_code
    assert "scoring: " in shown.stdout


def test_doctor_finds_a_damaged_installation(monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("the library is gone")

    monkeypatch.setattr("vqafast.cli._probes.PROBES", (("openvino", broken),))
    got = CliRunner().invoke(app, ["doctor"])
    assert got.exit_code == 1
    assert "the library is gone" in got.stdout
    assert "impossible" in got.stdout
