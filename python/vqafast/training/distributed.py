"""Data parallel training under ``torchrun``: gloo on CPUs, NCCL on GPUs, one process per device.

Gradients are summed here rather than by `torch.nn.parallel.DistributedDataParallel`: the rank loss
compares all pairs of the global batch, so its gradient is a sum over processes, not a mean of
losses of parts; and a last batch may leave a process without a sample.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch import distributed as dist

from vqafast.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable

# Feature extraction of a large data set may keep one process busy for days.
_PATIENCE = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class World:
    """One process among `size`; 1 is an ordinary run."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` samples are this process's."""
        return slice(self.rank, count, self.size)

    def gather(self, part: Tensor, count: int) -> Tensor:
        """All `count` values ``(count,)`` from every process's share ``(n,)``.

        The gradient goes to this process's own share only.
        """
        if self.size == 1:
            return part
        longest = -(-count // self.size)
        sent = torch.zeros(longest, dtype=part.dtype, device=part.device)
        sent[: len(part)] = part.detach()
        received = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(received, sent)
        owned = [r[: len(range(count)[rank :: self.size])] for rank, r in enumerate(received)]
        owned[self.rank] = part
        order = torch.cat([torch.arange(rank, count, self.size) for rank in range(self.size)])
        return torch.cat(owned)[torch.argsort(order).to(part.device)]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.size == 1:
            return
        wanted = [p for p in parameters if p.requires_grad]
        for dtype in sorted({p.dtype for p in wanted}, key=str):
            same = [p for p in wanted if p.dtype == dtype]
            flat = torch.cat(
                [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in same]
            )
            dist.all_reduce(flat)
            for p, part in zip(same, flat.split_with_sizes([p.numel() for p in same]), strict=True):
                p.grad = part.view_as(p).clone()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            dist.barrier()


def resolve_device(device: str) -> torch.device:
    """The device that "cpu", "cuda" or "auto" (CUDA where there is one) stands for here."""
    if device not in ("auto", "cpu", "cuda"):
        raise InvalidArgument(f"device: must be auto, cpu or cuda, got {device!r}")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise Unsupported("device: cuda must be usable by this torch, got a torch that finds no GPU")
    if device == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def join(device: str = "auto") -> World:
    """Join the processes that ``torchrun`` started; alone without it.

    Raises
    ------
    InvalidArgument, Unsupported
        For a device that is unknown or not there.
    """
    chosen = resolve_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World(device=chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    return World(dist.get_rank(), dist.get_world_size(), chosen)


def leave() -> None:
    """Undo `join`."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
