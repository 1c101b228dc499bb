"""What holds for every op in `samples.CASES`."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ops.samples import CASES as FORWARD_CASES
from tests.ops.samples import OpCase, Sample, error_of, tolerance
from tests.ops.samples_backward import BACKWARD_CASES

CASES = (*FORWARD_CASES, *BACKWARD_CASES)
ALL = [
    pytest.param(case, sample, id=f"{case.name}-{sample.name}") for case in CASES for sample in case.samples
]


def check(case: OpCase, sample: Sample, results: tuple[np.ndarray, ...]) -> None:
    truth = case.truth(sample)
    for result, true, allowed in zip(results, truth, tolerance(case, sample, truth), strict=True):
        assert result.dtype == case.dtype_of(sample)
        assert result.shape == true.shape
        assert np.isfinite(result).all()
        assert error_of(result, true) <= allowed


@pytest.mark.parametrize(("case", "sample"), ALL)
def test_parity_on_every_instruction_set(case: OpCase, sample: Sample, cpu_target: str) -> None:
    check(case, sample, case.run(sample.arrays, sample.options))


@pytest.mark.parametrize(("case", "sample"), ALL)
def test_number_of_threads_changes_no_bit(case: OpCase, sample: Sample) -> None:
    one = case.run(sample.arrays, sample.options, threads=1)
    for threads in (2, 3, 8):
        for a, b in zip(one, case.run(sample.arrays, sample.options, threads=threads), strict=True):
            assert a.tobytes() == b.tobytes()


def sliced(array: np.ndarray) -> np.ndarray:
    padded = np.full([2 * n + 3 for n in array.shape], 9e9, np.float32).astype(array.dtype)
    view = padded[tuple(slice(1, 2 * n + 1, 2) for n in array.shape)]
    view[...] = array
    return view


def rows_padded(array: np.ndarray) -> np.ndarray:
    padded = np.full((*array.shape[:-1], array.shape[-1] + 5), 9e9, np.float32).astype(array.dtype)
    padded[..., : array.shape[-1]] = array
    return padded[..., : array.shape[-1]]


LAYOUTS = {
    "sliced": sliced,
    "rows_padded": rows_padded,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "channels_swapped": lambda array: (
        np.ascontiguousarray(np.moveaxis(array, 1, -1)).swapaxes(1, -1)
        if array.ndim == 3
        else array
        if array.ndim == 1
        else np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    ),
    "reversed": lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    "read_only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("case", "sample"), ALL)
def test_any_strides(case: OpCase, sample: Sample, layout: str, cpu_target: str) -> None:
    arrays = {k: v if v is None else LAYOUTS[layout](v) for k, v in sample.arrays.items()}
    for name, array in arrays.items():
        if array is not None:
            np.testing.assert_array_equal(array, sample.arrays[name])
    check(case, sample, case.run(arrays, sample.options))


@pytest.mark.parametrize(("case", "sample"), ALL)
def test_out_is_filled_and_returned(case: OpCase, sample: Sample) -> None:
    outs = tuple(np.full(shape, np.nan, case.dtype_of(sample)) for shape in case.out_shapes(sample))
    results = case.run(sample.arrays, sample.options, out=outs if len(outs) > 1 else outs[0])
    for out, result, plain in zip(outs, results, case.run(sample.arrays, sample.options), strict=True):
        assert result is out
        np.testing.assert_array_equal(out, plain)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_torch_tensors_through_dlpack(case: OpCase) -> None:
    torch = pytest.importorskip("torch")
    for sample in case.samples:
        arrays = {k: v if v is None else torch.from_numpy(v) for k, v in sample.arrays.items()}
        for a, b in zip(
            case.run(arrays, sample.options), case.run(sample.arrays, sample.options), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_torch_out_and_gradients(case: OpCase) -> None:
    torch = pytest.importorskip("torch")
    sample = case.samples[1]
    outs = tuple(torch.full(shape, float("nan")) for shape in case.out_shapes(sample))
    results = case.run(sample.arrays, sample.options, out=outs if len(outs) > 1 else outs[0])
    for out, result, plain in zip(outs, results, case.run(sample.arrays, sample.options), strict=True):
        assert result is out
        np.testing.assert_array_equal(out.numpy(), plain)
    first = next(iter(sample.arrays))
    wants_grad = sample.arrays | {first: torch.from_numpy(sample.arrays[first]).requires_grad_()}
    with pytest.raises(ValueError, match=rf"{case.name}: {first} must be exportable .*detach"):
        case.run(wants_grad, sample.options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_dlpack_does_not_leak_or_copy(case: OpCase) -> None:
    torch = pytest.importorskip("torch")
    import gc
    import weakref

    sample = case.samples[1]
    first = next(iter(sample.arrays))
    tensor = torch.from_numpy(sample.arrays[first].copy())
    storage = weakref.ref(tensor)
    case.run(sample.arrays | {first: tensor}, sample.options)
    del tensor
    gc.collect()
    assert storage() is None
