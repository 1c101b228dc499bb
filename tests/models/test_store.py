"""The user's models: checked before they are in, whole or not there, out again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.engines.fake_tensorrt import Script, install
from tests.models.test_registry import GOOD
from tests.ops.cuda import why_not

from vqafast.engines import create_engine
from vqafast.errors import EngineUnavailable, InvalidArgument, MissingFile, ModelError, Unreadable
from vqafast.models import registry, store
from vqafast.models.model_json import weights_digest
from vqafast.models.views import backbone_shapes

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VQAFAST_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model directory whose only graph is some bytes."""

    def write(folder: str = "model", content: bytes = b"q", **changes: Any) -> Path:
        path = tmp_path / folder
        path.mkdir()
        (path / "quality.onnx").write_bytes(content)
        files = {"quality.onnx": registry.sha256(path / "quality.onnx")}
        data = {**GOOD, "files": files, "weights_sha256": weights_digest(files), **changes}
        (path / "model.json").write_text(json.dumps(data))
        (path / "notes.txt").write_text("not part of the model")
        return path

    return write


def passes(_: Path) -> None:
    """A trial that every model passes."""


def names() -> list[str]:
    return [e.name for e in store.entries() if e.origin == "user"]


def test_add_load_remove(save: Callable[..., Path], home: Path) -> None:
    tried: list[tuple[str, list[str]]] = []

    def trial(directory: Path) -> None:
        tried.append((directory.parent.name, sorted(p.name for p in directory.iterdir())))
        assert names() == []

    entry = store.add(save(), trial=trial)
    assert (entry.name, entry.origin, entry.size, entry.problem) == ("tiny", "user", 1, None)
    assert tried == [("store", ["model.json", "quality.onnx"])]
    assert sorted(p.name for p in home.iterdir()) == ["tiny"]
    spec = registry.load("tiny")
    assert spec.directory == home / "tiny"
    assert os.access(home / "tiny", os.R_OK | os.X_OK)
    store.remove("tiny")
    assert list(home.iterdir()) == []
    with pytest.raises(MissingFile, match="the name of an added model"):
        registry.load("tiny")


def test_a_name_of_ones_own(save: Callable[..., Path]) -> None:
    path = save()
    store.add(path, trial=passes, name="b-2.1")
    store.add(path, trial=passes, name="a_1")
    assert names() == ["a_1", "b-2.1"]
    assert registry.load("a_1").name == "tiny"


