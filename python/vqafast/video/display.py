"""The viewing condition: sampled frames scaled as a player would show them on a display."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vqafast.errors import InvalidArgument, UnsupportedPixelFormat
from vqafast.video.formats import (
    LAYOUTS,
    MIN_SIDE,
    check_shown,
    display_size,
    plane_array,
    plane_shapes,
)
from vqafast.video.nvdec import to_host
from vqafast.video.source import Sampled

if TYPE_CHECKING:
    from vqafast.video.source import Frame, PixelLayout, Plane

MAX_DISPLAY_SIDE = 8192
MAX_DISPLAY_PIXELS = 8192 * 4320


@dataclass(frozen=True, slots=True)
class Display:
    """A display of `width` by `height` square pixels.

    Raises
    ------
    InvalidArgument
        When a side is below 32 or above 8192, or the area above 8192 x 4320.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        sides = (self.width, self.height)
        whole = all(isinstance(s, int) and not isinstance(s, bool) for s in sides)
        if not whole or not all(MIN_SIDE <= s <= MAX_DISPLAY_SIDE for s in sides):
            raise InvalidArgument(
                f"display: width and height must be whole numbers in {MIN_SIDE}..{MAX_DISPLAY_SIDE}, "
                f"got {self.width!r:.40} and {self.height!r:.40}"
            )
        if self.width * self.height > MAX_DISPLAY_PIXELS:
            raise InvalidArgument(
                f"display: must have at most {MAX_DISPLAY_PIXELS} pixels, got {self.width}x{self.height}"
            )

    @classmethod
    def of(cls, value: Display | tuple[int, int] | str) -> Display:
        """Read a pair of numbers or text like ``1920x1080``."""
        if isinstance(value, Display):
            return value
        if isinstance(value, str):
            match = re.fullmatch(r"\s*([0-9]{1,6})\s*[xX]\s*([0-9]{1,6})\s*", value)
            if match:
                return cls(int(match[1]), int(match[2]))
        elif isinstance(value, (tuple, list)) and len(value) == 2:
            return cls(value[0], value[1])
        raise InvalidArgument(f"display: must be width and height like 1920x1080, got {value!r:.60}")

    def shown(self, width: int, height: int, aspect: Fraction, rotation: int) -> tuple[int, int]:
        """Size of the scaled picture before rotation, for a coded picture of `width` by `height`.

        The picture as shown (`aspect` of a sample and `rotation` applied) fills the display in one
        direction and keeps its shape; the other side is the nearest even number, since chroma is
        stored for two pixels at a time.
        """
        wide, high = display_size(width, height, aspect, rotation)
        factor = min(Fraction(self.width, wide), Fraction(self.height, high))
        sides = [
            side if side == limit else min(limit, max(2, 2 * round(side / 2)))
            for side, limit in ((factor * wide, self.width), (factor * high, self.height))
        ]
        across, down = int(sides[0]), int(sides[1])
        return (down, across) if rotation in (90, 270) else (across, down)


class Scaler:
    """Scales the frames of one video to a display, with swscale's bicubic.

    The bits are those of FFmpeg's ``scale=W:H:flags=bicubic`` on the same planes. Semi-planar pictures
    become planar first, as swscale rounds them in another way: a GPU's NV12 is scaled to the bits of the
    CPU's planes. Frames that two samples share are scaled once. Not for two threads at once.

    Parameters
    ----------
    display : Display
    threads : int
        Threads of swscale.
    """

    def __init__(self, display: Display, threads: int = 1) -> None:
        self._display = display
        self._threads = threads
        self._reformatter = VideoReformatter()
        self._last: dict[int, Frame] = {}
        self._picture: VideoFrame | None = None

    def scale(self, sampled: Sampled) -> Sampled:
        """Scale every frame; one that fits the display already is handed on as it is.

        Raises
        ------
        UnsupportedPixelFormat
            When swscale cannot scale the layout.
        TooSmall
            When the picture is so narrow that it has a side below the minimum on this display.
        """
        frames = [self._last.get(f.index) or self._scaled(f) for f in sampled.frames]
        self._last = {f.index: f for f in frames}
        return Sampled(sampled.k, tuple(frames))

    def _scaled(self, frame: Frame) -> Frame:
        size = self._display.shown(frame.width, frame.height, frame.sample_aspect_ratio, frame.rotation)
        check_shown(size)
        if size == (frame.width, frame.height):
            return replace(frame, sample_aspect_ratio=Fraction(1))
        frame = _planar(to_host(frame))
        layout = frame.layout
        try:
            scaled = self._reformatter.reformat(
                self._filled(frame),
                width=size[0],
                height=size[1],
                format=layout.name,
                interpolation=Interpolation.BICUBIC,
                threads=self._threads,
            )
        except (FFmpegError, ValueError) as error:
            raise UnsupportedPixelFormat(
                f"display: the pixel format must be one that swscale scales, got {layout.name} ({error}); "
                "score without a display, or convert the video first"
            ) from error
        return replace(
            frame,
            planes=_planes(scaled, layout),
            width=size[0],
            height=size[1],
            sample_aspect_ratio=Fraction(1),
            _owner=scaled,
        )

    def _filled(self, frame: Frame) -> VideoFrame:
        """Copy the planes into a picture without tags.

        A decoder's own picture may say where its chroma lies; swscale then moves the chroma to where
        it takes an untagged one's to lie, which FFmpeg's scale filter does not.
        """
        like = (frame.width, frame.height, frame.layout.name)
        picture = self._picture
        if picture is None or (picture.width, picture.height, picture.format.name) != like:
            picture = self._picture = VideoFrame(*like)
        for target, plane in zip(_planes(picture, frame.layout), frame.planes, strict=True):
            target[...] = plane.reshape(target.shape)
        return picture


def _planar(frame: Frame) -> Frame:
    """The same samples, at the low end of each item, with Cb and Cr in planes of their own."""
    layout = frame.layout
    if not layout.semi_planar:
        return frame
    wanted = replace(layout, semi_planar=False, msb_aligned=False)
    like = next(other for other in LAYOUTS.values() if replace(other, name=layout.name) == wanted)
    shift = 16 - layout.bit_depth if layout.msb_aligned else 0
    luma, chroma = (np.asarray(plane) >> shift for plane in frame.planes)
    return replace(frame, planes=(luma, chroma[..., 0], chroma[..., 1]), layout=like)


def _planes(picture: VideoFrame, layout: PixelLayout) -> tuple[Plane, ...]:
    """Views of the picture's planes, as a `Frame` has them."""
    planes: list[Plane] = []
    shapes = plane_shapes(layout, picture.width, picture.height)
    for buffer, (rows, samples) in zip(picture.planes, shapes, strict=True):
        view = plane_array(buffer, buffer.line_size, rows, samples, layout.bit_depth)
        planes.append(view.reshape(rows, samples // 2, 2) if layout.semi_planar and planes else view)
    return tuple(planes)
