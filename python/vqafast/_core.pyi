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
    out: Any,
) -> npt.NDArray[np.float32]: ...
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
    out: Any,
) -> npt.NDArray[Any]: ...
def hysteresis_pool(
    q: Any, lengths: Any, alpha: float, beta: int, threads: int, pooled: Any, series: Any
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]: ...
def moment_pool(x: Any, layout: str, threads: int, out: Any) -> npt.NDArray[np.float32]: ...
def scene_statistics(frames: Any, threads: int, out: Any) -> npt.NDArray[np.float32]: ...
