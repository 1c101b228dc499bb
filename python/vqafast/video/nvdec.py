"""NVDEC through FFmpeg: decoded pictures stay on the GPU, as tensors that `frame_ingest` reads in place.

What the card cannot decode, the CPU does: by the codec, by its profile, or because there is no such card.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from av.codec import Codec
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError

from vqafast.engines.call_graphs import CAPTURING
from vqafast.engines.cuda_driver import context_failure, use_primary_context
from vqafast.errors import CudaError, VqafastError
from vqafast.video.open import Opened, open_video

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

    from vqafast.video.source import Frame

#: FFmpeg's name for pictures in the memory of a CUDA device; ``sw_format`` says what their planes are.
DEVICE_FORMAT = "cuda"
#: Layouts of such pictures that PyAV hands out. NVDEC has others too, for 4:2:2 and 4:4:4.
DEVICE_LAYOUTS = frozenset({"nv12", "p010le", "p016le"})

VIDEO_LIBRARY = "libnvcuvid.so.1"
# Their standards define every bit of a picture. Those of MPEG-1, 2 and 4, VC-1 and MJPEG leave the decoder
# room, and NVDEC's pictures need not be those of the CPU, on which the models were trained.
_EXACT = ("h264", "hevc", "vp8", "vp9")
# H.264 without loss is in it, at any sampling. NVDEC lists no such profile, and FFmpeg tries all the same.
_REFUSED_PROFILE = "High 4:4:4 Predictive"


class NvdecFailed(Exception):  # noqa: N818 - the name says what happened
    """NVDEC cannot go on with a stream; the CPU can. `PyAVSource` takes care of it."""


@dataclass(frozen=True, slots=True)
class Card:
    """NVDEC of one GPU, for `open_video`."""

    gpu: int

    def __call__(self) -> HWAccel:
        """Give FFmpeg the card, in the thread that opens."""
        # FFmpeg will work in the context that is current in this thread: the primary one, of torch and of
        # our kernels. Its own "primary_ctx" refuses one that was not made with its flags, as torch's is not.
        use_primary_context(self.gpu)
        options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
        return HWAccel("cuda", device=str(self.gpu), options=options, is_hw_owned=True)

    def failure(self) -> str | None:
        """Why this process cannot use the card any more; None while it can. Waits for its work."""
        with CAPTURING:  # waiting for a device breaks a capture
            return context_failure(self.gpu)


def open_on_gpu(file: BinaryIO, path: str, *, owns_file: bool, gpu: int | None) -> tuple[Opened, str | None]:
    """Open `file` for NVDEC of that GPU, or for the CPU where that fails or `gpu` is None.

    Returns
    -------
    opened : Opened
    obstacle : str or None
        What kept NVDEC from being used, when it was asked for; `picture_obstacle` may find more.

    Raises
    ------
    VqafastError
        As `open_video` on the CPU.
    """
    obstacle = None if gpu is None else nvdec_obstacle(gpu)
    if gpu is None or obstacle is not None:
        return open_video(file, path, owns_file=owns_file), obstacle
    try:
        # The file stays open for the second try, which closes it if it fails too.
        opened = open_video(file, path, owns_file=False, hwaccel=Card(gpu))
    except VqafastError as error:
        opened = open_video(file, path, owns_file=owns_file)
        # FFmpeg does not say whether the file or the card was at fault; that it opens without says so.
        return opened, f"the file cannot be opened with NVDEC ({error})"
    opened.owns_file = owns_file
    context = opened.stream.codec_context
    obstacle = codec_obstacle(context)
    if obstacle is not None:
        opened.hwaccel = None
        if context.is_hwaccel:
            try:
                opened.reopen()
            except BaseException:
                opened.close()
                raise
    return opened, obstacle


@cache
def nvdec_obstacle(gpu: int) -> str | None:
    """What keeps FFmpeg from decoding on that GPU, tried once per process; None when nothing does."""
    try:
        Card(gpu)().create(Codec("h264", "r"))
    except (FFmpegError, CudaError, NotImplementedError) as error:
        return f"NVDEC of GPU {gpu} cannot be used: {getattr(error, 'strerror', None) or error}"
    # FFmpeg loads it with the first packet, and without it goes on in software as for any codec.
    missing = video_library_error()
    if missing is not None:
        return (
            f"NVDEC of GPU {gpu} cannot be used: {VIDEO_LIBRARY} cannot be loaded ({missing}); it comes with "
            "the driver, and into a container when NVIDIA_DRIVER_CAPABILITIES includes video"
        )
    return None


def video_library_error() -> OSError | None:
    """What keeps the driver's video library, with NVDEC in it, from being loaded; None when nothing does."""
    try:
        ctypes.CDLL(VIDEO_LIBRARY)
    except OSError as error:
        return error
    return None


