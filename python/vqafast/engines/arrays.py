"""Where an engine's arrays live: NumPy on the host, or torch tensors on a device."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vqafast.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Float32 = NDArray[np.float32]


class Arrays(Protocol):
    """The few things that scoring does to arrays between the ops and the engines.

    Attributes
    ----------
    device : str
        ``"cpu"`` or ``"cuda:N"``.
    stream : int
        `cudaStream_t` of this thread's work, for ``stream=`` of the ops; 0 on the host.
    """

    device: str

    @property
    def stream(self) -> int:
        """See above."""
        ...

    def work(self, *, decoded: bool = False) -> contextlib.AbstractContextManager[None]:
        """Give this thread a stream of its own; what was begun inside is complete at the end.

        `decoded`: the work reads pictures that a hardware decoder has just given.
        """
        ...

    def planes(self, planes: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give the same planes of a picture where the kernels can read them."""
        ...

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Any:
        """Memory for an op's ``out=``; None where the op allocates for itself."""
        ...

    def load(self, array: Float32) -> Any:
        """Copy a host array to the device; itself on the host."""
        ...

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along `axis`."""
        ...

    def pad(self, array: Any, rows: int) -> Any:
        """`array` with zeros behind it, `rows` long in the first axis."""
        ...

    def packed(self, array: Any) -> Any:
        """`array` in one piece, its last axis the nearest in memory."""
        ...

    def host(self, array: Any) -> NDArray[Any]:
        """Copy to the host, and wait for it."""
        ...


class HostArrays:
    """NumPy."""

    device = "cpu"
    stream = 0

    def work(self, *, decoded: bool = False) -> contextlib.AbstractContextManager[None]:
        """Nothing to prepare, and nothing to wait for."""
        del decoded
        return contextlib.nullcontext()

    def planes(self, planes: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give them as they are."""
        return planes

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> None:
        """None: ops on the CPU allocate for themselves."""
        del shape, dtype

    def load(self, array: Float32) -> Float32:
        """Give `array` itself."""
        return array

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along `axis`."""
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)

    def pad(self, array: Any, rows: int) -> Any:
        """`array` with zeros behind it."""
        return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])

    def packed(self, array: Any) -> Any:
        """`array` in one piece."""
        return np.ascontiguousarray(array)

    def host(self, array: Any) -> NDArray[Any]:
        """Give `array` itself."""
        return np.asarray(array)


class TorchArrays:
    """Torch tensors on one device.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    EngineUnavailable
        When torch cannot be imported, or sees no such device.
    """

    def __init__(self, device: str) -> None:
        try:
            import torch
        except ImportError as e:
            raise EngineUnavailable(f"torch cannot be imported: {e}; pip install 'vqafast[gpu]'") from e
        self._torch = torch
        index = torch.device(device).index
        self._cuda = device.startswith("cuda")
        if self._cuda:
            if not torch.cuda.is_available():
                raise EngineUnavailable(f"torch {torch.__version__} sees no CUDA device")
            if (index or 0) >= torch.cuda.device_count():
                raise EngineUnavailable(
                    f"device must be below cuda:{torch.cuda.device_count()} on this machine, got {device}"
                )
            device = f"cuda:{index or 0}"
        self.device = device
        self._local = threading.local()

    @property
    def stream(self) -> int:
        """`cudaStream_t` that torch works on in this thread."""
        return int(self._torch.cuda.current_stream(self.device).cuda_stream) if self._cuda else 0

    @contextlib.contextmanager
    def work(self, *, decoded: bool = False) -> Iterator[None]:
        """Work on a stream of this thread's own, and wait for it at the end.

        Hardware decoders write on the default stream, for which the streams of torch do not wait by
        themselves. Waiting at the end means that decoded pictures may be released then, and that
        another thread may use the results on its own stream.
        """
        if not self._cuda:
            yield
            return
        cuda = self._torch.cuda
        stream = getattr(self._local, "stream", None)
        if stream is None:
            stream = self._local.stream = cuda.Stream(self.device)
        if decoded:
            stream.wait_stream(cuda.default_stream(self.device))
        with cuda.stream(stream):
            try:
                yield
            finally:
                stream.synchronize()

    def planes(self, planes: tuple[Any, ...]) -> tuple[Any, ...]:
        """Copy host planes to the device; planes that are there already are given back."""
        if not self._cuda or not isinstance(planes[0], np.ndarray):
            return planes
        return tuple(self._upload(plane) for plane in planes)

    def _upload(self, plane: NDArray[Any]) -> Any:
        # Through pinned memory: it takes rows of any stride, also read-only ones, and the copy to the
        # device then needs no copy by the driver.
        staging = self._torch.empty(
            plane.shape, dtype=getattr(self._torch, plane.dtype.name), pin_memory=True
        )
        staging.numpy()[...] = plane
        return staging.to(self.device, non_blocking=True)

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Any:
        """Memory that is not initialised."""
        return self._torch.empty(tuple(shape), dtype=getattr(self._torch, dtype), device=self.device)

    def load(self, array: Float32) -> Any:
        """Copy to the device."""
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along `axis`."""
        return arrays[0] if len(arrays) == 1 else self._torch.cat(list(arrays), dim=axis)

    def pad(self, array: Any, rows: int) -> Any:
        """`array` with zeros behind it; the order of the axes in memory is kept."""
        padded = self._torch.zeros_like(array[:1]).expand(rows - len(array), *array.shape[1:])
        return self._torch.cat([array, padded])

    def packed(self, array: Any) -> Any:
        """`array` in one piece."""
        return array.contiguous()

    def host(self, array: Any) -> NDArray[Any]:
        """Copy to the host, and wait for it."""
        result: NDArray[Any] = array.float().cpu().numpy()
        return result
