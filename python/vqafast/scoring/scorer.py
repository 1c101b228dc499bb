"""`Scorer`: a loaded model that scores any number of videos."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, TypedDict

from vqafast.engines import DEFAULT_ENGINES, check_engine
from vqafast.errors import InvalidArgument, Unsupported
from vqafast.models.families import create_runtime
from vqafast.scoring import _bitstream, pipeline
from vqafast.scoring._open import open_source
from vqafast.scoring.assessment import WarningNote
from vqafast.scoring.devices import gpu_index, resolve_device
from vqafast.scoring.loading import load_spec
from vqafast.scoring.many import Outcome, outcome_of, run_all
from vqafast.scoring.pooling import check_options
from vqafast.scoring.report import RunInfo, assemble
from vqafast.scoring.resources import resolve_threads
from vqafast.scoring.segments import prepare
from vqafast.scoring.sharing import SharedRuntime
from vqafast.scoring.stream import ScoreStream
from vqafast.scoring.windows import StageClock, WindowScorer
from vqafast.video.display import Display, Scaler
from vqafast.video.formats import check_shown
from vqafast.video.nvdec import Card
from vqafast.video.push import PushSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vqafast.scoring.assessment import Assessment
    from vqafast.scoring.pipeline import Progress
    from vqafast.scoring.segments import Window
    from vqafast.scoring.windows import Features
    from vqafast.video.dali import DaliDecoder
    from vqafast.video.source import ColorSpec, VideoInfo

    DisplayLike = Display | tuple[int, int] | str

DECODERS: tuple[str, ...] = ("auto", "cpu", "dali")
_MAX_SAMPLES = 1000
_MAX_VIDEOS = 256
# Hopper has seven decode engines and Ada up to three; one more video keeps them busy between files.
_VIDEOS_ON_GPU = 8


class ScorerOptions(TypedDict, total=False):
    """Arguments of `Scorer`, for functions that pass them on."""

    model: str | os.PathLike[str] | None
    device: str
    engine: str | None
    decoder: str
    threads: int
    samples: int
    precision: str
    batch: int


class Scorer:
    """Holds a loaded model and scores videos with it.

    One `Scorer` may be used again and again, and may be shared by threads: calls of the model are
    made one at a time, while other threads decode. It does not survive a fork; make one per process.

    Parameters
    ----------
    model : str or path, optional
        Name of a built-in model or a model directory; the embedded default if not given.
    device : str
        "cpu"; "cuda" or "cuda:N", where a GPU decodes, ingests and runs the model; or "auto", which takes
        a GPU where one can be used and says in the result what it chose.
    engine : str, optional
        Inference engine, one of `vqafast.engines.ENGINES`; OpenVINO on the CPU and torch on a GPU if not
        given.
    decoder : {"auto", "cpu", "dali"}
        "auto" decodes on the device where it can, through FFmpeg; "dali" through NVIDIA DALI, and its
        colour differs by up to a level of 255. What neither can decode goes to the CPU, and the result
        says so.
    threads : int
        CPU threads of each stage; 0 is all cores this process may use (affinity and cgroup quota).
    samples : int
        Draws of patch positions. 1 is the fixed centred grid; with more, the score is the mean
        over the draws and the result has a `Spread`. The video is decoded once either way.
    precision : {"f32", "f16", "bf16", "int8"}
        Of the backbones. "f16" is for torch and TensorRT, "bf16" and "int8" for OpenVINO. What is not
        "f32" gives slightly other scores.
    batch : int
        Samples per call of the backbones, at most. Speed and memory only: scores do not change
        beyond rounding.
    display : (width, height), optional
        Score every video as it looks scaled to a display of so many pixels, its shape kept: how the
        rungs of a ladder are compared. Without it a video is scored at its own resolution.

    Raises
    ------
    InvalidArgument
        If an argument is out of range.
    Unsupported
        For an engine that does not run on the device, or a precision that it cannot do.
    ModelError
        If the model is not there, incomplete or altered.
    EngineUnavailable
        If the device or the engine's library cannot be used on this machine; the message says why.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "cpu",
        engine: str | None = None,
        decoder: str = "auto",
        threads: int = 0,
        samples: int = 1,
        precision: str = "f32",
        batch: int = 8,
        display: DisplayLike | None = None,
    ) -> None:
        if decoder not in DECODERS:
            raise InvalidArgument(f"decoder: must be one of {', '.join(DECODERS)}, got {decoder!r}")
        device, warnings = resolve_device(device)
        _check_count("samples", samples, _MAX_SAMPLES)
        _check_count("batch", batch)
        threads = resolve_threads(threads)
        gpu = gpu_index(device)
        if engine is None:
            engine = DEFAULT_ENGINES["cpu" if gpu is None else "cuda"]
        check_engine(engine, device)
        self.spec = load_spec(model)
        self._model = create_runtime(
            self.spec, engine=engine, threads=threads, precision=precision, device=device, batch=batch
        )
        self._runtime = SharedRuntime(self._model, batch if self._model.static_shapes else None)
        if self.spec.metadata.get("random_weights"):
            text = f"model {self.spec.name} has random weights: its scores mean nothing"
            warnings = (*warnings, WarningNote("random_weights", text))
        self._gpu = gpu if decoder == "auto" else None
        self._dali: DaliDecoder | None = None
        if decoder == "dali":
            from vqafast.video.dali import DaliDecoder

            self._dali = DaliDecoder(device=device, threads=threads)
        self._batch = batch
        self._run = RunInfo(
            spec=self.spec,
            draws=samples,
            device=device,
            engine=self._model.engine,
            precision=precision,
            threads=threads,
            warnings=warnings,
            display=None if display is None else Display.of(display),
        )

    def device_failure(self) -> str | None:
        """Why the device cannot be used any more by this process; None while it can. Waits for its work.

        After some errors of CUDA only a new process can go on.
        """
        gpu = gpu_index(self._run.device)
        return None if gpu is None else Card(gpu).failure()

    def score(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        pooling: str | None = None,
        display: DisplayLike | None = None,
    ) -> float:
        """Give the score alone; see `assess`."""
        return self.assess(path, pooling=pooling, display=display).score

    def assess(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        pooling: str | None = None,
        window: Window | None = None,
        progress: Callable[[Progress], None] | None = None,
        display: DisplayLike | None = None,
        maps: bool = False,
    ) -> Assessment:
        """Score a video and say everything about it.

        Parameters
        ----------
        path : path or binary file object
            A file, "-" for standard input, or a file object opened for reading in binary mode.
            YUV4MPEG2 from a pipe is read as it comes; anything else that cannot seek is copied to a
            temporary file first.
        pooling : {"hysteresis", "mean", "min", "p5", "harmonic"}, optional
            See `vqafast.scoring.pooling`; the model's own if not given.
        window : float or {"gop", "shot"}, optional
            Seconds per segment; or segments that begin at key frames, or at cuts
            (`vqafast.video.shots`). They are pooled from the same pass.
        progress : callable, optional
            Called with a `Progress` after each sample, in the calling thread. An exception from it
            ends the run.
        display : (width, height), optional
            For this video, instead of the scorer's.
        maps : bool
            Keep quality and saliency by region (`Assessment.maps`), for models that have them.

        Raises
        ------
        VqafastError
            When the video cannot be scored; ``code`` says why and ``path`` which.
        Unsupported
            For maps of a model that has none.
        """
        pooling = self._checked(pooling, window)
        if maps and not self.spec.has_maps:
            raise Unsupported(
                f"maps: the model must have them, and {self.spec.name} scores the whole picture"
            )
        return self._assess(path, pooling, window, progress, display, maps=maps)

    def assess_many(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        videos: int | None = None,
        pooling: str | None = None,
        window: Window | None = None,
        display: DisplayLike | None = None,
    ) -> Iterator[Outcome]:
        """Score many videos, several at once; yield an `Outcome` for each as it comes, errors included.

        The scores are those of `assess` within its rounding; where samples of several videos wait for
        the model together, they are computed together.

        Parameters
        ----------
        paths : iterable
            Read as videos finish, so it may be endless.
        videos : int, optional
            Videos at once. If not given, 8 on a GPU, whose decode engines each work on one video, and 1
            on the CPU, which one video can fill.
        pooling, window, display
            As in `assess`.

        Raises
        ------
        InvalidArgument
            If an argument is out of range; errors of videos are in their outcomes.
        """
        method = self._checked(pooling, window)
        videos = videos_at_once(videos, on_gpu=self._run.device != "cpu")

        def work(index: int, path: str | os.PathLike[str]) -> Outcome:
            def assess(name: str) -> Assessment:
                return self._assess(name, method, window, None, display)

            return outcome_of(index, os.fspath(path), assess)

        return run_all(paths, work, videos)

    def _assess(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        pooling: str,
        window: Window | None,
        progress: Callable[[Progress], None] | None,
        display: DisplayLike | None,
        *,
        maps: bool = False,
    ) -> Assessment:
        began = time.perf_counter()
        clock = StageClock()
        run = self._for_display(display)
        selector = self._model.selector()
        with open_source(path, self._run.threads, self._gpu, dali=self._dali, selector=selector) as opened:
            size = self._scored_size(opened.source.info, run.display)
            values, notes = _bitstream.read(self.spec, opened.source, size)
            run = replace(run, bitstream=values, warnings=(*run.warnings, *notes), maps=maps)
            prepare(opened.source, window)
            clock.add("open", began)
            constant = _bitstream.vector(self.spec, values)
            series = pipeline.run(
                opened.source,
                self._runtime,
                self._window_scorer(clock, constant),
                draws=run.draws,
                clock=clock,
                scaler=self._scaler(run.display),
                progress=progress,
                cancel=opened.cancel,
            )
            engine = tuple(WarningNote("engine", note) for note in self._model.notes)
            run = replace(run, warnings=(*run.warnings, *engine))
            total = time.perf_counter() - began
            return assemble(run, opened.source, series, clock, total, pooling=pooling, window=window)

    def write_maps(self, result: Assessment, path: str | os.PathLike[str]) -> tuple[float, float]:
        """Write the maps of an assessment by this scorer; see `vqafast.scoring.maps.write`."""
        from vqafast.scoring import maps

        return maps.write(result, path, self._model.selector())

    def stream(
        self,
        width: int,
        height: int,
        pix_fmt: str,
        time_base: Fraction | float = 1,
        *,
        color: ColorSpec | None = None,
        rotation: int = 0,
        sample_aspect_ratio: Fraction = Fraction(1),
        pooling: str | None = None,
        window: Window | None = None,
        rolling_windows: int = 1,
        display: DisplayLike | None = None,
    ) -> ScoreStream:
        """Score frames that the caller pushes.

        Parameters
        ----------
        width, height : int
            Coded picture in pixels.
        pix_fmt : str
            FFmpeg's name, such as "yuv420p", "nv12", "yuv422p10le".
        time_base : Fraction or float
            Seconds per unit of the times that are pushed.
        color : ColorSpec, optional
            Matrix and range; as for a file that does not say them if not given.
        rotation : int
            Degrees clockwise that the picture must turn for display: 0, 90, 180 or 270.
        sample_aspect_ratio : Fraction
            Width over height of one sample.
        pooling, window
            As in `assess`.
        rolling_windows : int
            Windows of the model's temporal head that the rolling score covers.
        display : (width, height), optional
            For this stream, instead of the scorer's.

        Raises
        ------
        InvalidArgument, Unsupported
            For a form of pictures that cannot be scored, or a model that must know the length of
            the video beforehand or that reads the coded stream.
        TooSmall, TooLarge
            For pictures outside the limits of vqafast or of the model.
        """
        pooling = self._checked(pooling, window)
        _check_count("rolling_windows", rolling_windows)
        if self.spec.bitstream is not None:
            raise _bitstream.refuse(self.spec, "<pushed frames>", "pictures")
        run = self._for_display(display)
        source = PushSource(
            width,
            height,
            pix_fmt,
            self._runtime.selector(),
            time_base=time_base,
            color=color,
            rotation=rotation,
            sample_aspect_ratio=sample_aspect_ratio,
        )
        self._scored_size(source.info, run.display)
        prepare(source, window)
        clock = StageClock()
        return ScoreStream(
            source,
            self._runtime,
            self._window_scorer(clock, None),
            clock,
            run,
            pooling=pooling,
            window=window,
            rolling_windows=rolling_windows,
            scaler=self._scaler(run.display),
        )

    def _checked(self, pooling: str | None, window: Window | None) -> str:
        """Give the pooling to use, after checking both."""
        method = self.spec.pooling.kind if pooling is None else pooling
        check_options(method, window)
        if isinstance(window, str) and self._dali is not None:
            raise Unsupported(f"window: {window} needs decoder auto or cpu, got dali")
        return method

    def _for_display(self, display: DisplayLike | None) -> RunInfo:
        return self._run if display is None else replace(self._run, display=Display.of(display))

    def _scaler(self, display: Display | None) -> Scaler | None:
        return None if display is None else Scaler(display, self._run.threads)

    def _scored_size(self, info: VideoInfo, display: Display | None) -> tuple[int, int]:
        """Size of the picture that is scored, before rotation; refuses what the model cannot take."""
        size = (info.width, info.height)
        shown = (info.display_width, info.display_height)
        if display is not None:
            size = shown = display.shown(*size, info.sample_aspect_ratio, info.rotation)
        check_shown(shown, info.path)
        self._model.check_size(*size, info.path)
        return size

    def _window_scorer(self, clock: StageClock, constant: Features | None) -> WindowScorer:
        return WindowScorer(
            self._runtime,
            window=self.spec.sampling.window,
            draws=self._run.draws,
            batch=self._batch,
            clock=clock,
            constant=constant,
        )


def videos_at_once(asked: int | None, *, on_gpu: bool) -> int:
    """How many, checked; None is as many as keep decoders and model busy.

    Raises
    ------
    InvalidArgument
    """
    if asked is None:
        return _VIDEOS_ON_GPU if on_gpu else 1
    _check_count("videos", asked, _MAX_VIDEOS)
    return asked


def _check_count(name: str, value: int, high: int | None = None) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not good or (high is not None and value > high):
        limits = "at least 1" if high is None else f"in 1..{high}"
        raise InvalidArgument(f"{name}: must be {limits}, got {value!r}")
