"""NVDEC through FFmpeg: decoded pictures stay on the GPU, as tensors that `frame_ingest` reads in place.

What the card cannot decode, the CPU does: by the codec, by its profile, or because there is no such card.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from av.codec import Codec
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError

from vqafast.engines.cuda_driver import use_primary_context
from vqafast.errors import CudaError, VqafastError
from vqafast.video.open import Opened, open_video

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

    from vqafast.video.source import Frame

#: FFmpeg's name for pictures in the memory of a CUDA device; ``sw_format`` says what their planes are.
DEVICE_FORMAT = "cuda"


def open_on_gpu(file: BinaryIO, path: str, *, owns_file: bool, gpu: int | None) -> tuple[Opened, str | None]:
    """Open `file` for NVDEC of that GPU, or for the CPU where that fails or `gpu` is None.

    Returns
    -------
    opened : Opened
    obstacle : str or None
        What kept NVDEC from being tried, when it was asked for.

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
        opened = open_video(file, path, owns_file=False, hwaccel=partial(_hwaccel, gpu))
        opened.owns_file = owns_file
        return opened, None
    except VqafastError as error:
        opened = open_video(file, path, owns_file=owns_file)
        # FFmpeg does not say whether the file or the card was at fault; that it opens without says so.
        return opened, f"the file cannot be opened with NVDEC ({error})"


@cache
def nvdec_obstacle(gpu: int) -> str | None:
    """What keeps FFmpeg from decoding on that GPU, tried once per process; None when nothing does."""
    try:
        _hwaccel(gpu).create(Codec("h264", "r"))
    except (FFmpegError, CudaError, NotImplementedError) as error:
        return f"NVDEC of GPU {gpu} cannot be used: {getattr(error, 'strerror', None) or error}"
    return None


def _hwaccel(gpu: int) -> HWAccel:
    # FFmpeg will work in the context that is current in this thread: the primary one, of torch and of our
    # kernels. Its own "primary_ctx" refuses one that was not made with its flags, as torch's is not.
    use_primary_context(gpu)
    options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
    return HWAccel("cuda", device=str(gpu), options=options, is_hw_owned=True)


def on_device(picture: VideoFrame) -> bool:
    """Whether a decoded picture lies in the memory of a GPU."""
    return picture.format.name == DEVICE_FORMAT


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
