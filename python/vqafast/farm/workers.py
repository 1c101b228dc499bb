"""How many processes score on a machine, and with how much of it each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument
from vqafast.scoring.devices import cuda_obstacle
from vqafast.scoring.resources import available_cores
from vqafast.scoring.scorer import videos_at_once

if TYPE_CHECKING:
    from vqafast.scoring.scorer import ScorerOptions


def workers_of(scorer: ScorerOptions, *, workers: int, videos: int) -> tuple[list[str], int, int]:
    """Device of every worker, CPU threads of each, and videos at once in each.

    Parameters
    ----------
    scorer : ScorerOptions
        With "threads" 0 or without, the cores are shared out among the workers.
    workers : int
        Processes; 0 is one for each core of "threads". On GPUs there is one for each GPU.
    videos : int
        At once in a process; 0 is 1 on CPUs, and on GPUs as many as keep the decoders busy.

    Raises
    ------
    InvalidArgument
    """
    from vqafast.engines.cuda_driver import probe

    if min(workers, videos) < 0:
        raise InvalidArgument(
            f"workers and videos must be 0 (as many as fit) or more, got {workers}, {videos}"
        )
    device = scorer.get("device", "cpu")
    threads = scorer.get("threads", 0)
    if device.startswith("cuda") or (device == "auto" and cuda_obstacle() is None):
        names = [f"cuda:{gpu.index}" for gpu in probe().gpus] if ":" not in device else [device]
        names = names or [device]
        at_once = videos_at_once(videos or None, on_gpu=True)
        return names, threads or max(1, available_cores() // len(names)), at_once
    cores = available_cores()
    count = workers or max(1, cores // max(1, threads))
    return [device] * count, threads or max(1, cores // count), videos or 1