def on_device(picture: VideoFrame) -> bool:
    """Whether a decoded picture lies in the memory of a GPU."""
    return picture.format.name == DEVICE_FORMAT


def codec_obstacle(context: VideoCodecContext) -> str | None:
    """What keeps a stream from NVDEC by its codec and profile; None when nothing does."""
    if context.codec.canonical_name not in _EXACT:
        return f"NVDEC is used for {', '.join(_EXACT)} only, got {described(context)}"
    if context.profile == _REFUSED_PROFILE:
        return f"NVDEC is not used for {described(context)}"
    return None


def picture_obstacle(context: VideoCodecContext, picture: VideoFrame) -> str | None:
    """What the first picture shows that keeps a stream from NVDEC; None when nothing does."""
    obstacle = codec_obstacle(context)
    if obstacle is not None:
        return obstacle
    if not on_device(picture):
        # FFmpeg goes on in software in both cases, and does not say which it was.
        return f"NVDEC does not decode {described(context)}, or the GPU has no memory left for it"
    obstacle = layout_obstacle(picture)
    if obstacle is not None:
        return obstacle
    # Hardware pictures have the size of their surface less the crop at the right and the bottom. A surface
    # has even sides, and what it has beyond the picture is not written. PyAV halves odd sides downwards.
    width, height = context.width, context.height
    if (picture.width, picture.height) != (width, height) or width % 2 or height % 2:
        return (
            f"NVDEC does not give the {width}x{height} pixels of the picture: odd sides, and crops at the "
            "left or the top, are left to the CPU"
        )
    return None


def layout_obstacle(picture: VideoFrame) -> str | None:
    """What keeps a picture on the device from being read there, by its planes; None when nothing does."""
    form = picture.sw_format
    if form is not None and form.name in DEVICE_LAYOUTS:
        return None
    return (
        f"NVDEC gives pictures as {None if form is None else form.name}, and only "
        f"{', '.join(sorted(DEVICE_LAYOUTS))} can be read on a GPU"
    )


def described(context: VideoCodecContext) -> str:
    """Codec, profile and pixel format of a stream, for messages."""
    parts = [context.codec.canonical_name, context.profile, context.pix_fmt]
    return " ".join(str(part) for part in parts if part and part != DEVICE_FORMAT)


def device_planes(picture: VideoFrame) -> tuple[Any, ...]:
    """View the planes of a picture on the device as torch tensors; they keep the picture alive.

    FFmpeg writes them on the device's default stream, perhaps still while this returns.
    """
    import torch

    # The capsule is asked for without a stream, as PyAV requires; whoever reads orders himself after
    # the default stream.
    return tuple(torch.utils.dlpack.from_dlpack(plane.__dlpack__()) for plane in picture.planes)


def to_host(frame: Frame) -> Frame:
    """Copy a frame's planes from the device, for what only the CPU does; a host frame is given back."""
    if isinstance(frame.planes[0], np.ndarray):
        return frame
    return replace(frame, planes=tuple(plane.cpu().numpy() for plane in frame.planes))
