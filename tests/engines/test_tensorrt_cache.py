"""The cache of plans: keys, whom it trusts, whole files, two processes, and directories that do not work."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import stat
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from vqafast.engines import tensorrt_cache
from vqafast.engines.base import Shapes
from vqafast.engines.tensorrt_cache import PlanCache, PlanKey

FRAMES = Shapes((1, 3, 64, 64), (8, 3, 540, 960), (16, 3, 2160, 3840))
KEY = PlanKey(
    onnx_sha256="ab" * 32,
    tensorrt="11.4.0.106",
    gpu="NVIDIA H100",
    compute_capability=(9, 0),
    cuda=(13, 13),
    precision="f32",
    optimization_level=3,
    builder_version=1,
    profiles={"frames": FRAMES},
)
OTHER: dict[str, Any] = {
    "onnx_sha256": "cd" * 32,
    "tensorrt": "11.4.1.0",
    "gpu": "NVIDIA H200",
    "compute_capability": (10, 0),
    "cuda": (13, 12),
    "precision": "f16",
    "optimization_level": 5,
    "builder_version": 2,
    "profiles": {"frames": replace(FRAMES, usual=(4, 3, 540, 960))},
    "strongly_typed": False,
}


def no_note(text: str) -> None:
    raise AssertionError(text)


def never() -> bytes:
    raise AssertionError("built")


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "deep" / "tensorrt")


def test_every_ingredient_changes_the_key() -> None:
    assert set(OTHER) == {f.name for f in fields(PlanKey)}
    digests = {replace(KEY, **{name: value}).digest() for name, value in OTHER.items()}
    for shapes in (
        {},
        {"clip": FRAMES},
        {"frames": replace(FRAMES, smallest=(1, 3, 64, 32))},
        {"frames": replace(FRAMES, largest=(32, 3, 2160, 3840))},
        {"frames": FRAMES, "more": FRAMES},
    ):
        digests.add(replace(KEY, profiles=shapes).digest())
    digests.add(replace(KEY, cuda=(12, 13)).digest())
    assert len(digests | {KEY.digest()}) == len(OTHER) + 5 + 1 + 1


def test_nothing_else_changes_the_key() -> None:
    """Not the order of inputs, nor the process; the digest is a constant, or old caches would be lost."""
    both = {"a": FRAMES, "b": FRAMES}
    turned = {"b": FRAMES, "a": FRAMES}
    assert replace(KEY, profiles=both).digest() == replace(KEY, profiles=turned).digest()
    canonical = (
        '{"builder_version":1,"compute_capability":[9,0],"cuda":[13,13],"gpu":"NVIDIA H100",'
        f'"onnx_sha256":"{"ab" * 32}","optimization_level":3,"precision":"f32",'
        '"profiles":{"frames":{"largest":[16,3,2160,3840],"smallest":[1,3,64,64],"usual":[8,3,540,960]}},'
        '"strongly_typed":true,"tensorrt":"11.4.0.106"}'
    )
    assert KEY.digest() == hashlib.sha256(canonical.encode()).hexdigest()


def test_timing_is_shared_between_plans_of_one_gpu_and_version() -> None:
    same = [n for n, v in OTHER.items() if replace(KEY, **{n: v}).timing_digest() == KEY.timing_digest()]
    assert set(OTHER) - set(same) == {"tensorrt", "gpu", "compute_capability"}


def test_built_once_then_loaded(cache: PlanCache) -> None:
    assert cache.load(KEY, no_note) is None
    assert not cache.directory.exists()
    assert cache.obtain(KEY, lambda: b"plan", no_note) == b"plan"
    assert cache.obtain(KEY, never, no_note) == b"plan"
    assert PlanCache(cache.directory).load(KEY, no_note) == b"plan"
    other = replace(KEY, precision="f16")
    assert cache.obtain(other, lambda: b"half", no_note) == b"half"
    assert cache.obtain(KEY, never, no_note) == b"plan"


def test_files_are_private_and_described(cache: PlanCache) -> None:
    old = os.umask(0)
    try:
        cache.obtain(KEY, lambda: b"plan", no_note)
        cache.store_timing(KEY, b"times")
    finally:
        os.umask(old)
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    names = {p.name for p in cache.directory.iterdir()}
    digest = KEY.digest()
    timing = f"timing-{KEY.timing_digest()[:16]}.cache"
    assert names == {f"{digest}.plan", f"{digest}.json", f"{digest}.lock", timing}
    assert {stat.S_IMODE(p.stat().st_mode) for p in cache.directory.iterdir()} == {0o600}
    about = json.loads((cache.directory / f"{digest}.json").read_text())
    assert about["plan_sha256"] == hashlib.sha256(b"plan").hexdigest()
    assert (about["gpu"], about["tensorrt"], about["plan_bytes"]) == ("NVIDIA H100", "11.4.0.106", 4)
    assert about["profiles"]["frames"]["largest"] == [16, 3, 2160, 3840]


def spoil_contents(plan: Path) -> None:
    plan.write_bytes(b"PLAN")


def spoil_description(plan: Path) -> None:
    plan.with_suffix(".json").write_text('{"plan_sha256": ')


def spoil_description_type(plan: Path) -> None:
    plan.with_suffix(".json").write_text("[]")


def spoil_mode(plan: Path) -> None:
    plan.chmod(0o620)


def spoil_description_mode(plan: Path) -> None:
    plan.with_suffix(".json").chmod(0o602)


def spoil_link(plan: Path) -> None:
    kept = plan.rename(plan.with_name("elsewhere"))
    plan.symlink_to(kept)


def spoil_owner(plan: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(plan, 12345, -1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_contents, "its SHA-256 is not the one in its .json"),
        (spoil_description, "Expecting value"),
        (spoil_description_type, "its SHA-256 is not the one in its .json"),
        (spoil_mode, "must not be writable by others, has mode 620"),
        (spoil_description_mode, "must not be writable by others, has mode 602"),
        (spoil_link, "symbolic links"),
        (spoil_owner, "belongs to 12345"),
    ],
)
def test_what_is_not_trusted_is_built_again(cache: PlanCache, spoil: Any, why: str) -> None:
    cache.obtain(KEY, lambda: b"plan", no_note)
    spoil(cache.path(KEY))
    notes: list[str] = []
    assert cache.load(KEY, notes.append) is None
    assert cache.obtain(KEY, lambda: b"new plan", notes.append) == b"new plan"
    # Once each: what the look without the lock finds may only be a file that is being replaced.
    assert len(notes) == 2
    assert all(why in n and f"TensorRT plan {KEY.digest()}.plan is not used: " in n for n in notes)
    assert cache.obtain(KEY, never, no_note) == b"new plan"


@pytest.mark.parametrize("what", ["mode", "owner"])
def test_directories_that_others_can_write_to(
    cache: PlanCache, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.obtain(KEY, lambda: b"plan", no_note)
    cache.store_timing(KEY, b"times")
    before = {p.name: p.read_bytes() for p in cache.directory.iterdir()}
    if what == "mode":
        cache.directory.chmod(0o770)
    else:
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    notes: list[str] = []
    assert cache.obtain(KEY, lambda: b"mine", notes.append) == b"mine"
    assert [n.split(":")[0] for n in notes] == [
        f"TensorRT plan {KEY.digest()}.plan is not used",
        "TensorRT plan is not kept, and will be built again",
    ]
    assert cache.timing(KEY) == b""
    cache.store_timing(KEY, b"other times")
    # Nor is anything written there.
    assert {p.name: p.read_bytes() for p in cache.directory.iterdir()} == before


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    """What stops root too, as a full disk does: scoring goes on, and says it."""
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        cache = PlanCache(directory)
        notes: list[str] = []
        assert cache.obtain(KEY, lambda: b"plan", notes.append) == b"plan"
        assert notes[-1].startswith("TensorRT plan is not kept, and will be built again: [Errno ")
        cache.store_timing(KEY, b"times")
        assert cache.timing(KEY) == b""
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_whole_files(
    cache: PlanCache, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.obtain(KEY, lambda: b"plan", no_note)
    before = {p.name: p.read_bytes() for p in cache.directory.iterdir()}

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    if failing == "replace":
        monkeypatch.setattr(Path, "replace", full)
    elif failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        real = open
        monkeypatch.setattr(
            tensorrt_cache,
            "open",
            lambda f, m: real("/dev/full", "wb") if m == "wb" else real(f, m),
            raising=False,
        )
    notes: list[str] = []
    assert cache.obtain(KEY, lambda: b"new", notes.append, refused=b"plan") == b"new"
    assert notes == ["TensorRT plan is not kept, and will be built again: [Errno 28] No space left on device"]
    assert {p.name: p.read_bytes() for p in cache.directory.iterdir()} == before


def test_a_refused_plan_is_built_once(cache: PlanCache) -> None:
    cache.obtain(KEY, lambda: b"old", no_note)
    assert cache.obtain(KEY, lambda: b"new", no_note, refused=b"old") == b"new"
    # Another process was told the same, and came later.
    assert cache.obtain(KEY, never, no_note, refused=b"old") == b"new"


def test_a_failing_build_leaves_nothing_and_frees_the_lock(cache: PlanCache) -> None:
    def fail() -> bytes:
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        cache.obtain(KEY, fail, no_note)
    assert [p.suffix for p in cache.directory.iterdir()] == [".lock"]
    assert cache.obtain(KEY, lambda: b"plan", no_note) == b"plan"


def test_without_file_locks(cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(tensorrt_cache.fcntl, "flock", unsupported)
    assert cache.obtain(KEY, lambda: b"plan", no_note) == b"plan"
    assert cache.obtain(KEY, never, no_note) == b"plan"


def obtain_slowly(directory: Path, barrier: Any, results: Any) -> None:
    def build() -> bytes:
        time.sleep(0.5)
        results.put("built")
        return os.urandom(1 << 20)

    barrier.wait()
    plan = PlanCache(directory).obtain(KEY, build, no_note)
    results.put(hashlib.sha256(plan).hexdigest())


def test_two_processes_build_once(cache: PlanCache) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=obtain_slowly, args=(cache.directory, barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    said = [results.get(timeout=60) for _ in range(3)]
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0]
    assert said.count("built") == 1
    assert len(set(said)) == 2


def test_timing(cache: PlanCache) -> None:
    assert cache.timing(KEY) == b""
    cache.store_timing(KEY, b"times")
    assert cache.timing(replace(KEY, precision="f16", onnx_sha256="")) == b"times"
    assert cache.timing(replace(KEY, gpu="NVIDIA T4")) == b""
    cache.store_timing(KEY, b"more times")
    assert cache.timing(KEY) == b"more times"
    next(cache.directory.glob("timing-*")).chmod(0o606)
    assert cache.timing(KEY) == b""


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VQAFAST_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert PlanCache().directory == tmp_path / "own" / "tensorrt"
    monkeypatch.delenv("VQAFAST_CACHE")
    assert PlanCache().directory == tmp_path / "xdg" / "vqafast" / "tensorrt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert PlanCache().directory == tmp_path / "home" / ".cache" / "vqafast" / "tensorrt"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert PlanCache().directory.parts[-2:] == (f"vqafast-{os.geteuid()}", "tensorrt")
