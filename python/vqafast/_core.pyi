from typing import Any

import numpy as np
import numpy.typing as npt

def best_cpu_target() -> str: ...
def build_info() -> dict[str, Any]: ...
def cpu_target() -> str: ...
def set_cpu_target(name: str) -> None: ...
def usable_threads() -> int: ...
def cgin(
    x: Any,
    y: Any,
    gamma_x: Any,
    theta_x: Any,
    gamma_y: Any,
    theta_y: Any,
    lengths: Any,
    mode: str,
    eps: float,
    threads: int,
    stream: int,
    out: Any,
) -> npt.NDArray[Any]: ...
def cgin_backward(
    grad: Any,
    x: Any,
    y: Any,
    gamma_x: Any,
    gamma_y: Any,
    lengths: Any,
    mode: str,
    eps: float,
    threads: int,
    stream: int,
    d_x: Any,
    d_y: Any,
    d_gamma_x: Any,
    d_gamma_y: Any,
) -> tuple[Any, Any, Any, Any]: ...
def fragment_sample(
    planes: tuple[Any, ...],
    pixel_format: tuple[Any, ...],
    positions: Any,
    patch: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels: int,
    half: bool,
    nhwc: bool,
    threads: int,
    stream: int,
    out: Any,
) -> npt.NDArray[Any]: ...
def frame_ingest(
    planes: tuple[Any, ...],
    pixel_format: tuple[Any, ...],
    crops: Any,
    height: int,
    width: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels: int,
    half: bool,
    nhwc: bool,
    threads: int,
    stream: int,
    out: Any,
) -> npt.NDArray[Any]: ...
def hysteresis_pool(
    q: Any, lengths: Any, alpha: float, beta: int, threads: int, stream: int, pooled: Any, series: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...
def hysteresis_pool_backward(
    d_pooled: Any,
    d_series: Any,
    q: Any,
    lengths: Any,
    alpha: float,
    beta: int,
    threads: int,
    stream: int,
    out: Any,
) -> npt.NDArray[Any]: ...
def moment_pool(
    x: Any, layout: str, threads: int, stream: int, out: Any, workspace: Any
) -> npt.NDArray[Any]: ...
def moment_pool_workspace(x: Any, layout: str) -> int: ...
def moment_pool_backward(
    grad: Any, x: Any, moments: Any, layout: str, threads: int, stream: int, out: Any
) -> npt.NDArray[Any]: ...
def scene_statistics(
    frames: Any, of: str, threads: int, stream: int, workspace: Any, out: Any
) -> npt.NDArray[np.float32]: ...
def scene_statistics_workspace(frames: Any) -> int: ...
