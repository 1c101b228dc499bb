"""Decoded AVFrames as `Frame`: native planes without a copy, everything else through swscale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from vqafast.errors import UnsupportedPixelFormat
from vqafast.video.formats import (
    LAYOUTS,
    clockwise,
    color_spec,
    native_name,
    peak_of,
    plane_array,
    plane_shapes,
    refuse_hdr,
)
from vqafast.video.nvdec import NvdecFailed, device_planes, layout_obstacle, on_device
from vqafast.video.source import ColorSpec, Frame, PixelLayout, Plane, Warning_

if TYPE_CHECKING:
    from fractions import Fraction

    from av.video.frame import VideoFrame

    from vqafast.video.timeline import Entry


class PictureReader:
    """Reads the frames of one stream, and notes what a reader of the score should know.

    Parameters
    ----------
    path : str
        For messages.
    warnings : list of Warning_
        Each remark is appended once.
    """

    def __init__(self, path: str, codec_tag: str, aspect: Fraction, warnings: list[Warning_]) -> None:
        self._path = path
        self._codec_tag = codec_tag
        self._aspect = aspect
        self._warnings = warnings
        self._said: set[str] = set()
        self._reformatter: VideoReformatter | None = None
        self._shape: tuple[int, int, str] | None = None

    def restart(self) -> None:
        """Expect the stream from its start, in another form."""
        self._shape = None

    def warn(self, code: str, message: str) -> None:
        """Append a remark once."""
        if code not in self._said:
            self._said.add(code)
            self._warnings.append(Warning_(code, message))

    def correct(self, code: str, message: str) -> None:
        """Append a remark in place of what was said with that code."""
        self._warnings[:] = [warning for warning in self._warnings if warning.code != code]
        self._said.discard(code)
        self.warn(code, message)

    def read(self, picture: VideoFrame, entry: Entry) -> Frame:
        """Make the frame; it keeps `picture`'s buffers alive."""
        refuse_hdr(picture.color_trc, self._codec_tag, self._path)
        self._note_shape(picture)
        if picture.interlaced_frame:
            self.warn("interlaced", "the video is interlaced; it is scored as it is, fields interleaved")
        if on_device(picture):
            return self._on_device(picture, entry)
        name, _, alpha = native_name(picture.format.name)
        if alpha:
            self.warn("alpha_ignored", f"the alpha plane of {picture.format.name} is ignored")
        if name is None:
            source, layout, color = self._convert(picture)
        else:
            source, layout, color = picture, LAYOUTS[name], self.color(picture)
        shapes = plane_shapes(layout, source.width, source.height)
        planes: list[Plane] = []
        for buffer, (rows, samples) in zip(source.planes, shapes, strict=False):
            view = plane_array(buffer, buffer.line_size, rows, samples, layout.bit_depth)
            if layout.semi_planar and planes:
                view = view.reshape(rows, samples // 2, 2)
            planes.append(view)
        return self._frame(picture, entry, tuple(planes), layout, color, source)

    def luma(self, picture: VideoFrame) -> tuple[Plane, int]:
        """Give the first plane ``(rows, samples)`` of a picture and the largest value of its samples."""
        if on_device(picture):
            layout = self._device_layout(picture)
            return device_planes(picture)[0], peak_of(layout)
        name = native_name(picture.format.name)[0]
        source, layout = self._convert(picture)[:2] if name is None else (picture, LAYOUTS[name])
        rows, samples = plane_shapes(layout, source.width, source.height)[0]
        plane = plane_array(source.planes[0], source.planes[0].line_size, rows, samples, layout.bit_depth)
        return plane, peak_of(layout)

    def _on_device(self, picture: VideoFrame, entry: Entry) -> Frame:
        layout = self._device_layout(picture)
        return self._frame(picture, entry, device_planes(picture), layout, self.color(picture), picture)

    def _device_layout(self, picture: VideoFrame) -> PixelLayout:
        obstacle = layout_obstacle(picture)
        if obstacle is not None:
            raise NvdecFailed(obstacle)
        return LAYOUTS[cast("Any", picture.sw_format).name]

    def _frame(
        self,
        picture: VideoFrame,
        entry: Entry,
        planes: tuple[Plane, ...],
        layout: PixelLayout,
        color: ColorSpec,
        owner: VideoFrame,
    ) -> Frame:
        return Frame(
            planes=planes,
            pts=entry.seconds,
            index=entry.index,
            corrupt=picture.is_corrupt,
            interlaced=picture.interlaced_frame,
            layout=layout,
            color=color,
            width=picture.width,
            height=picture.height,
            rotation=clockwise(picture.rotation),
            sample_aspect_ratio=self._aspect,
            _owner=owner,
        )

    def color(self, picture: VideoFrame) -> ColorSpec:
        """Colour of the picture as its tags say."""
        _, full_range, _ = native_name(picture.format.name)
        spec, remark = color_spec(
            picture.colorspace,
            picture.color_range,
            picture.color_trc,
            picture.height,
            full_range=full_range,
            path=self._path,
        )
        if remark is not None:
            self.warn("matrix_approximated", remark)
        return spec

    def _note_shape(self, picture: VideoFrame) -> None:
        shape = (picture.width, picture.height, picture.format.name)
        if self._shape is not None and shape != self._shape:
            self.warn(
                "format_changed",
                "the picture's size or format changes in the stream: "
                f"{self._shape[0]}x{self._shape[1]} {self._shape[2]} to "
                f"{shape[0]}x{shape[1]} {shape[2]}",
            )
        self._shape = shape

    def _convert(self, picture: VideoFrame) -> tuple[VideoFrame, PixelLayout, ColorSpec]:
        """RGB becomes full-range BT.709 at 4:4:4; odd YUV packings keep their colour."""
        form = picture.format
        deep = max((c.bits for c in form.components), default=8) > 8
        rgb = form.is_rgb or form.has_palette or form.is_bayer
        target = "yuv444p16le" if deep else "yuv444p"
        if not rgb and not any(c.is_chroma for c in form.components):
            target = "gray16le" if deep else "gray"
        self.warn("pixel_format_converted", f"{form.name} is converted to {target} by swscale")
        if any(c.is_alpha for c in form.components):
            self.warn("alpha_ignored", f"the alpha channel of {form.name} is ignored")
        if self._reformatter is None:
            self._reformatter = VideoReformatter()
        try:
            if rgb:
                converted = self._reformatter.reformat(
                    picture,
                    format=target,
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.JPEG,
                )
                color = ColorSpec("bt709", True, "bt709")
            else:
                converted = self._reformatter.reformat(picture, format=target)
                color = self.color(picture)
        except (FFmpegError, ValueError) as error:
            raise UnsupportedPixelFormat(
                f"{self._path}: the pixel format must be planar or semi-planar YUV, gray, or one "
                f"that swscale reads; got {form.name}: {error}",
                path=self._path,
            ) from error
        return converted, LAYOUTS[target], color
