"""TensorRT plans: what is refused and why, what is built, and what comes from the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from tests.engines.tensorrt_graphs import PROFILES, check, model, pair  # noqa: E402

from vqafast.engines import Engine, Shapes, create_engine  # noqa: E402
from vqafast.engines.tensorrt_cache import PlanCache  # noqa: E402
from vqafast.engines.tensorrt_engine import TensorRtEngine, build_plan  # noqa: E402
from vqafast.engines.tensorrt_library import collector, started  # noqa: E402
from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError, Unreadable  # noqa: E402

if TYPE_CHECKING:
    from tests.engines.fake_tensorrt import Cuda, Script


def test_without_a_gpu_tensorrt_is_not_imported(tmp_path: Path) -> None:
    """Importing it would be an abort here; without a driver the real one ends the process when used."""
    (tmp_path / "tensorrt.py").write_text("import os\nos.abort()\n")
    code = (
        "import sys\n"
        "from vqafast.engines.tensorrt_engine import TensorRtEngine\n"
        "from vqafast.engines.cuda_driver import probe\n"
        "try:\n"
        "    TensorRtEngine(b'', device='cuda:0')\n"
        "except Exception as e:\n"
        "    print(type(e).__name__, e.code, str(e) == f'tensorrt needs an NVIDIA GPU: {probe().reason}')\n"
        "print([m for m in ('tensorrt', 'torch', 'onnx') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["EngineUnavailable engine_unavailable True", "[]"]


def test_without_tensorrt(fake: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    wanted = r"tensorrt cannot be imported: .*pip install 'vqafast\[tensorrt\]'"
    with pytest.raises(EngineUnavailable, match=wanted):
        TensorRtEngine(model(), profiles=PROFILES)


def test_nothing_else_imports_tensorrt() -> None:
    import vqafast

    importing = re.compile(r"^\s*(import|from) tensorrt\b", re.M)
    files = sorted(Path(str(vqafast.__file__)).parent.rglob("*.py"))
    assert [p.name for p in files if importing.search(p.read_text())] == ["tensorrt_library.py"]


def test_arguments(fake: Cuda, script: Script, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"one of \['f32', 'f16'\] for tensorrt, got 'bf16'"):
        TensorRtEngine(model(), precision="bf16")
    for wrong in ("cpu", "cuda:", "cuda:x", "cuda:-1", "cuda0"):
        with pytest.raises(InvalidArgument, match="device must be 'cuda' or 'cuda:N'"):
            TensorRtEngine(model(), device=wrong)
    with pytest.raises(EngineUnavailable, match="must be one of cuda:0 NVIDIA H100, got cuda:1"):
        TensorRtEngine(model(), device="cuda:1")
    with pytest.raises(ModelError, match="cannot be read"):
        TensorRtEngine(tmp_path / "none.onnx")
    for bad in (
        Shapes((2, 4), (1, 4), (8, 4)),
        Shapes((1, 4), (9, 4), (8, 4)),
        Shapes((0, 4), (1, 4), (8, 4)),
        Shapes((1, 4), (1, 4, 4), (8, 4)),
    ):
        with pytest.raises(InvalidArgument, match="'a' must have 1 <= smallest <= usual <= largest"):
            TensorRtEngine(model(), profiles={**PROFILES, "a": bad})
    assert script.built == []


def test_what_is_built(fake: Cuda, script: Script, cache: PlanCache) -> None:
    build_plan(model(), profiles=PROFILES, cache=cache)
    (built,) = script.built
    assert built.graph == model()
    # Strongly typed, in f32 without TF32, half of what is free, memory by the shapes of a call.
    assert (built.network_flags, built.level, built.flags) == (1 << 1, 3, set())
    assert built.pools == {"WORKSPACE": 4 << 30}
    assert built.previews == {"RUNTIME_ACTIVATION_RESIZE_10_10"}
    three = ((1, 4), (2, 4), (40, 4))
    assert built.profiles == [{"a": three, "b": three}]
    fake.free = 1 << 37
    build_plan(model(4.0), profiles=PROFILES, cache=cache)
    assert script.built[1].pools == {"WORKSPACE": 1 << 36}


def test_a_plan_is_built_once(fake: Cuda, script: Script, cache: PlanCache, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model())
    path = build_plan(tmp_path / "m.onnx", profiles=PROFILES, cache=cache)
    assert path.parent == cache.directory
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["onnx_sha256"] == hashlib.sha256(model()).hexdigest()
    cuda = torch.version.cuda and int(torch.version.cuda.split(".")[0])
    assert (about["gpu"], about["compute_capability"], about["cuda"]) == ("NVIDIA H100", [9, 0], [13, cuda])
    assert (about["tensorrt"], about["precision"], about["strongly_typed"]) == ("11.4.0.106", "f32", True)
    # Order of the inputs, and the kind of numbers, make no other plan.
    turned = {n: Shapes(*([np.int64(d) for d in s] for s in ((1, 4), (2, 4), (40, 4)))) for n in "ba"}
    engine = TensorRtEngine(model(), profiles=turned, cache=cache)
    check(engine, pair())
    assert engine.notes == ()
    assert len(script.built) == 1
    for changed in ({"profiles": {**PROFILES, "b": Shapes((1, 4), (2, 4), (41, 4))}}, {"precision": "f16"}):
        assert build_plan(model(), **{"profiles": PROFILES, "cache": cache, **changed}) != path
    assert len(script.built) == 3


def test_the_default_cache(
    fake: Cuda, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VQAFAST_CACHE", str(tmp_path / "own"))
    engine = create_engine("tensorrt", model(), device="cuda", shapes=PROFILES)
    assert isinstance(engine, Engine)
    assert len(list((tmp_path / "own" / "tensorrt").glob("*.plan"))) == 1


def test_a_plan_that_tensorrt_refuses(fake: Cuda, script: Script, cache: PlanCache) -> None:
    build_plan(model(), profiles=PROFILES, cache=cache)
    script.refuse_plans = 1
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    assert len(script.built) == 2
    assert engine.notes == (
        "TensorRT did not take the plan in the cache, built again: Serialization assertion failed",
    )
    check(engine, pair())
    script.refuse_plans = 2
    with pytest.raises(EngineUnavailable, match="does not take its own plan: Serialization assertion failed"):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    assert len(script.built) == 3


def test_a_new_plan_that_tensorrt_refuses(fake: Cuda, script: Script, cache: PlanCache) -> None:
    script.refuse_plans = 1
    with pytest.raises(EngineUnavailable, match="does not take its own plan"):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    assert len(script.built) == 1


def test_a_cache_that_cannot_be_written(fake: Cuda, script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    broken = PlanCache(tmp_path / "file")
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=broken)
    check(engine, pair())
    assert any("is not kept, and will be built again" in note for note in engine.notes)
    with pytest.raises(Unreadable, match=r"the plan must be kept: .*is not kept"):
        build_plan(model(), profiles=PROFILES, cache=broken)


def test_what_tensorrt_says_is_in_the_error(
    fake: Cuda, script: Script, cache: PlanCache, tmp_path: Path
) -> None:
    script.parse_errors = ["In node 1 (Conv): no weights", "In node 7 (Fancy): UNSUPPORTED_NODE"]
    (tmp_path / "m.onnx").write_bytes(model())
    with pytest.raises(ModelError, match=r"ONNX graph: In node 1 .* no weights; In node 7 .*_NODE") as caught:
        TensorRtEngine(tmp_path / "m.onnx", profiles=PROFILES, cache=cache)
    assert caught.value.path == str(tmp_path / "m.onnx")
    script.parse_errors = []
    script.build_error = "Error Code 10: could not find any implementation"
    with pytest.raises(EngineUnavailable) as failed:
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    assert str(failed.value) == f"TensorRT cannot build this graph for NVIDIA H100: {script.build_error}"
    script.build_error, script.refuse = None, {"builder"}
    with pytest.raises(EngineUnavailable, match="TensorRT cannot start: it did not say why"):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    script.refuse = set()
    logger = collector(sys.modules["tensorrt"])
    logger.log(logger.ERROR, "an old error")
    started(sys.modules["tensorrt"].Runtime, logger)
    script.start_errors = ["CUDA initialization failure with error: 35"]
    with pytest.raises(EngineUnavailable, match="TensorRT cannot start: CUDA initialization failure"):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({}, r"dynamic dimensions need shapes, got none for \['a', 'b'\]"),
        ({"a": PROFILES["a"]}, r"need shapes, got none for \['b'\]"),
        ({**PROFILES, "c": PROFILES["a"]}, r"must be of inputs \['a', 'b'\], got \['c'\]"),
        (
            {**PROFILES, "b": Shapes((1, 3), (2, 4), (8, 5))},
            r"'b' must have the form \(-1, 4\), got \(\(1, 3\)",
        ),
        ({**PROFILES, "b": Shapes((1,), (2,), (8,))}, r"'b' must have the form \(-1, 4\)"),
    ],
)
def test_profiles_that_do_not_fit(
    fake: Cuda, script: Script, cache: PlanCache, profiles: dict[str, Shapes], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        TensorRtEngine(model(), profiles=profiles, cache=cache)
    script.refuse = {"add"}
    with pytest.raises(InvalidArgument, match="shapes were not taken"):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    script.refuse = {"set_shape"}
    with pytest.raises(InvalidArgument, match="shapes were not taken: Shape provided for min"):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
