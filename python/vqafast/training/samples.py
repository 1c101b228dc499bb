"""What a training reads: labelled samples, in batches, ahead of time; and the scores of a model."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vqafast.training.distributed import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import nn

Inputs = tuple[Tensor | None, ...]


class Samples(Protocol):
    """Labelled samples and how they become a batch."""

    def __len__(self) -> int: ...

    @property
    def targets(self) -> NDArray[np.float64]:
        """Labels ``(n,)`` on the scale that the network learns."""
        ...

    def sample(self, index: int, draw: int) -> Any:
        """One sample: a pure function of both, called in any thread.

        `draw` 0 is what scoring sees; training passes the epoch's number from 1 on, for data that
        are cut out at random.
        """
        ...

    def collate(self, samples: list[Any]) -> Inputs:
        """Arguments of the module for a batch."""
        ...


def predict(
    model: nn.Module, samples: Samples, world: World | None = None, *, workers: int = 0
) -> NDArray[np.float64]:
    """Scores ``(n,)``, one sample at a time: no padding and no autocast, as the exported model does."""
    world = world or World()
    training = model.training
    model.eval()
    mine = np.arange(len(samples))[world.share(len(samples))]
    scores = []
    with torch.no_grad():
        for batch in fetch(samples, [mine[i : i + 1] for i in range(len(mine))], 0, workers):
            scores.append(scores_of(model(*moved(samples.collate(batch), world.device))).double())
        part = torch.cat(scores) if scores else torch.zeros(0, dtype=torch.float64, device=world.device)
        gathered: NDArray[np.float64] = world.gather(part, len(samples)).cpu().numpy()
    model.train(training)
    return gathered


def scores_of(output: Any) -> Tensor:
    """The scores in what a module returns."""
    scores: Tensor = output[0] if isinstance(output, tuple) else output
    return scores


def moved(inputs: Inputs, device: torch.device) -> Inputs:
    """`inputs` on `device`."""
    return tuple(None if x is None else x.to(device) for x in inputs)


def fetch(
    samples: Samples, batches: Sequence[NDArray[np.int64]], draw: int, workers: int
) -> Iterator[list[Any]]:
    """Samples of each batch in order, read ahead by `workers` threads."""
    if workers == 0:
        for batch in batches:
            yield [samples.sample(int(i), draw) for i in batch]
        return
    ahead: deque[list[Future[Any]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="vqafast-samples") as pool:
        try:
            for batch in batches:
                ahead.append([pool.submit(samples.sample, int(i), draw) for i in batch])
                # Two batches ahead keep the threads busy while one is trained on.
                if len(ahead) > 2:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]
        finally:
            for futures in ahead:
                for future in futures:
                    future.cancel()
