"""The semantic-aware backbone of ``a2inet-lite``: a residual network of 0.2 million weights."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

#: Channels of the four stages; each stage halves the picture once more.
WIDTHS = (16, 24, 48, 96)


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
    """Input ``(N, 3, H, W)`` RGB in 0..1; output the four stage maps, strides 4, 8, 16 and 32."""

    stage_channels = WIDTHS

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(12)
        widths = (12, *WIDTHS)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in pairwise(widths))

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Stage maps of `frames`; see the class for shapes."""
        x = relu(self.bn(self.stem(frames * 4.0 - 2.0)))
        stages = []
        for block in self.blocks:
            x = block(x)
            stages.append(x)
        return tuple(stages)
