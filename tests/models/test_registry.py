"""model.json: what is read is checked, and every complaint names its field."""

from __future__ import annotations

import copy
import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from vqafast.errors import MissingFile, ModelError
from vqafast.models import registry
from vqafast.models.model_json import parse, to_json, weights_digest

FILES = {"quality.onnx": hashlib.sha256(b"q").hexdigest()}
GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "version": "1",
    "family": "a2inet",
    "meaning": "m",
    "scale": {"name": "s", "min": 0, "max": 100, "direction": "higher_is_better"},
    "sampling": {"kind": "time_grid", "rate": "30000/1001", "burst": 2, "window": 4},
    "views": {
        "quality": {
            "patches": [2, 2], "size": 48, "align": 16, "output": "luma", "mean": [0.5],
            "std": [0.25], "temporal": "pair",
        },
        "semantic": {"short_side": 40, "output": "rgb", "mean": [0, 0, 0], "std": [1, 1, 1]},
    },
    "head": {
        "interaction": "cagi", "mode": "cgin", "direction": "both", "eps": 1e-5, "alpha": 0.5,
        "beta": 6, "quality_dim": 20, "semantic_dim": 120,
    },
    "calibration": {"scale": 10.0, "offset": 50.0, "clip": True},
    "files": FILES,
    "weights_sha256": weights_digest(FILES),
    "trained_on": "nothing",
    "licence": "l",
    "source": "s",
}  # fmt: skip


def test_round_trip() -> None:
    spec = parse(GOOD, Path("x"))
    assert spec.sampling.rate == Fraction(30000, 1001)
    assert parse(json.loads(json.dumps(to_json(spec))), Path("x")) == spec


def test_quality_view_defaults_and_round_trip() -> None:
    """A model.json from before these fields reads as it did, and what is set is kept."""
    old = parse(GOOD, Path("x"))
    assert (old.quality.adaptive, old.quality.features, old.quality.maps) == (False, "graph", ("luma",))
    data = copy.deepcopy(GOOD)
    data["views"]["quality"] |= {"adaptive": True, "features": "scene_statistics", "maps": ["luma", "detail"]}
    spec = parse(data, Path("x"))
    assert (spec.quality.adaptive, spec.quality.features) == (True, "scene_statistics")
    assert spec.quality.maps == ("luma", "detail")
    assert spec != old
    written = to_json(spec)
    assert written["views"]["quality"]["adaptive"] is True
    assert parse(json.loads(json.dumps(written)), Path("x")) == spec


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("schema", 2, "schema must be 1"),
        ("name", "", "name must be a non-empty string"),
        ("extra", 1, "unknown fields"),
        ("scale.min", 200, "scale.min must be < max"),
        ("scale.direction", "up", "scale.direction must be one of"),
        ("scale.max", float("nan"), "scale.max must be a finite number"),
        ("sampling.rate", 0, "sampling.rate must be a positive"),
        ("sampling.rate", "a", "sampling.rate must be a positive"),
        ("sampling.burst", 1, "burst must be 2 for pair"),
        ("sampling.burst", True, "sampling.burst must be an integer"),
        ("sampling.n", 3, "unknown fields"),
        ("views.quality.patches", None, "patches and size must be given together"),
        ("views.quality.output", "rgb", "views.quality.mean must be a list of 3"),
        ("views.quality.std", [0], "finite number in"),
        ("views.quality.adaptive", 1, "views.quality.adaptive must be true or false"),
        ("views.quality.adaptive", None, "views.quality.adaptive must be true or false"),
        ("views.quality.features", "brisque", "views.quality.features must be one of"),
        ("views.semantic.size", 3, "unknown fields"),
        ("head.mode", "x", "head.mode must be one of"),
        ("head.beta", 0, "head.beta must be an integer >= 1"),
        ("head.alpha", 2, "head.alpha must be a finite number in"),
        ("calibration.clip", 1, "calibration.clip must be true or false"),
        ("files", {"../x": "0" * 64}, "plain file names"),
        ("files", {"x": "zz"}, "hex sha256"),
        ("weights_sha256", "0", "must be the digest of files"),
        ("views", [], "views must be an object"),
    ],
)
def test_errors_name_the_field(where: str, value: object, message: str) -> None:
    data = copy.deepcopy(GOOD)
    *path, last = where.split(".")
    target = data
    for name in path:
        target = target[name]
    target[last] = value
    with pytest.raises(ModelError, match=message):
        parse(data, Path())


def test_missing_field() -> None:
    data = {k: v for k, v in GOOD.items() if k != "licence"}
    with pytest.raises(ModelError, match="licence is missing"):
        parse(data, Path())


def test_load_checks_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="a2inet-lite"):
        registry.load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelError, match="must be JSON"):
        registry.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(GOOD))
    with pytest.raises(ModelError, match=r"quality.onnx is missing"):
        registry.load(tmp_path)
    (tmp_path / "quality.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"quality.onnx must have sha256"):
        registry.load(str(tmp_path))
    (tmp_path / "quality.onnx").write_bytes(b"q")
    spec = registry.load(tmp_path)
    assert spec.file("quality.onnx") == tmp_path / "quality.onnx"
    with pytest.raises(ModelError, match=r"needs semantic.onnx"):
        spec.file("semantic.onnx")
