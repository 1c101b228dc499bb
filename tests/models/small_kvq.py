"""A small KVQ whose every parameter takes part, and clips for it."""

from __future__ import annotations

from typing import Any

import torch

from vqafast.models.fast_vqa.config import HeadConfig, SwinConfig
from vqafast.models.kvq.config import KvqConfig
from vqafast.models.kvq.network import KVQ
from vqafast.models.onnx_export import noise

SWIN = SwinConfig(
    width=8, depths=(1, 1, 2, 2), heads=(1, 2, 2, 4), window=(2, 2, 2), fragment_bias=(False,) * 4
)
SMALL = KvqConfig(swin=SWIN, head=HeadConfig(64, 8), correlated=(3, 2))
# Windows fit at (4, 128, 128); the other sizes pad windows, or patches and mergings too.
SIZES = [(4, 128, 128), (4, 96, 96), (5, 100, 130), (1, 32, 33)]


def randomised(net: Any) -> Any:
    """Every parameter takes part, those that start at zero too."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        for name, p in net.named_parameters():
            torch.nn.init.normal_(p, mean=1.0 if "norm" in name and p.ndim == 1 else 0.0, std=0.3)
    return net.eval()


def network(config: KvqConfig = SMALL) -> Any:
    with torch.random.fork_rng():
        return randomised(KVQ(config)).double()


def clip(seed: int, size: tuple[int, int, int], batch: int = 1) -> Any:
    return noise(seed, (batch, 3, *size)).double()
