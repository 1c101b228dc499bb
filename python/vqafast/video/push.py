"""Frames that the caller has already: NumPy or DLPack planes with a time each."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument, Unsupported
from vqafast.video.formats import (
    LAYOUTS,
    MAX_ASPECT,
    display_size,
    native_name,
    peak_of,
    plane_shapes,
    sane_aspect,
)
from vqafast.video.open import check_size
from vqafast.video.source import (
    Closing,
    ColorSpec,
    Counts,
    Marks,
    PixelLayout,
    Sampled,
    VideoInfo,
    Warning_,
    plain_frame,
)
from vqafast.video.timeline import Assembler, Chooser, Clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vqafast.video.sampling import Selector
    from vqafast.video.source import Plane


class PushSource(Closing):
    """The push side of a stream: frames go in one by one, completed samples come out.

    Parameters
    ----------
    width, height : int
        Picture in pixels.
    pix_fmt : str
        FFmpeg's name of the layout, for example ``"yuv420p"`` or ``"nv12"``.
    selector : Selector
        Chooses the samples; one that needs the length is refused.
    time_base : Fraction or float, optional
        Seconds per unit of `pts`. With the default of 1, times are in seconds.
    color : ColorSpec, optional
        Default: bt709 from 720 lines on, else bt601; limited range (full for ``yuvj``).
    copy : bool
        Copy the planes of the frames that are kept. False is for callers that do not touch a
        buffer again until its sample was used.
    """

    def __init__(
        self,
        width: int,
        height: int,
        pix_fmt: str,
        selector: Selector,
        *,
        time_base: Fraction | float = 1,
        color: ColorSpec | None = None,
        rotation: int = 0,
        sample_aspect_ratio: Fraction = Fraction(1),
        copy: bool = True,
    ) -> None:
        name, full_range, _ = native_name(pix_fmt)
        if name is None or pix_fmt.startswith("yuva"):
            raise Unsupported(f"pix_fmt must be one of {', '.join(sorted(LAYOUTS))}, got {pix_fmt}")
        if min(width, height) < 1 or not float(time_base) > 0:
            raise InvalidArgument(
                f"width, height and time_base must be positive, got {width}, {height}, {time_base}"
            )
        if rotation not in (0, 90, 180, 270):
            raise InvalidArgument(f"rotation must be 0, 90, 180 or 270, got {rotation}")
        if selector.needs_length:
            raise InvalidArgument("a pushed stream has no known length; use TimeGrid or EveryFrame")
        check_size(width, height, "<pushed frames>")
        if sane_aspect(sample_aspect_ratio) != sample_aspect_ratio:
            raise InvalidArgument(
                f"sample_aspect_ratio must be between 1:{MAX_ASPECT} and {MAX_ASPECT}:1, "
                f"got {sample_aspect_ratio}"
            )
        default = ColorSpec("bt709" if height >= 720 else "bt601", full_range, "unspecified")
        wide, high = display_size(width, height, sample_aspect_ratio, rotation)
        self.info = VideoInfo(
            path="<pushed frames>",
            container="",
            codec="",
            width=width,
            height=height,
            display_width=wide,
            display_height=high,
            rotation=rotation,
            sample_aspect_ratio=sample_aspect_ratio,
            layout=LAYOUTS[name],
            color=color or default,
            frame_rate=None,
            duration=None,
            declared_frames=None,
            decoder="caller",
        )
        self.warnings: list[Warning_] = []
        self.counts = Counts()
        self.marks = Marks()
        self._copy = copy
        self._tick = float(time_base)
        self._last: float | None = None
        self._first = 0.0
        self._chooser = Chooser(
            selector.begin(),
            selector.burst,
            Clock(1e-9, 0.0),
            selector.stride,
        )
        self._assembler = Assembler(selector.burst, self.counts, selector.stride)
        self._finished = False

    def push(self, planes: Sequence[Any], pts: float) -> Iterator[Sampled]:
        """Take the next frame in presentation order; return the samples that it completes.

        Parameters
        ----------
        planes : sequence of array
            NumPy arrays, or anything on the CPU with ``__dlpack__``: one array per plane,
            ``(rows, samples)``, uint8 for 8 bits and uint16 above; the second plane of a
            semi-planar layout may be ``(rows, samples)`` or ``(rows, samples / 2, 2)``.
        pts : float
            In units of `time_base`; must be above the last frame's.

        Raises
        ------
        InvalidArgument
            A plane's shape or type is wrong, or time does not advance.
        """
        if self._finished:
            raise InvalidArgument("push: the stream is finished")
        seconds = float(pts) * self._tick
        if not np.isfinite(seconds) or (self._last is not None and seconds <= self._last):
            raise InvalidArgument(f"push: pts must be finite and increase, got {pts}")
        arrays = self._check(planes)
        if self._last is None:
            self._first = seconds
        self._last = seconds
        # Nanoseconds: exact enough for any time base, and whole as the clock's ticks must be.
        entry = self._chooser.admit(round((seconds - self._first) * 1e9))
        self.counts.decoded += 1
        if self.marks.shots is not None:
            self.marks.shots.see(entry.seconds, arrays[0], peak_of(self.info.layout))
        if not entry.wanted:
            return iter(())
        kept = tuple(a.copy() for a in arrays) if self._copy else arrays
        frame = plain_frame(self.info, kept, entry.seconds, entry.index)
        return iter(list(self._assembler.add(entry, frame)))

    def finish(self) -> Iterator[Sampled]:
        """Return the samples whose bursts the end has cut short."""
        self._finished = True
        self.marks.end = max(0.0, self._chooser.clock.last)
        return iter(list(self._assembler.finish()))

    def close(self) -> None:
        """Refuse further frames."""
        self._finished = True

    def _check(self, planes: Sequence[Any]) -> tuple[Plane, ...]:
        layout: PixelLayout = self.info.layout
        shapes = plane_shapes(layout, self.info.width, self.info.height)
        if len(planes) != len(shapes):
            raise InvalidArgument(f"push: {layout.name} must have {len(shapes)} planes, got {len(planes)}")
        dtype = np.uint8 if layout.bit_depth == 8 else np.uint16
        arrays: list[Plane] = []
        for number, (plane, (rows, samples)) in enumerate(zip(planes, shapes, strict=True)):
            array: Any = plane if isinstance(plane, np.ndarray) else np.from_dlpack(plane)
            expected: list[tuple[int, ...]] = [(rows, samples)]
            if layout.semi_planar and number:
                expected.append((rows, samples // 2, 2))
            if array.shape not in expected or array.dtype != dtype:
                raise InvalidArgument(
                    f"push: plane {number} must be {np.dtype(dtype).name} of shape {expected[0]}, "
                    f"got {array.dtype.name} of shape {array.shape}"
                )
            arrays.append(array.reshape(expected[-1]))
        return tuple(arrays)
