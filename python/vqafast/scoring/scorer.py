"""`Scorer`: a loaded model that scores any number of videos."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, TypedDict

from vqafast.errors import InvalidArgument, MissingFile, ModelError, Unsupported
from vqafast.models import registry
from vqafast.models.a2inet.runtime import A2INetRuntime
from vqafast.scoring import pipeline
from vqafast.scoring._open import open_source
from vqafast.scoring.assessment import Assessment, WarningNote
from vqafast.scoring.pooling import check_pooling, check_window
from vqafast.scoring.report import RunInfo, assemble
from vqafast.scoring.resources import resolve_threads
from vqafast.scoring.windows import StageClock, WindowScorer

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqafast.models.registry import ModelSpec
    from vqafast.scoring.pipeline import Progress

DEVICES: tuple[str, ...] = ("cpu", "cuda", "auto")
_MAX_SAMPLES = 1000


class ScorerOptions(TypedDict, total=False):
    """Arguments of `Scorer`, for functions that pass them on."""

    model: str | os.PathLike[str] | None
    device: str
    engine: str
    threads: int
    samples: int
    precision: str
    batch: int


class Scorer:
    """Holds a loaded model and scores videos with it.

    One `Scorer` may be used again and again, and may be shared by threads: calls of the model are
    made one at a time, decoding in different threads overlaps. Use one per process, not more
    threads than cores, for throughput.

    Parameters
    ----------
    model : str or path, optional
        Name of a built-in model or a model directory; the embedded default if not given.
    device : {"cpu", "cuda", "auto"}
        "auto" takes the best device this build can use and names it in the result.
    engine : str
        Inference engine; see `vqafast.engines.ENGINES`.
    threads : int
        CPU threads of each stage; 0 is all cores this process may use (affinity and cgroup quota).
    samples : int
        Draws of patch positions. 1 is the fixed centred grid; with more, the score is the mean
        over the draws and the result has a `Spread`. The video is decoded once either way.
    precision : {"f32", "bf16", "int8"}
        Of the backbones.
    batch : int
        Samples per call of the backbones, at most. Speed and memory only: scores do not change
        beyond rounding.

    Raises
    ------
    InvalidArgument
        If an argument is out of range.
    Unsupported
        For a device or precision that this build cannot use.
    ModelError
        If the model is not there, incomplete or altered.
    EngineUnavailable
        If the engine's library cannot be used.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "cpu",
        engine: str = "openvino",
        threads: int = 0,
        samples: int = 1,
        precision: str = "f32",
        batch: int = 8,
    ) -> None:
        device, warnings = _resolve_device(device)
        _check_count("samples", samples, _MAX_SAMPLES)
        _check_count("batch", batch)
        threads = resolve_threads(threads)
        self.spec = load_spec(model)
        self._runtime = A2INetRuntime(self.spec, engine=engine, threads=threads, precision=precision)
        self._batch = batch
        self._lock = threading.Lock()
        self._run = RunInfo(
            spec=self.spec,
            draws=samples,
            device=device,
            engine=self._runtime.engine,
            precision=precision,
            threads=threads,
            warnings=warnings,
        )

    def score(self, path: str | os.PathLike[str] | BinaryIO, *, pooling: str = "hysteresis") -> float:
        """Give the score alone; see `assess`."""
        return self.assess(path, pooling=pooling).score

    def assess(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        pooling: str = "hysteresis",
        window: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Assessment:
        """Score a video and say everything about it.

        Parameters
        ----------
        path : path or binary file object
            A file, "-" for y4m on standard input, or a file object opened for reading in binary
            mode; one that cannot seek must hold y4m.
        pooling : {"hysteresis", "mean", "min", "p5", "harmonic"}
            See `vqafast.scoring.pooling`; "hysteresis" is the model's own.
        window : float, optional
            Seconds per segment; segments are pooled from the same pass.
        progress : callable, optional
            Called with a `Progress` after each sample, in the calling thread. An exception from it
            ends the run.

        Raises
        ------
        VqafastError
            When the video cannot be scored; ``code`` says why and ``path`` which.
        """
        began = time.perf_counter()
        check_pooling(pooling)
        if window is not None:
            check_window(window)
        clock = StageClock()
        with open_source(path, self._run.threads) as opened:
            clock.add("open", began)
            series = pipeline.run(
                opened.source,
                self._runtime,
                self._window_scorer(clock),
                draws=self._run.draws,
                clock=clock,
                progress=progress,
                cancel=opened.cancel,
            )
            total = time.perf_counter() - began
            return assemble(self._run, opened.source, series, clock, total, pooling=pooling, window=window)

    def _window_scorer(self, clock: StageClock) -> WindowScorer:
        return WindowScorer(
            self._runtime,
            window=self.spec.sampling.window,
            draws=self._run.draws,
            batch=self._batch,
            lock=self._lock,
            clock=clock,
        )


def load_spec(model: str | os.PathLike[str] | None) -> ModelSpec:
    """Load and verify a model's description; `ModelError` names what there is if it is absent."""
    wanted = registry.DEFAULT if model is None else os.fspath(model)
    try:
        return registry.load(wanted)
    except MissingFile as error:
        known = ", ".join(registry.BUILTIN)
        if wanted in registry.BUILTIN:
            message = f"model {wanted!r} must be part of the installation, got no {error.path}"
        else:
            message = f"model must be one of {known}, or a directory with a model.json, got {wanted!r}"
        raise ModelError(message, path=error.path) from error


def _resolve_device(device: str) -> tuple[str, tuple[WarningNote, ...]]:
    if device not in DEVICES:
        raise InvalidArgument(f"device: must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda":
        raise Unsupported(
            "device: must be cpu or auto in this build, got 'cuda'; scoring on the GPU comes with "
            "the GPU build (pip install 'vqafast[gpu]'), which does not exist yet"
        )
    if device == "auto":
        note = WarningNote("device_auto", "device auto chose cpu: this build scores on the CPU only")
        return "cpu", (note,)
    return "cpu", ()


def _check_count(name: str, value: int, high: int | None = None) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not good or (high is not None and value > high):
        limits = "at least 1" if high is None else f"in 1..{high}"
        raise InvalidArgument(f"{name}: must be {limits}, got {value!r}")
