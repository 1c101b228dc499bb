"""The only import of nvidia.dali: frames of one file by number, as native planes.

Of DALI's operators only ``experimental.readers.video`` gives YCbCr; ``decoders.video``, which takes frame
numbers, gives RGB by BT.601 whatever the stream says. The reader's list of files is fixed when a pipeline is
built, it passes over a file that it cannot open without an error, and it decodes in one thread. So every
file has a pipeline of its own: they decode side by side, and one that fails takes no other file along. NVDEC
decoders outlive a pipeline in DALI's cache, up to 100 idle ones for each GPU. Those of pictures that are not
cropped serve the next file of the same size; those of cropped ones (1080p of H.264 is) serve none.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from vqafast.engines.arrays import TorchArrays
from vqafast.engines.cuda_driver import probe
from vqafast.errors import EngineUnavailable, InvalidArgument, Unsupported
from vqafast.video.dali_nvdec import DECODER_SIZES, PictureSize
from vqafast.video.dali_planes import planes_of_rgb, planes_on_device
from vqafast.video.nvdec import video_library_error
from vqafast.video.source import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from vqafast.video.dali_plan import Timeline
    from vqafast.video.source import Plane, VideoInfo

_DEVICE = re.compile(r"cpu|cuda(:[0-9]+)?")
# Frames per run, and bytes of them: a reader holds about three runs.
_CHUNK_FRAMES = 8
_CHUNK_BYTES = 64 << 20
_SAME_TIME = 1e-6  # seconds
_LONGEST_REASON = 300
_REASON = re.compile(r"encountered:\s*(.+?)\s*(?:\nC\+\+ context|\nCurrent pipeline|$)", re.DOTALL)


class DaliFailed(Exception):  # noqa: N818 - it is handled: another decoder goes on
    """Why DALI gave up a file."""


@dataclass(frozen=True, slots=True)
class Backend:
    """DALI for one device.

    Attributes
    ----------
    device : str
        ``"cpu"`` or ``"cuda:N"``.
    gpu : int or None
    """

    version: str
    device: str
    gpu: int | None

    @classmethod
    def load(cls, device: str) -> Backend:
        """Import DALI and look for the device.

        Raises
        ------
        InvalidArgument
        EngineUnavailable
        """
        if not _DEVICE.fullmatch(device):
            raise InvalidArgument(f"device: must be cpu, cuda or cuda:N, got {device!r}")
        gpu = None
        if device != "cpu":
            # DALI must not be asked on a machine without a driver.
            reason = probe().reason
            if reason is not None:
                raise EngineUnavailable(f"DALI cannot decode on {device}: {reason}")
            missing = video_library_error()
            if missing is not None:
                raise EngineUnavailable(
                    f"DALI cannot decode on {device}: the driver's video library cannot be loaded: {missing}"
                    "; in a container, NVIDIA_DRIVER_CAPABILITIES must include video"
                ) from missing
            device = TorchArrays(device).device
            gpu = int(device.partition(":")[2])
        try:
            version = str(import_module("nvidia.dali").__version__)
        except (ImportError, OSError) as error:
            raise EngineUnavailable(
                f"nvidia.dali cannot be imported: {error}; pip install 'vqafast[dali]'"
            ) from error
        return cls(version, device, gpu)


class RangeReader(Closing):
    """Decodes ranges of one file's frames, and runs ahead of the caller by some frames.

    Parameters
    ----------
    file : binary file
        Open and regular; DALI opens the same file anew, so it may be anywhere in it.
    info : VideoInfo
        What every picture must be like.
    ranges : list of (int, int)
        Frames ``first .. last - 1``, ascending.

    Raises
    ------
    DaliFailed
    """

    def __init__(
        self,
        backend: Backend,
        file: BinaryIO,
        info: VideoInfo,
        timeline: Timeline,
        ranges: list[tuple[int, int]],
    ) -> None:
        self._backend = backend
        self._info = info
        self._timeline = timeline
        self._ranges = ranges
        self._count = sum(last - first for first, last in ranges)
        most = max(1, _CHUNK_BYTES // (3 * info.width * info.height))
        self._chunk = min(_CHUNK_FRAMES, most, self._count)
        self._claim_size()
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="vqafast-dali-", ignore_cleanup_errors=True)
        except OSError as error:
            raise DaliFailed(f"no temporary folder can be made: {error}") from error
        self._folder_fd: int | None = None
        self._pipe: Any = None
        try:
            self._pipe = self._build(file)
            self._pipe.schedule_run()
        except Exception as error:
            self.close()
            raise DaliFailed(_reason(error)) from error

    def close(self) -> None:
        """Stop decoding; planes already handed out stay valid."""
        # Without a reference DALI ends its threads, once they have finished the run that they are in.
        self._pipe = None
        if self._folder_fd is not None:
            os.close(self._folder_fd)
            self._folder_fd = None
        self._folder.cleanup()

    def _claim_size(self) -> None:
        gpu, coded = self._backend.gpu, self._timeline.coded
        if gpu is None or coded is None:
            return
        size = PictureSize(coded, (self._info.width, self._info.height))
        obstacle = DECODER_SIZES.claim(gpu, self._info.codec, size)
        if obstacle is not None:
            raise DaliFailed(obstacle)

    def _build(self, file: BinaryIO) -> Any:
        # As Any: the type checker must be content with DALI's annotations and without them.
        dali: Any = import_module("nvidia.dali")
        # DALI keeps its index of a file for ever, under the file's name: a name that was used for another
        # file would bring that one's index. The link leads to the file that was checked, not to a path.
        name = os.path.basename(self._folder.name)
        os.symlink(f"/proc/self/fd/{file.fileno()}", os.path.join(self._folder.name, name))
        # In its list a name ends at white space, which the folder's own may hold.
        self._folder_fd = os.open(self._folder.name, os.O_RDONLY | os.O_DIRECTORY)
        link = f"/proc/self/fd/{self._folder_fd}/{name}"
        # Behind its last sample the reader starts over, and it reads ahead. What it reads then are the
        # first frames of the file, the cheapest to decode.
        spare = (0, min(len(self._timeline.ticks), 3 * self._chunk))
        files = os.path.join(self._folder.name, "list")
        with open(files, "w", encoding="utf-8") as out:
            out.writelines(f"{link} 0 {first} {last}\n" for first, last in [*self._ranges, spare])
        gpu = self._backend.gpu
        pipe = dali.Pipeline(batch_size=self._chunk, num_threads=1, device_id=gpu, prefetch_queue_depth=1)
        with pipe:
            outputs = dali.fn.experimental.readers.video(
                device="cpu" if gpu is None else "gpu",
                file_list=files,
                file_list_format="frames",
                file_list_include_end=False,
                sequence_length=1,
                pad_mode="none",
                # On the CPU DALI 2.4 fails at YCbCr, always: swscale misses two of three planes.
                image_type=dali.types.RGB if gpu is None else dali.types.YCbCr,
                enable_frame_num="sequence",
                enable_timestamps=True,
            )
            pipe.set_outputs(*outputs)
        pipe.build()
        return pipe

    def frames(self) -> Iterator[tuple[int, tuple[Plane, ...]]]:
        """Yield number and planes (Y, Cb, Cr) of every frame of the ranges, in order.

        On a GPU the planes of one run share their memory.

        Raises
        ------
        DaliFailed
        """
        numbers = (number for first, last in self._ranges for number in range(first, last))
        while some := list(islice(numbers, self._chunk)):
            self._count -= len(some)
            yield from zip(some, self._run(some), strict=True)

    def _run(self, numbers: list[int]) -> list[tuple[Plane, ...]]:
        """Take the next run, of which `numbers` are wanted, and begin the one behind it."""
        pipe = self._pipe
        if pipe is None:
            raise Unsupported(f"{self._info.path}: a source that is closed cannot be read")
        try:
            pixels, _, found, seconds = pipe.share_outputs()
            self._check(numbers, pixels.shape(), self._host(found), self._host(seconds))
            if self._backend.gpu is None:
                full_range = self._info.color.full_range
                planes = [planes_of_rgb(rgb[0], full_range) for rgb in pixels.as_array()[: len(numbers)]]
            else:
                planes = planes_on_device(pixels.as_tensor(), len(numbers), self._backend.device)
            pipe.release_outputs()
            if self._count:
                pipe.schedule_run()
        except DaliFailed:
            raise
        except Exception as error:
            raise DaliFailed(_reason(error)) from error
        return planes

    def _host(self, outputs: Any) -> NDArray[Any]:
        """First element of each sample of a small output."""
        array: NDArray[Any] = (outputs if self._backend.gpu is None else outputs.as_cpu()).as_array()
        return array[:, 0]

    def _check(
        self,
        numbers: list[int],
        shapes: list[tuple[int, ...]],
        found: NDArray[np.int32],
        seconds: NDArray[np.float64],
    ) -> None:
        """Refuse what DALI gives when its index of the file is another than ours."""
        size = (1, self._info.height, self._info.width, 3)
        for at, number in enumerate(numbers):
            if tuple(shapes[at]) != size:
                got = "x".join(str(n) for n in reversed(shapes[at][1:3]))
                raise DaliFailed(f"pictures must be {self._info.width}x{self._info.height}, got {got}")
            late = abs(float(seconds[at]) - self._timeline.seconds(number))
            if int(found[at]) != number or late > _SAME_TIME:
                raise DaliFailed(
                    f"it must give frame {number} at {self._timeline.seconds(number):.6f} s, "
                    f"got {found[at]} at {seconds[at]:.6f} s"
                )


def _reason(error: Exception) -> str:
    """What DALI says, without where in its sources it says it."""
    match = _REASON.search(str(error))
    text = " ".join((match[1] if match else str(error)).split())
    if "number of input samples: 0" in text:
        return "it cannot open the file"
    return text[:_LONGEST_REASON] or type(error).__name__
