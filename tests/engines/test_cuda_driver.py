"""The probe for a CUDA driver, on this machine and on drivers that fail in every known way."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.ops import cuda as device

from vqafast.engines import cuda_driver
from vqafast.engines.cuda_driver import DriverProbe, Gpu, probe, probe_library
from vqafast.errors import CudaError

NAMES = {3: b"CUDA_ERROR_NOT_INITIALIZED", 100: b"CUDA_ERROR_NO_DEVICE", 999: b"CUDA_ERROR_UNKNOWN"}


class Driver:
    """The functions of libcuda that are called, with their argument order, on two devices."""

    def __init__(self, count: int = 2, **failing: int) -> None:
        self.count = count
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu") or self.failing.get(name) == -1:
            raise AttributeError(f"undefined symbol: {name}")
        return lambda *a: self.failing.get(name, 0) or getattr(self, f"_{name}", lambda *_: 0)(*a)

    def _cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = 13020
        return 0

    def _cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.count
        return 0

    def _cuDeviceGet(self, out: Any, index: int) -> int:  # noqa: N802
        out._obj.value = index + 40
        return 0

    def _cuDeviceGetName(self, out: Any, size: int, handle: ctypes.c_int) -> int:  # noqa: N802
        assert size == len(out)
        out.value = b"NVIDIA H100" if handle.value == 40 else "Tesla \xe9".encode("latin1")
        return 0

    def _cuDeviceGetAttribute(self, out: Any, attribute: int, handle: ctypes.c_int) -> int:  # noqa: N802
        out._obj.value = {(75, 40): 9, (76, 40): 0, (75, 41): 7, (76, 41): 5}[attribute, handle.value]
        return 0

    def _cuDeviceTotalMem_v2(self, out: Any, handle: ctypes.c_int) -> int:  # noqa: N802
        out._obj.value = 85 * 10**9 + handle.value
        return 0

    def _cuGetErrorName(self, status: int, out: Any) -> int:  # noqa: N802
        if status not in NAMES:
            return 1
        out._obj.value = NAMES[status]
        return 0


def found(driver: Any) -> DriverProbe:
    asked = []

    def load(name: str) -> Any:
        asked.append(name)
        return driver

    result = probe_library(load)
    assert asked == ["libcuda.so.1"]
    return result


def test_devices_are_described() -> None:
    assert found(Driver()) == DriverProbe(
        (
            Gpu(0, "NVIDIA H100", (9, 0), 85 * 10**9 + 40),
            Gpu(1, "Tesla \ufffd", (7, 5), 85 * 10**9 + 41),
        ),
        (13, 2),
        None,
    )


def test_no_library() -> None:
    def load(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    result = probe_library(load)
    assert (result.gpus, result.driver_version) == ((), None)
    assert result.reason == (
        "libcuda.so.1 cannot be loaded (no NVIDIA driver): libcuda.so.1: cannot open shared object file"
    )


def test_a_library_that_is_something_else() -> None:
    """A real one: ctypes raises what a stub without the functions makes it raise."""
    result = probe_library(lambda _: ctypes.CDLL(None))
    assert result.gpus == ()
    assert result.reason is not None
    assert result.reason.startswith("libcuda.so.1 is not a CUDA driver: ")


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ({"cuInit": 999}, "cuInit failed with CUDA_ERROR_UNKNOWN: 999"),
        ({"cuInit": 12345}, "cuInit failed with an unknown error: 12345"),
        ({"cuDriverGetVersion": 999}, "cuDriverGetVersion failed with CUDA_ERROR_UNKNOWN: 999"),
        ({"cuDeviceGetCount": 999}, "cuDeviceGetCount failed with CUDA_ERROR_UNKNOWN: 999"),
        ({"cuDeviceGetName": 999}, "cuDeviceGetName failed with CUDA_ERROR_UNKNOWN: 999"),
        ({"cuDeviceTotalMem_v2": 999}, "cuDeviceTotalMem_v2 failed with CUDA_ERROR_UNKNOWN: 999"),
        (
            {"cuDeviceGetCount": -1},
            "libcuda.so.1 is not a CUDA driver: undefined symbol: cuDeviceGetCount",
        ),
        (
            {"cuInit": 999, "cuGetErrorName": -1},
            "libcuda.so.1 is not a CUDA driver: undefined symbol: cuGetErrorName",
        ),
    ],
)
def test_failures_say_what_failed(failing: dict[str, int], reason: str) -> None:
    result = found(Driver(**failing))
    assert (result.gpus, result.reason) == ((), reason)


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert found(Driver(0)) == DriverProbe((), (13, 2), "no CUDA device is visible")
    assert found(Driver(cuInit=100)).reason == "cuInit failed with CUDA_ERROR_NO_DEVICE: 100"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert found(Driver(0)).reason == "no CUDA device is visible (CUDA_VISIBLE_DEVICES='')"
    assert (
        found(Driver(cuInit=100)).reason
        == "cuInit failed with CUDA_ERROR_NO_DEVICE: 100 (CUDA_VISIBLE_DEVICES='')"
    )


def test_a_forked_child_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(cuda_driver, "probe_library", lambda load: asked.append(load) or len(asked))
    cuda_driver._probed.cache_clear()
    try:
        assert [probe(), probe()] == [1, 1]
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        assert probe() == 2
    finally:
        cuda_driver._probed.cache_clear()
    reason = found(Driver(cuInit=3)).reason
    assert reason is not None
    assert "CUDA_ERROR_NOT_INITIALIZED: 3 (a process that was forked" in reason


def test_this_machine() -> None:
    """In a process of its own, so that no test that forks later finds CUDA already used."""
    code = (
        "import sys\n"
        "from vqafast.engines.cuda_driver import probe\n"
        "found = probe()\n"
        "assert probe() is found\n"
        "assert 'torch' not in sys.modules and 'tensorrt' not in sys.modules\n"
        "print(len(found.gpus), found.driver_version, found.reason, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, version, reason = done.stdout.strip().split("|")
    if os.path.exists("/dev/nvidiactl"):
        assert (reason, int(count) > 0, version != "None") == ("None", True, True)
    else:
        assert (count, version) == ("0", "None")
        assert reason.startswith("libcuda.so.1 cannot be loaded (no NVIDIA driver): ")


@pytest.mark.cuda
def test_torch_sees_the_same_devices() -> None:
    torch = device.require_gpu()
    result = probe()
    assert result.reason is None
    for gpu in result.gpus:
        properties = torch.cuda.get_device_properties(gpu.index)
        assert gpu.name == properties.name
        assert gpu.compute_capability == (properties.major, properties.minor)
        assert gpu.memory == properties.total_memory


def test_the_primary_context_is_retained_once_and_made_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_contexts", {})
    calls: list[tuple[Any, ...]] = []

    class Contexts(Driver):
        def _cuDevicePrimaryCtxRetain(self, out: Any, handle: ctypes.c_int) -> int:  # noqa: N802
            out._obj.value = 1000 + handle.value
            calls.append(("retain", handle.value))
            return 0

        def _cuCtxSetCurrent(self, context: ctypes.c_void_p) -> int:  # noqa: N802
            calls.append(("current", context.value))
            return 0

    for index in (1, 1, 0):
        cuda_driver.use_primary_context(index, lambda _: Contexts())
    assert calls == [
        ("retain", 41), ("current", 1041), ("current", 1041), ("retain", 40), ("current", 1040),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ({}, None),
        ({"cuCtxSynchronize": 999}, "cuCtxSynchronize failed with CUDA_ERROR_UNKNOWN: 999"),
        ({"cuInit": 999}, "the context of GPU 0 cannot be used: cuInit failed with CUDA_ERROR_UNKNOWN: 999"),
    ],
)
def test_a_context_in_which_nothing_works(
    failing: dict[str, int], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "_contexts", {})
    assert cuda_driver.context_failure(0, lambda _: Driver(**failing)) == reason


@pytest.mark.cuda
def test_a_context_after_an_illegal_access() -> None:
    """In a process of its own, which cannot use the device any more."""
    device.require_gpu()
    code = """
import torch
from vqafast.engines.cuda_driver import context_failure
assert context_failure(0) is None
x = torch.zeros(4, device="cuda")
assert context_failure(0) is None
try:
    x[torch.tensor([1 << 40], device="cuda")].cpu()
except RuntimeError:
    pass
print(context_failure(0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cuCtxSynchronize failed with CUDA_ERROR_"), done.stdout


def test_a_context_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_contexts", {})
    with pytest.raises(CudaError, match="context of GPU 0 cannot be used: cuInit failed with CUDA_ERROR_NO_"):
        cuda_driver.use_primary_context(0, lambda _: Driver(cuInit=100))

    def missing(name: str) -> Any:
        raise OSError(f"{name}: no such file")

    with pytest.raises(CudaError, match=r"libcuda.so.1 cannot be loaded \(no NVIDIA driver\)"):
        cuda_driver.use_primary_context(0, missing)
    assert cuda_driver._contexts == {}