def test_names_that_are_taken(save: Callable[..., Path]) -> None:
    store.add(save(), trial=passes)
    other = save("other", content=b"other", version="2")
    with pytest.raises(InvalidArgument, match=r"'tiny' must not be taken \(--replace"):
        store.add(other, trial=passes)
    assert registry.load("tiny").version == "1"
    assert store.add(other, trial=passes, replace=True).spec.version == "2"  # type: ignore[union-attr]
    assert registry.load("tiny").version == "2"
    for replace in (False, True):
        with pytest.raises(InvalidArgument, match="must not be a built-in model's, got 'a2inet-lite'"):
            store.add(other, trial=passes, name="a2inet-lite", replace=replace)
    assert names() == ["tiny"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "x-", "x.", "a b", "a\nb", "a\0b", "ä", "x" * 65,
     "/etc/passwd", "~"],
)  # fmt: skip
def test_hostile_names(save: Callable[..., Path], home: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name must be 1 to 64 letters"):
        store.add(save(), trial=passes, name=name)
    with pytest.raises(MissingFile, match="name must be an added model, one of"):
        store.remove(name)
    with pytest.raises((MissingFile, ModelError)):
        registry.load(name)
    assert not home.exists()


def test_a_hostile_name_in_model_json(save: Callable[..., Path], home: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"name must be 1 to 64 letters.*got '\.\./\.\./evil'"):
        store.add(save(name="../../evil"), trial=passes)
    assert not home.exists()


def test_altered_models_stay_out(save: Callable[..., Path], tmp_path: Path, home: Path) -> None:
    path = save()
    (path / "quality.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match="must have sha256"):
        store.add(path, trial=passes)
    (path / "quality.onnx").unlink()
    with pytest.raises(ModelError, match=r"quality.onnx must be a plain file"):
        store.add(path, trial=passes)
    (tmp_path / "elsewhere").write_bytes(b"q")
    (path / "quality.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"quality.onnx must be a plain file"):
        store.add(path, trial=passes)
    with pytest.raises(MissingFile, match=r"a directory with a model.json"):
        store.add(tmp_path / "none", trial=passes)
    assert list(home.iterdir()) == []


def test_a_model_that_fails_its_trial_stays_out(save: Callable[..., Path], home: Path) -> None:
    def trial(_: Path) -> None:
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        store.add(save(), trial=trial)
    assert list(home.iterdir()) == []


def test_a_failed_replacement_keeps_the_old(save: Callable[..., Path], home: Path) -> None:
    store.add(save(), trial=passes)
    broken = save("broken", version="2")
    (broken / "quality.onnx").write_bytes(b"x")
    with pytest.raises(ModelError):
        store.add(broken, trial=passes, replace=True)
    assert registry.load("tiny").version == "1"
    assert [p.name for p in home.iterdir()] == ["tiny"]


def test_a_store_that_cannot_be_written(save: Callable[..., Path], home: Path) -> None:
    home.write_bytes(b"a file")
    with pytest.raises(Unreadable, match=r"the store \(VQAFAST_MODELS\) must be writable"):
        store.add(save(), trial=passes)
    assert names() == []


def test_the_list_keeps_broken_models(save: Callable[..., Path], home: Path) -> None:
    store.add(save(), trial=passes)
    store.add(save("other"), trial=passes, name="other")
    (home / "tiny" / "model.json").write_text("{")
    (home / "other" / "quality.onnx").unlink()
    (home / "stray file").write_text("x")
    found = {e.name: e for e in store.entries()}
    assert sorted(found) == sorted([*registry.BUILTIN, "tiny", "other"])
    assert "must be JSON" in str(found["tiny"].problem)
    assert "quality.onnx is missing" in str(found["other"].problem)
    assert found["a2inet-lite"].size > 1_000_000
    assert found["a2inet-lite"].spec is not None
    store.remove("tiny")
    assert names() == ["other"]


def test_remove_follows_no_links(tmp_path: Path, home: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    home.mkdir()
    (home / "link").symlink_to(tmp_path / "precious")
    store.remove("link")
    assert (tmp_path / "precious" / "file").exists()
    assert list(home.iterdir()) == []
    with pytest.raises(InvalidArgument, match="'a2inet-lite' is part of the installation"):
        store.remove("a2inet-lite")


def test_names_come_before_paths(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(save(), trial=passes)
    save("tiny", content=b"here", version="here")
    monkeypatch.chdir(tmp_path)
    assert registry.load("tiny").version == "1"
    assert registry.load("./tiny").version == "here"
    assert registry.load(Path("tiny")).version == "here"
    # A built-in name is never shadowed.
    (tmp_path / "store" / "tiny").rename(tmp_path / "store" / "a2inet-lite")
    assert registry.load("a2inet-lite").name == "a2inet-lite"
    assert names() == []


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    monkeypatch.setenv("VQAFAST_MODELS", "/own")
    assert registry.store_directory() == Path("/own")
    monkeypatch.delenv("VQAFAST_MODELS")
    assert registry.store_directory() == Path("/xdg/vqafast/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert registry.store_directory() == Path.home() / ".local/share/vqafast/models"


def test_export_onnx_is_a_model_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = store.export("a2inet-lite", out)
    assert sorted(p.name for p in written) == sorted(p.name for p in out.iterdir())
    assert registry.load(out).weights_sha256 == registry.load("a2inet-lite").weights_sha256
    with pytest.raises(InvalidArgument, match="out must be new or an empty directory"):
        store.export("a2inet-lite", out)
    with pytest.raises(InvalidArgument, match="out must be new or an empty directory"):
        store.export("a2inet-lite", out / "model.json")


def test_export_openvino_computes_the_same(tmp_path: Path) -> None:
    import openvino

    written = store.export("a2inet-lite", tmp_path / "ir", format="openvino")
    assert {p.suffix for p in written} == {".xml", ".bin", ".json"}
    description = json.loads((tmp_path / "ir" / "model.openvino.json").read_text())
    assert description["format"] == "openvino"
    assert description["name"] == "a2inet-lite"
    for name, digest in description["files"].items():
        assert registry.sha256(tmp_path / "ir" / name) == digest
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": openvino.Type.f32}
    spec = registry.load("a2inet-lite")
    rng = np.random.default_rng(0)
    inputs = {
        "fused": rng.standard_normal((spec.members, 8, 256)).astype(np.float32),
        "quality": rng.random((1, 8, spec.head.quality_dim), dtype=np.float32),
    }
    outputs = []
    for path in (spec.file("temporal.onnx"), tmp_path / "ir" / "temporal.xml"):
        outputs.append(core.compile_model(core.read_model(path), "CPU", settings)(inputs)[0])
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0, atol=1e-6)
    assert np.ptp(outputs[0]) > 1e-3


def test_exports_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"format must be one of onnx, openvino, tensorrt, got 'pt'"):
        store.export("a2inet-lite", tmp_path / "x", format="pt")
    with pytest.raises(MissingFile, match=r"a directory with a model.json"):
        store.export("nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(why_not() is None, reason="there is a GPU")
def test_export_of_tensorrt_plans_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"tensorrt needs an NVIDIA GPU: libcuda\.so\.1 cannot be"):
        store.export("a2inet-lite", tmp_path / "x", format="tensorrt")


def test_exported_plans_are_found_by_the_engine(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for TensorRT: that the key of what is exported is the key of what is looked for."""
    script = Script()
    install(monkeypatch, script)
    spec = registry.load("a2inet-lite")
    (path,) = store.export("a2inet-lite", tmp_path / "out", format="tensorrt", precision="f16", batch=4)
    assert path.suffix == ".plan"
    assert path.parent == tmp_path / "out" / "tensorrt"
    monkeypatch.setenv("VQAFAST_CACHE", str(tmp_path / "out"))
    for batch, built in ((4, 1), (2, 2)):
        create_engine(
            "tensorrt",
            spec.file("semantic.onnx"),
            device="cuda:0",
            precision="f16",
            shapes=backbone_shapes(spec, "semantic", batch),
        )
        assert len(script.built) == built


def test_export_openvino_of_a_broken_graph(save: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"quality.onnx cannot be converted"):
        store.export(save(), tmp_path / "ir", format="openvino")


def test_no_torch() -> None:
    code = "import sys, vqafast.models.store as s; s.entries(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("model", ["a2inet-lite", "a2inet-lite-hybrid"])
def test_the_trial_is_for_models_that_read_the_coded_stream_too(model: str) -> None:
    from vqafast.cli._trial import trial

    assert 0 <= trial(registry.builtin_directory(model)) <= 100
