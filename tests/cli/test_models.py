"""``vqafast models`` through Typer's runner, with real models."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.ops.cuda import why_not
from typer.testing import CliRunner

from vqafast.cli import app
from vqafast.errors import EXIT_CODES
from vqafast.models import registry
from vqafast.models.model_json import to_json, weights_digest

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VQAFAST_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def vqafast(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def models(*arguments: object) -> Result:
    return vqafast("models", *arguments)


def test_list(model: Path) -> None:
    assert models("add", model, "--name", "mine").exit_code == 0
    header, *lines = models("list").stdout.splitlines()
    assert header.split() == [
        "name", "version", "origin", "family", "scale", "licence", "size", "sha256"
    ]  # fmt: skip
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) == {*registry.BUILTIN, "mine"}
    spec = registry.load("mine")
    assert re.search(r"^mine +1 +user +a2inet +random 0\.\.100, higher is better +Apache-2.0 ", rows["mine"])
    assert rows["mine"].endswith(spec.weights_sha256[:12])
    records = {r["name"]: r for r in json.loads(models("list", "--json").stdout)}
    assert records["mine"]["weights_sha256"] == spec.weights_sha256
    assert records["mine"]["size"] == sum((spec.directory / f).stat().st_size for f in spec.files)
    assert records["a2inet-lite"]["origin"] == "builtin"


def test_list_names_what_is_broken(model: Path, home: Path) -> None:
    models("add", model)
    (home / "random" / "model.json").write_text("{")
    got = models("list")
    assert got.exit_code == 0
    assert "a2inet-lite" in got.stdout
    assert got.stderr.startswith("error[model_error]: random: model.json must be JSON")
    record = next(r for r in json.loads(models("list", "--json").stdout) if r["name"] == "random")
    assert record["error"]["code"] == "model_error"


def test_info_says_everything() -> None:
    spec = registry.load()
    data = json.loads(models("info", spec.name, "--json").stdout)
    assert data["directory"] == str(spec.directory)
    assert data["size"] > 0
    told = to_json(spec)
    assert {k: data[k] for k in told} == told
    text = models("info", spec.name).stdout

    def leaves(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [leaf for v in value.values() for leaf in leaves(v)]
        if isinstance(value, list):
            return [leaf for v in value for leaf in leaves(v)]
        return [value if isinstance(value, str) else json.dumps(value)]

    missing = [leaf for leaf in leaves(told) if leaf not in text]
    assert missing == []


def test_info_checks_the_files(model: Path, tmp_path: Path) -> None:
    assert models("export", model, "--out", tmp_path / "copy").exit_code == 0
    assert "name: random" in models("info", tmp_path / "copy").stdout
    (tmp_path / "copy" / "temporal.onnx").write_bytes(b"x")
    got = models("info", tmp_path / "copy")
    assert got.exit_code == EXIT_CODES["model_error"]
    assert "temporal.onnx must have sha256" in got.stderr


def test_info_of_nothing() -> None:
    got = models("info", "none")
    assert got.exit_code == EXIT_CODES["model_error"]
    assert "got 'none'" in got.stderr


def test_an_added_model_scores_by_its_name(model: Path, clip: Path) -> None:
    got = models("add", model)
    assert (got.exit_code, got.stdout) == (0, "added random 1: vqafast score --model random PATH\n")
    by_name = vqafast("score", clip, "-q", "--model", "random").stdout
    assert re.fullmatch(r"\d+\.\d\n", by_name)
    assert by_name == vqafast("score", clip, "-q", "--model", model).stdout
    again = models("add", model)
    assert again.exit_code == EXIT_CODES["invalid_argument"]
    assert "--replace" in again.stderr
    assert models("add", model, "--replace").exit_code == 0
    assert models("remove", "random").stdout == "removed random\n"
    assert vqafast("score", clip, "--model", "random").exit_code == EXIT_CODES["model_error"]
    assert models("remove", "random").exit_code == EXIT_CODES["missing_file"]


def test_a_model_that_does_not_score_is_not_added(model: Path, tmp_path: Path, home: Path) -> None:
    """A graph with NaN in it loads, and its hash is right."""
    onnx = pytest.importorskip("onnx")
    bad = tmp_path / "nan"
    assert models("export", model, "--out", bad).exit_code == 0
    graph = onnx.load(bad / "temporal.onnx")
    bias = next(t for t in graph.graph.initializer if t.name.endswith("regress.bias"))
    nan = onnx.numpy_helper.from_array(np.full(tuple(bias.dims), np.nan, np.float32), bias.name)
    bias.CopyFrom(nan)
    onnx.save(graph, bad / "temporal.onnx")
    data = json.loads((bad / "model.json").read_text())
    data["files"]["temporal.onnx"] = registry.sha256(bad / "temporal.onnx")
    data["weights_sha256"] = weights_digest(data["files"])
    (bad / "model.json").write_text(json.dumps(data))
    assert models("info", bad).exit_code == 0
    got = models("add", bad)
    assert got.exit_code == EXIT_CODES["model_error"]
    assert "must give finite scores" in got.stderr
    assert list(home.iterdir()) == []


def test_export_formats(model: Path, tmp_path: Path) -> None:
    got = models("export", model, "--out", tmp_path / "ir", "--format", "openvino")
    assert got.exit_code == 0
    assert str(tmp_path / "ir" / "temporal.xml") in got.stdout.splitlines()


@pytest.mark.skipif(why_not() is None, reason="there is a GPU")
def test_export_of_tensorrt_plans_needs_a_gpu(model: Path, tmp_path: Path) -> None:
    refused = models("export", model, "--out", tmp_path / "trt", "--format", "tensorrt")
    assert refused.exit_code == EXIT_CODES["engine_unavailable"]
    assert "tensorrt needs an NVIDIA GPU" in refused.stderr


def test_what_finds_exported_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another precision or batch would build plans of its own."""
    pytest.importorskip("onnx")
    pytest.importorskip("torch")
    from tests.engines.fake_tensorrt import Script, install

    install(monkeypatch, Script())
    out = tmp_path / "my plans"
    asked = ("--format", "tensorrt", "--device", "cuda:0", "--precision", "f16", "--batch", 4)
    got = models("export", "a2inet-lite", "--out", out, *asked)
    assert got.exit_code == 0
    assert got.stdout.splitlines()[-1] == (
        f"VQAFAST_CACHE='{out}' vqafast score --model a2inet-lite --engine tensorrt --device cuda:0 "
        "--precision f16 --batch 4 ... finds them"
    )


def test_bare_command_explains_itself() -> None:
    got = models()
    assert got.exit_code == 0
    assert all(word in got.stdout for word in ("list", "info", "export", "add", "remove"))
