"""The CUDA kernels, with the samples, layouts and tolerances of the CPU's.

They need a GPU, or a build that emulates them. FAIL_WITHOUT_CUDA=1 makes a run that finds none fail instead
of skipping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.ops import cuda
from tests.ops.samples import CASES as FORWARD_CASES
from tests.ops.samples import OpCase, Sample
from tests.ops.samples_backward import BACKWARD_CASES
from tests.ops.samples_statistics import MAPS, SAMPLES, frames_of, tolerance_of, truth_of
from tests.ops.test_ops_contract import LAYOUTS, check

from vqafast import _core, ops

pytestmark = pytest.mark.cuda

CASES = (*FORWARD_CASES, *BACKWARD_CASES)
ALL = [
    pytest.param(case, sample, id=f"{case.name}-{sample.name}") for case in CASES for sample in case.samples
]


@pytest.fixture(autouse=True)
def _kernels() -> None:
    cuda.require_kernels()


def run(case: OpCase, sample: Sample, arrays: dict[str, Any], **more: Any) -> tuple[np.ndarray, ...]:
    options = dict(sample.options)
    if "lengths" in options:
        options["lengths"] = cuda.to_device(np.asarray(options["lengths"], dtype=np.int64))
    given = {name: cuda.to_device(array) for name, array in arrays.items()}
    outs = tuple(cuda.nan_like(shape, case.dtype_of(sample)) for shape in case.out_shapes(sample))
    if case.name == "moment_pool":
        layout = options.get("layout", "nchw")
        doubles = _core.moment_pool_workspace(given["x"], layout)
        more["workspace"] = cuda.nan_like((doubles,), np.float64)
    results = case.run(given, options, out=outs if len(outs) > 1 else outs[0], **more)
    assert all(result is out for result, out in zip(results, outs, strict=True))
    return tuple(cuda.to_host(out) for out in outs)


@pytest.mark.parametrize(("case", "sample"), ALL)
def test_parity(case: OpCase, sample: Sample) -> None:
    check(case, sample, run(case, sample, sample.arrays))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("reversed", "read_only")])
@pytest.mark.parametrize(("case", "sample"), ALL)
def test_any_strides(case: OpCase, sample: Sample, layout: str) -> None:
    arrays = {k: v if v is None else LAYOUTS[layout](v) for k, v in sample.arrays.items()}
    check(case, sample, run(case, sample, arrays))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_runs_give_the_same_bits(case: OpCase) -> None:
    for sample in case.samples:
        first = run(case, sample, sample.arrays)
        for a, b in zip(first, run(case, sample, sample.arrays), strict=True):
            assert a.tobytes() == b.tobytes()


def large(case: OpCase) -> Sample:
    """Enough for every multiprocessor, with sizes that no tile divides."""
    rng = np.random.default_rng(7)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32) + 3

    name = case.name.removesuffix("_backward")
    if name == "hysteresis_pool":
        arrays: dict[str, Any] = {"q": normal(70, 613)}
        if name != case.name:
            arrays = {"d_pooled": normal(70), "d_series": normal(70, 613)} | arrays
    elif name == "moment_pool":
        arrays = {"x": normal(3, 67, 131, 197)}
        if name != case.name:
            arrays = {"grad": normal(3, 134)} | arrays | {"moments": ops.moment_pool(arrays["x"])}
    else:
        named = ("x", "y", "gamma_x", "gamma_y") if name != case.name else (
            "x", "y", "gamma_x", "theta_x", "gamma_y", "theta_y"
        )  # fmt: skip
        arrays = {n: normal(3, 611, 516) for n in named}
        if name != case.name:
            arrays = {"grad": normal(3, 611, 1032)} | arrays
    return Sample("large", arrays)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_large(case: OpCase) -> None:
    sample = large(case)
    check(case, sample, run(case, sample, sample.arrays))


@pytest.mark.parametrize("name", ["hysteresis_pool", "hysteresis_pool_backward"])
def test_series_longer_than_shared_memory(name: str) -> None:
    """A row of 9001 scores is not kept there, nor are the windows of all its steps at once."""
    case = next(case for case in CASES if case.name == name)
    rng = np.random.default_rng(3)
    arrays: dict[str, Any] = {"q": rng.normal(size=(2, 9001)).astype(np.float32)}
    if name.endswith("backward"):
        arrays |= {"d_pooled": rng.normal(size=2).astype(np.float32), "d_series": arrays["q"][::-1].copy()}
    sample = Sample("long", arrays, {"lengths": [9001, 800], "beta": 40})
    check(case, sample, run(case, sample, arrays))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", [(2, 64, 56, 56), (1, 3, 181, 199), (1, 24, 130, 126), (5, 7, 9, 13)])
def test_moment_pool_of_half_maps(shape: tuple[int, ...], dtype: str, layout: str) -> None:
    torch = pytest.importorskip("torch")
    made = torch.Generator().manual_seed(0)
    maps = (torch.randn(shape, generator=made) * 0.1 + 5).to(getattr(torch, dtype))
    if layout == "nhwc":
        maps = maps.permute(0, 2, 3, 1).contiguous()
    wide = maps.double().numpy()
    truth = ops.moment_pool.reference(wide, layout=layout)
    there, found = cuda.to_device(maps), cuda.nan_like(truth.shape, np.float32)
    workspace = cuda.nan_like((_core.moment_pool_workspace(there, layout),), np.float64)
    ops.moment_pool(there, layout=layout, out=found, workspace=workspace)
    np.testing.assert_allclose(cuda.to_host(found), truth, rtol=2e-6, atol=2e-6)
    grad = torch.randn(truth.shape, generator=made)
    gradient = cuda.to_device(torch.full_like(maps, float("nan")))
    ops.moment_pool_backward(cuda.to_device(grad), there, found, layout=layout, out=gradient)
    gradient = gradient.double().cpu().numpy()
    expected = ops.moment_pool_backward.reference(grad.numpy(), wide, layout=layout)
    # One rounding to the maps' dtype (half of the smallest step where it is subnormal), of values that
    # float32 gives to some 1e-5 of the largest: it has a mean of 5 to 2.4e-7, and deviations are 0.1.
    kind = torch.finfo(maps.dtype)
    rounding, smallest = kind.eps / 2, kind.smallest_normal * kind.eps
    allowed = rounding * np.abs(expected) + smallest + 1e-5 * np.abs(expected).max()
    assert (np.abs(gradient - expected) <= allowed).all()


def scene_statistics(frames: Any, *, filled: int = 0, **options: Any) -> np.ndarray:
    out = cuda.nan_like((frames.shape[0], 176), np.float32)
    workspace = cuda.full((_core.scene_statistics_workspace(frames),), filled, np.uint8)
    assert ops.scene_statistics(frames, out=out, workspace=workspace, **options) is out
    return cuda.to_host(out)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("size", [(143, 255), (35, 63), (72, 128), (17, 30), (90, 160)])
def test_moments_of_an_image_do_not_depend_on_its_place_in_the_batch(
    size: tuple[int, int], dtype: str, layout: str
) -> None:
    """Planes whose bytes are no multiple of 16 start on another boundary at another place."""
    maps = np.random.default_rng(5).normal(size=(4, 3, *size)).astype(dtype)

    def moments(order: list[int]) -> np.ndarray:
        images = maps[order] if layout == "nchw" else maps[order].transpose(0, 2, 3, 1)
        there = cuda.to_device(np.ascontiguousarray(images))
        out = cuda.nan_like((4, 6), np.float32)
        workspace = cuda.nan_like((_core.moment_pool_workspace(there, layout),), np.float64)
        ops.moment_pool(there, layout=layout, out=out, workspace=workspace)
        return cuda.to_host(out)

    rows = moments([0, 1, 2, 3])
    for order in ([1, 0, 3, 2], [3, 2, 1, 0], [0, 0, 0, 0]):
        assert moments(order).tobytes() == rows[order].tobytes()


@pytest.mark.parametrize("of", MAPS)
@pytest.mark.parametrize("name", SAMPLES)
def test_scene_statistics(name: str, of: str) -> None:
    frames = cuda.to_device(frames_of(name))
    results = [
        scene_statistics(frames, filled=filled, of=of)
        for filled in (255, 127)  # whatever the workspace holds
    ]
    error, allowed = np.abs(results[0].astype(np.float64) - truth_of(name, of)), tolerance_of(name, of)
    assert (error <= allowed).all(), np.argwhere(error > allowed)[:5]
    assert np.array_equal(*results)


def test_scene_statistics_of_strided_frames() -> None:
    frames = frames_of("odd")
    strided = np.full((2, 2, frames.shape[3], 2 * frames.shape[2]), 9.0, np.float32)
    strided = strided.transpose(0, 1, 3, 2)[:, :, ::2]
    strided[...] = frames
    assert np.array_equal(*(scene_statistics(cuda.to_device(given)) for given in (frames, strided)))


def test_lengths_out_of_range_stay_inside() -> None:
    rng = np.random.default_rng(1)
    for case in CASES:
        if case.name in {"moment_pool", "moment_pool_backward"}:
            continue  # takes no lengths
        sample = next(sample for sample in case.samples if "lengths" in sample.options)
        count, time = sample.arrays["q" if "hysteresis" in case.name else "x"].shape[:2]
        arrays = {k: None if v is None else rng.normal(size=v.shape) for k, v in sample.arrays.items()}
        results = [
            run(case, Sample(name, arrays, sample.options | {"lengths": lengths}), arrays)
            for name, lengths in (
                ("wild", [-5, time + 99, *[0] * (count - 2)]),
                ("held", [1, time, *[1] * (count - 2)]),
            )
        ]
        for a, b in zip(*results, strict=True):
            assert a.tobytes() == b.tobytes(), case.name
