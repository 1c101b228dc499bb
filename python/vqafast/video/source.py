"""What a source of frames is: planes with their meaning and their time, and nothing about files."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from vqafast.video.sampling import Selector
    from vqafast.video.shots import ShotDetector

HostPlane = NDArray[np.uint8] | NDArray[np.uint16]
#: A `HostPlane`, or a tensor of the same shape and type on the device of a hardware decoder.
Plane = Any


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How planes encode pixels: all that ``frame_ingest`` must know besides the pointers.

    Attributes
    ----------
    name : str
        FFmpeg's name without the ``j`` of full range: ``yuv420p``, ``nv12``, ``p010le``, ...
    bit_depth : int
        Significant bits per sample; samples are uint8 when it is 8, uint16 (native order) above.
    msb_aligned : bool
        True when the significant bits are the high ones of the 16 (P010, P016).
    chroma_shift_x, chroma_shift_y : int
        log2 of the horizontal and vertical chroma subsampling; chroma planes have
        ``ceil(height / 2**shift_y)`` rows.
    semi_planar : bool
        True when Cb and Cr are interleaved in one second plane.
    has_chroma : bool
    """

    name: str
    bit_depth: int
    msb_aligned: bool
    chroma_shift_x: int
    chroma_shift_y: int
    semi_planar: bool
    has_chroma: bool


@dataclass(frozen=True, slots=True)
class ColorSpec:
    """Matrix, range and transfer of the samples.

    A stream that does not say its matrix is taken as bt709 from 720 coded lines on, else as bt601;
    one that does not say its range is taken as limited.
    """

    matrix: Literal["bt601", "bt709", "bt2020"]
    full_range: bool
    transfer: str


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video once it is open.

    Attributes
    ----------
    width, height : int
        Coded picture in pixels, before rotation.
    display_width, display_height : int
        After rotation and sample aspect ratio (the width is scaled, the height kept).
    rotation : int
        0, 90, 180 or 270: degrees clockwise that the coded picture must turn for display.
    duration : float or None
        Seconds, as the container declares it.
    declared_frames : int or None
        As the container declares it; the truth is known only at the end.
    decoder : str
        For example ``"h264 (FFmpeg 8.1, frame threads 2)"``.
    """

    path: str
    container: str
    codec: str
    width: int
    height: int
    display_width: int
    display_height: int
    rotation: int
    sample_aspect_ratio: Fraction
    layout: PixelLayout
    color: ColorSpec
    frame_rate: Fraction | None
    duration: float | None
    declared_frames: int | None
    decoder: str


def plain_frame(
    info: VideoInfo, planes: tuple[Plane, ...], pts: float, index: int, *, interlaced: bool = False
) -> Frame:
    """Undamaged frame of a stream whose pictures are all as `info` says; it owns `planes`."""
    return Frame(
        planes=planes,
        pts=pts,
        index=index,
        corrupt=False,
        interlaced=interlaced,
        layout=info.layout,
        color=info.color,
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        sample_aspect_ratio=info.sample_aspect_ratio,
        _owner=planes,
    )


@dataclass(frozen=True, slots=True)
class Warning_:  # noqa: N801 - the builtin's name is taken
    """Something the reader of a score should know: ``code`` is stable, ``message`` is for people."""

    code: str
    message: str


@dataclass(slots=True)
class Counts:
    """Frames by fate. All are final when the iterator of frames has ended.

    Attributes
    ----------
    decoded : int
        Frames that came out of the decoder.
    skipped : int
        Frames that were never decoded because no sample needed them.
    corrupt : int
        Decoded frames that the decoder marked as damaged. They are never handed out.
    lost : int
        Packets or frames that could not be decoded at all.
    dropped_samples : int
        Samples that the selector chose and that were not handed out, because a frame of them was
        corrupt or lost.
    """

    decoded: int = 0
    skipped: int = 0
    corrupt: int = 0
    lost: int = 0
    dropped_samples: int = 0

    def restart(self) -> None:
        """Count from the start again."""
        self.decoded = self.skipped = self.corrupt = self.lost = self.dropped_samples = 0


@dataclass(slots=True)
class Marks:
    """Where parts of a video begin, in seconds, noted while it is read.

    Attributes
    ----------
    keys : list of float or None
        Frames that can be decoded without those before them; None in a source of uncoded pictures.
    shots : ShotDetector or None
        Set before the frames are read, it is shown every picture that is decoded; None looks for no shots.
    end : float
        Where the last frame ends, once it was read: as far as its length is known.
    """

    keys: list[float] | None = None
    shots: ShotDetector | None = None
    end: float = 0.0

    def restart(self) -> None:
        """Note from the start again; whoever holds the detector keeps it."""
        self.end = 0.0
        if self.keys is not None:
            self.keys.clear()
        if self.shots is not None:
            self.shots.restart()


@dataclass(slots=True, eq=False)
class Frame:
    """One picture in its native planes.

    Attributes
    ----------
    planes : tuple of array
        ``(rows, samples)`` uint8 or uint16 views, rows possibly strided; the second plane of a
        semi-planar layout is ``(rows, samples, 2)``. The views keep the decoder's buffer alive, so
        a frame may be kept as long as it is needed. They must not be written to. NumPy arrays, or,
        from a hardware decoder, torch tensors on its device; all planes of a frame are alike.
    pts : float
        Seconds; the first frame of the stream is 0.0.
    index : int
        Presentation order, counting frames that were skipped.
    """

    planes: tuple[Plane, ...]
    pts: float
    index: int
    corrupt: bool
    interlaced: bool
    layout: PixelLayout
    color: ColorSpec
    width: int
    height: int
    rotation: int = 0
    sample_aspect_ratio: Fraction = Fraction(1)
    _owner: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Sample `k` of the selector: a burst of consecutive frames, ``frames[0].pts`` is its time.

    The burst is shorter than the selector's at the end of the stream.
    """

    k: int
    frames: tuple[Frame, ...]


class Closing:
    """A context manager that calls its `close` at the end."""

    def close(self) -> None:
        """Release what is held; called again it does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class FrameSource(Protocol):
    """Frames of one video, in presentation order, once."""

    info: VideoInfo
    warnings: list[Warning_]
    counts: Counts
    marks: Marks

    def frames(self, selector: Selector) -> Iterator[Sampled]:
        """Yield the samples chosen by `selector`, in order of time."""
        ...

    def close(self) -> None:
        """Release the decoder and the file; frames already handed out stay valid."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
