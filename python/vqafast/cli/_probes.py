"""What ``vqafast doctor`` looks at. A probe never raises: what fails becomes its finding."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vqafast.errors import VqafastError

if TYPE_CHECKING:
    from collections.abc import Callable

Status = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    status : {"ok", "absent", "broken"}
        "absent" is something optional that is not there; "broken" keeps vqafast from scoring.
    code : str or None
        Error code of what is broken.
    """

    name: str
    status: Status
    detail: str
    code: str | None = field(default=None)


def probe_all() -> list[Finding]:
    """Every probe in the order of the report."""
    findings: list[Finding] = []
    for name, probe in PROBES:
        try:
            findings.append(probe())
        except VqafastError as error:
            findings.append(Finding(name, "broken", str(error), error.code))
        except Exception as error:
            findings.append(Finding(name, "broken", f"{type(error).__name__}: {error}", "internal"))
    return findings


def _versions() -> Finding:
    import numpy as np

    import vqafast

    detail = f"vqafast {vqafast.__version__}, Python {platform.python_version()}"
    return Finding("versions", "ok", f"{detail}, numpy {np.__version__}, {platform.platform()}")


def _cpu() -> Finding:
    from vqafast import _core
    from vqafast.scoring.resources import available_cores

    cap = os.environ.get("VQAFAST_CPU_TARGET")
    capped = f" (capped by VQAFAST_CPU_TARGET={cap})" if cap else ""
    cores = f"{available_cores()} of {os.cpu_count()} cores usable by this process"
    compiled = f"core {_core.build_info()['version']} by {_core.build_info()['compiler']}"
    return Finding("cpu", "ok", f"{compiled}, kernels for {_core.cpu_target()}{capped}, {cores}")


def _self_test() -> Finding:
    import numpy as np

    from vqafast.ops import hysteresis_pool

    series = np.array([[3.0, 1.0, 2.0, 5.0, 4.0]], dtype=np.float32)
    got, _ = hysteresis_pool(series)
    expected, _ = hysteresis_pool.reference(series)
    error = float(np.max(np.abs(np.asarray(got, dtype=np.float64) - expected)))
    if not error <= 1e-5:
        return Finding("self-test", "broken", f"hysteresis_pool is off by {error:.2g}", "internal")
    return Finding("self-test", "ok", f"hysteresis_pool within {error:.1g} of its reference")


_CODECS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg4", "prores", "mjpeg", "ffv1")


def _decoders() -> Finding:
    import av

    there, missing = [], []
    for name in _CODECS:
        try:
            av.codec.Codec(name, "r")
            there.append(name)
        except Exception:
            missing.append(name)
    version = ".".join(str(n) for n in av.library_versions["libavcodec"])
    detail = f"PyAV {av.__version__} (libavcodec {version}): {' '.join(there)}"
    if missing:
        detail += f"; not in this build: {' '.join(missing)}"
    return Finding("decoders", "ok" if there else "broken", detail, None if there else "unsupported")


def _openvino() -> Finding:
    # Through the engine's module: a plain import of openvino would report itself to its makers.
    from vqafast.engines.openvino_engine import library

    found = library()
    precisions = [p for p in ("FP32", "BF16", "INT8") if p in found.cpu_capabilities]
    devices = " ".join(found.devices)
    return Finding("openvino", "ok", f"{found.version}, devices {devices}, CPU does {' '.join(precisions)}")


def _model() -> Finding:
    from vqafast.models.registry import DEFAULT
    from vqafast.scoring.loading import load_spec

    spec = load_spec(None)
    detail = f"{DEFAULT} {spec.version}, {len(spec.files)} files verified, sha256 "
    return Finding("default model", "ok", detail + spec.weights_sha256)


def _scoring() -> Finding:
    import numpy as np

    from vqafast.scoring.scorer import Scorer

    began = time.perf_counter()
    stream = Scorer(threads=1).stream(128, 128, "gray", 0.1)
    for i in range(10):
        stream.push([np.full((128, 128), 16 * i, dtype=np.uint8)])
    score = stream.finish().score
    seconds = time.perf_counter() - began
    return Finding(
        "scoring", "ok", f"loaded the model and scored 1 s of grey in {seconds:.2f} s: {score:.1f}"
    )


def _cuda_build() -> Finding:
    from vqafast import _core

    info = _core.build_info()
    if info["cuda"]:
        targets = " ".join(str(a) for a in info["cuda_architectures"])
        return Finding("cuda build", "ok", f"the ops have CUDA kernels for {targets}")
    return Finding("cuda build", "absent", "this build has no CUDA kernels")


def _cuda_driver() -> Finding:
    from vqafast.engines.cuda_driver import probe

    found = probe()
    if found.reason is not None:
        return Finding("cuda driver", "absent", found.reason)
    version = "unknown" if found.driver_version is None else "{}.{}".format(*found.driver_version)
    cards = ", ".join(
        f"{g.name} (sm_{g.compute_capability[0]}{g.compute_capability[1]}, {g.memory >> 30} GiB)"
        for g in found.gpus
    )
    return Finding("cuda driver", "ok", f"CUDA {version}: {cards}")


def _nvdec() -> Finding:
    from vqafast.engines.cuda_driver import probe
    from vqafast.video.nvdec import nvdec_obstacle

    for gpu in probe().gpus:
        obstacle = nvdec_obstacle(gpu.index)
        if obstacle is not None:
            return Finding("nvdec", "absent", f"{obstacle}; the CPU decodes")
    if not probe().gpus:
        return Finding("nvdec", "absent", "no GPU: the CPU decodes")
    return Finding("nvdec", "ok", f"FFmpeg can decode on {len(probe().gpus)} GPUs")


def _gpu_scoring() -> Finding:
    from vqafast.scoring.devices import cuda_obstacle

    obstacle = cuda_obstacle()
    if obstacle is not None:
        return Finding("gpu scoring", "absent", obstacle)
    return Finding("gpu scoring", "ok", "--device cuda")


def _torch() -> Finding:
    # Only looked for: importing it takes seconds.
    return _optional("torch", "torch", "needed for training ([train]) and on a GPU ([gpu])")


def _tensorrt() -> Finding:
    # Importing it without a driver is asking for a crash.
    return _optional("tensorrt", "tensorrt", "only for --engine tensorrt ([tensorrt])")


def _dali() -> Finding:
    return _optional("dali", "nvidia-dali-cuda130", "only for batches decoded by DALI ([dali])")


def _optional(name: str, distribution: str, use: str) -> Finding:
    from importlib import metadata

    try:
        return Finding(name, "ok", f"{metadata.version(distribution)} ({use})")
    except metadata.PackageNotFoundError:
        return Finding(name, "absent", f"not installed; {use}")


PROBES: tuple[tuple[str, Callable[[], Finding]], ...] = (
    ("versions", _versions),
    ("cpu", _cpu),
    ("self-test", _self_test),
    ("decoders", _decoders),
    ("openvino", _openvino),
    ("default model", _model),
    ("scoring", _scoring),
    ("cuda build", _cuda_build),
    ("cuda driver", _cuda_driver),
    ("nvdec", _nvdec),
    ("torch", _torch),
    ("gpu scoring", _gpu_scoring),
    ("tensorrt", _tensorrt),
    ("dali", _dali),
)
