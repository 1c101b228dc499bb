"""The semantic-aware backbone of ``a2inet-lite``: a residual network of 0.19 million weights."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

#: Channels of the four stages; each stage halves the picture once more.
WIDTHS = (16, 24, 48, 96)
#: Channels that leave the network. All stages' 368 pooled features let a head learn a few hundred
#: contents by heart (SRCC on unseen content fell by 0.05); through this bottleneck they cannot.
BOTTLENECK = 16
#: All widths are multiples of 8: oneDNN 3.12 writes out of bounds in the backward pass of a strided
#: 1x1 convolution of 12 channels that are stored last.
STEM = 16


class _Block(nn.Module):
    """Two 3x3 convolutions with a residual link (He et al., CVPR 2016), stride on the first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CompactResNet(nn.Module):
    """Input ``(N, 3, H, W)`` RGB in 0..1; output one map of 16 channels, stride 32."""

    stage_channels = (BOTTLENECK,)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(STEM)
        widths = (STEM, *WIDTHS)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in pairwise(widths))
        self.project = nn.Conv2d(WIDTHS[-1], BOTTLENECK, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Map `frames`; see the class for shapes."""
        x = relu(self.bn(self.stem(frames * 4.0 - 2.0)))
        for block in self.blocks:
            x = block(x)
        return (self.project(x),)
