"""Every documented error, in its words, and with its type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vqafast import errors, ops

Q = np.ones((2, 5), np.float32)
X = np.ones((1, 3, 4, 4), np.float32)
F = np.ones((2, 5, 3), np.float32)
FULL = (F, F, F, F, F, F)
G = np.ones((2, 5, 6), np.float32)
M = np.ones((1, 6), np.float32)


def unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    return raw[1:].view(array.dtype).reshape(array.shape)


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


CASES: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (ops.hysteresis_pool, (Q[0],), {}, "hysteresis_pool: q must have 2 dimensions (B, T), got shape (5,)"),
    (
        ops.hysteresis_pool,
        (Q.astype("f2"),),
        {},
        "hysteresis_pool: q must be float32 or float64, got float16",
    ),
    (ops.hysteresis_pool, (Q.astype(">f4"),), {}, "in native byte order, got >f4"),
    (ops.hysteresis_pool, (Q.astype("c8"),), {}, "in native byte order, got complex64"),
    (
        ops.hysteresis_pool,
        (unaligned(Q),),
        {},
        "q must be aligned to its element size, got an unaligned array",
    ),
    (ops.hysteresis_pool, ([1.0],), {}, "q must be a NumPy array or have __dlpack__, got list"),
    (ops.hysteresis_pool, (Q[:, :0],), {}, "q must have at least one time step, got shape (2, 0)"),
    (ops.hysteresis_pool, (Q,), {"alpha": 1.5}, "alpha must lie in 0..1, got 1.5"),
    (ops.hysteresis_pool, (Q,), {"alpha": float("nan")}, "alpha must lie in 0..1, got nan"),
    (ops.hysteresis_pool, (Q,), {"beta": 0}, "beta must be at least 1, got 0"),
    (ops.hysteresis_pool, (Q,), {"threads": -1}, "threads must be 0 (all processors) or more, got -1"),
    (
        ops.hysteresis_pool,
        (Q,),
        {"lengths": [5]},
        "lengths must have shape (2,), one length per sample, got shape (1,)",
    ),
    (ops.hysteresis_pool, (Q,), {"lengths": [5, 6]}, "lengths must lie in 1..5, got 6"),
    (ops.hysteresis_pool, (Q,), {"lengths": [0, 5]}, "lengths must lie in 1..5, got 0"),
    (ops.hysteresis_pool, (Q,), {"lengths": [1.0, 5.0]}, "lengths must be integers, got float64"),
    (
        ops.hysteresis_pool,
        (Q,),
        {"out": (np.zeros(3, "f4"), np.zeros((2, 5), "f4"))},
        "hysteresis_pool: out[0] must have shape (2,), got shape (3,)",
    ),
    (
        ops.moment_pool,
        (X[0],),
        {},
        "moment_pool: x must have 4 dimensions (N, C, H, W) or (N, H, W, C), got shape",
    ),
    (ops.moment_pool, (X.astype("u1"),), {}, "x must be float32, float16, bfloat16 or float64, got uint8"),
    (ops.moment_pool, (X[:, :, :0],), {}, "x must have channels and pixels, got shape (1, 3, 0, 4)"),
    (ops.moment_pool, (X,), {"layout": "chwn"}, "layout must be 'nchw' or 'nhwc', got chwn"),
    (ops.moment_pool, (X,), {"out": np.zeros((1, 5), "f4")}, "out must have shape (1, 6), got shape (1, 5)"),
    (ops.moment_pool, (X,), {"out": np.zeros((1, 6), "f8")}, "out must be float32, got float64"),
    (
        ops.moment_pool,
        (X,),
        {"out": np.zeros((1, 12), "f4")[:, ::2]},
        "out must be C-contiguous, got a strided array",
    ),
    (ops.moment_pool, (X,), {"out": read_only((1, 6))}, "out must be writable, got a read-only array"),
    (ops.moment_pool, (np.ones((1,) * 7, "f4"),), {}, "x must have at most 6 dimensions, got 7"),
    (ops.cgin, (F[0], *FULL[1:]), {}, "cgin: x must have 3 dimensions (B, T, D), got shape (5, 3)"),
    (
        ops.cgin,
        (F, F[:, :4], F, F, F, F),
        {},
        "cgin: y must have the shape of x (2, 5, 3), got shape (2, 4, 3)",
    ),
    (ops.cgin, (F, F.astype("f2"), F, F, F, F), {}, "cgin: y must be float32, got float16"),
    (ops.cgin, (F, F, F, F[..., :2], F, F), {}, "cgin: theta_x must have the shape of x"),
    (ops.cgin, (F, F, F, F, F.astype("f8"), F), {}, "cgin: gamma_y must be float32, got float64"),
    (ops.cgin, (F, F, None, F, F, F), {}, "gamma_x must be given in modes 'cgin' and 'fgin', got None"),
    (ops.cgin, FULL, {"mode": "adain"}, "gamma_x must be None in mode 'adain', got a tensor"),
    (ops.cgin, FULL, {"mode": "batch"}, "mode must be 'cgin', 'fgin' or 'adain', got batch"),
    (ops.cgin, FULL, {"eps": 0.0}, "eps must be positive, got 0"),
    (ops.cgin, FULL, {"lengths": [5, 9]}, "cgin: lengths must lie in 1..5, got 9"),
    (ops.cgin, (F.astype("f2"), *FULL[1:]), {}, "cgin: x must be float32 or float64, got float16"),
    (ops.cgin_backward, (G, F[0], F, F, F), {}, "cgin_backward: x must have 3 dimensions (B, T, D), got"),
    (ops.cgin_backward, (F, F, F, F, F), {}, "grad must have shape (2, 5, 6), got shape (2, 5, 3)"),
    (ops.cgin_backward, (G.astype("f8"), F, F, F, F), {}, "grad must be float32, got float64"),
    (ops.cgin_backward, (G, F, F, None, F), {}, "gamma_x must be given in modes 'cgin' and 'fgin', got None"),
    (ops.cgin_backward, (G, F, F, None, F), {"mode": "adain"}, "gamma_y must be None in mode 'adain'"),
    (ops.cgin_backward, (G, F, F, F, F), {"eps": 0.0}, "eps must be positive, got 0"),
    (ops.cgin_backward, (G, F, F, F, F), {"lengths": [5, 9]}, "lengths must lie in 1..5, got 9"),
    (
        ops.cgin_backward,
        (G, F, F, F, F),
        {"out": (None, None, np.zeros((2, 5, 4), "f4"))},
        "out[2] must have shape (2, 5, 3), got shape (2, 5, 4)",
    ),
    (
        ops.hysteresis_pool_backward,
        (Q[:1, 0], Q, Q),
        {},
        "d_pooled must have shape (2,), got shape (1,)",
    ),
    (
        ops.hysteresis_pool_backward,
        (None, Q[:, 1:], Q),
        {},
        "d_series must have the shape of q (2, 5), got shape (2, 4)",
    ),
    (
        ops.hysteresis_pool_backward,
        (None, Q.astype("f8"), Q),
        {},
        "d_series must be float32, got float64",
    ),
    (ops.hysteresis_pool_backward, (None, None, Q), {"beta": 0}, "beta must be at least 1, got 0"),
    (ops.moment_pool_backward, (M, X[0], M), {}, "moment_pool_backward: x must have 4 dimensions"),
    (ops.moment_pool_backward, (M[:, 1:], X, M), {}, "grad must have shape (1, 6), got shape (1, 5)"),
    (ops.moment_pool_backward, (M, X, M.astype("f8")), {}, "moments must be float32, got float64"),
    (
        ops.moment_pool_backward,
        (M, X, M),
        {"layout": "chwn"},
        "layout must be 'nchw' or 'nhwc', got chwn",
    ),
    (
        ops.cgin,
        (F[:, :0],) * 6,
        {},
        "x must have at least one time step and one channel, got shape (2, 0, 3)",
    ),
]


@pytest.mark.parametrize(("op", "args", "options", "words"), CASES, ids=[case[3][:60] for case in CASES])
def test_invalid_arguments(op: Any, args: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        op(*args, **options)
    assert isinstance(caught.value, ValueError)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{op.__name__.lstrip('_')}: ")


class FakeCudaTensor:
    """A DLPack exporter that claims to live on a device; nothing may dereference it."""

    dtype = "float32"

    def __init__(self, array: np.ndarray, device: int = 2) -> None:
        self.array = array
        self.device = device

    def __dlpack__(self, **_: Any) -> Any:
        import ctypes

        capsule = self.array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        address = pointer(capsule, b"dltensor")
        ctypes.c_int32.from_address(address + 8).value = self.device
        return capsule


@pytest.mark.parametrize("op", [ops.hysteresis_pool, ops.moment_pool])
def test_other_devices_are_refused(op: Any) -> None:
    array = np.ones((2, 5) if op is ops.hysteresis_pool else (1, 2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="must be on the device of"):
        op(FakeCudaTensor(array))
    with pytest.raises(ValueError, match="must be on the CPU or a CUDA device, got DLPack device type 7"):
        op(FakeCudaTensor(array, device=7))


def test_unsupported_device_names_the_build() -> None:
    from vqafast import _core

    if _core.build_info()["cuda"]:
        pytest.skip("this build has CUDA kernels")
    x, out = np.ones((1, 2, 3, 4), np.float32), np.ones((1, 4), np.float32)
    with pytest.raises(
        errors.Unsupported, match=r"moment_pool: tensors must be on the CPU .*, got cuda:0"
    ) as caught:
        ops.moment_pool(FakeCudaTensor(x), out=FakeCudaTensor(out))
    assert isinstance(caught.value, NotImplementedError)
