"""Parsing of options and the forms of errors, without scoring anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.ops.cuda import why_not

from vqafast import cli
from vqafast.cli._options import seconds
from vqafast.cli._report import describe, fail, printable
from vqafast.errors import EXIT_CODES, InvalidArgument, NotAVideo

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("text", "value"),
    [("2s", 2), ("2", 2), ("500ms", 0.5), ("1.5m", 90), ("1h", 3600), (" 2 s ", 2), (".5", 0.5)],
)
def test_lengths(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "2x", "-1s", "0", "0ms", "nan", "1e3", "2 2"])
def test_bad_lengths(text):
    with pytest.raises(InvalidArgument, match="window: must be"):
        seconds(text)


def test_exit_codes_are_documented():
    table = re.findall(r"^\| (\d+) \| (\w+) \|", (DOCS / "exit_codes.md").read_text(), re.M)
    assert {code: int(status) for status, code in table} == EXIT_CODES


def test_error_line(capsys):
    assert fail("not_a_video", "must be a video", "a\nb.txt") == EXIT_CODES["not_a_video"]
    assert capsys.readouterr().err == "error[not_a_video]: a\\nb.txt: must be a video\n"


def test_path_is_said_once(capsys):
    fail("not_a_video", "clip.txt: must be a video", "clip.txt")
    assert capsys.readouterr().err == "error[not_a_video]: clip.txt: must be a video\n"


def test_nothing_steers_the_terminal():
    assert printable("a\x1b[31mé\r\n\udc80") == "a\\x1b[31mé\\r\\n\\udc80"


def test_traceback_only_under_debug(capsys):
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError as caught:
        error = caught
    assert describe(error, debug=False) == (
        "internal",
        "ZeroDivisionError: oops (--debug shows the traceback)",
    )
    assert capsys.readouterr().err == ""
    assert describe(error, debug=True) == ("internal", "ZeroDivisionError: oops")
    assert "Traceback" in capsys.readouterr().err
    assert describe(NotAVideo("x"), debug=True) == ("not_a_video", "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score"], r"Missing argument"),
        (["score", "x", "--nonsense"], r"No such option"),
        (["score", "x", "--threads", "many"], r"Invalid value"),
        (["score", "x", "--pooling", "median"], r"pooling: must be one of hysteresis, sitp, raw_mean, mean"),
        (["score", "x", "--window", "soon"], r"window: must be a length like 2s"),
        (["score", "x", "--threads", "-1"], r"threads: must be 0"),
        (["score", "x", "--samples", "0"], r"samples: must be in 1\.\.1000, got 0"),
        (["score", "x", "--batch", "0"], r"batch: must be at least 1, got 0"),
        (["score", "x", "--display", "big"], r"display: must be width and height like 1920x1080, got 'big'"),
        (
            ["assess", "x", "--display", "9x9"],
            r"display: width and height must be whole numbers in 32\.\.8192",
        ),
        (["score", "x", "--device", "tpu"], r"device: must be cpu, cuda, cuda:N or auto"),
        (["assess", "x", "--json", "--frames"], r"not both"),
        (["nonsense"], r"No such command"),
    ],
)
def test_wrong_arguments_exit_2(capsys, arguments, message):
    assert cli.run(arguments) == EXIT_CODES["invalid_argument"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.match(r"error\[invalid_argument\]: .*" + message, captured.err)
    assert captured.err.count("\n") == 1


@pytest.mark.skipif(why_not() is None, reason="there is a GPU")
def test_cuda_says_why_not(capsys):
    assert cli.run(["score", "x", "--device", "cuda"]) == EXIT_CODES["engine_unavailable"]
    assert "device: cuda cannot be used: libcuda.so.1 cannot be loaded" in capsys.readouterr().err


def test_an_engine_that_does_not_run_there(capsys):
    assert cli.run(["score", "x", "--engine", "tensorrt"]) == EXIT_CODES["unsupported"]
    assert "engine tensorrt runs on cuda, got device 'cpu'" in capsys.readouterr().err


def test_wrong_model_lists_what_there_is(capsys):
    assert cli.run(["score", "x", "--model", "nonsense"]) == EXIT_CODES["model_error"]
    assert "a2inet-lite" in capsys.readouterr().err


def test_version(capsys):
    assert cli.run(["version"]) == 0
    assert re.fullmatch(r"vqafast \d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_and_no_arguments(capsys):
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("score", "assess", "doctor", "version"):
        assert re.search(rf"^\s+{command}\s", shown, re.M)
