"""The fast pathway of SlowFast R50 under PyTorchVideo's parameter names (motion branch, S+M).

The pathway takes nothing from the slow one (lateral connections lead from fast to slow), so it
stands alone. Its last stage has 256 channels; mean and standard deviation make the 512 of the
paper. Time is never strided: T frames give T feature vectors.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

_DEPTHS = (3, 4, 6, 3)


class _Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(width)
        self.activation = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.activation(self.norm(self.conv(x))))
        return out


class _Block(nn.Module):
    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch1_conv: nn.Conv3d | None = None
        self.branch1_norm: nn.BatchNorm3d | None = None
        if inputs != outputs or stride != 1:
            self.branch1_conv = nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.branch1_norm = nn.BatchNorm3d(outputs)
        spatial = (1, stride, stride)
        self.branch2 = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv_a=nn.Conv3d(inputs, inner, (3, 1, 1), 1, (1, 0, 0), bias=False),
                norm_a=nn.BatchNorm3d(inner),
                act_a=nn.ReLU(inplace=True),
                conv_b=nn.Conv3d(inner, inner, (1, 3, 3), spatial, (0, 1, 1), bias=False),
                norm_b=nn.BatchNorm3d(inner),
                act_b=nn.ReLU(inplace=True),
                conv_c=nn.Conv3d(inner, outputs, 1, bias=False),
                norm_c=nn.BatchNorm3d(outputs),
            )
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        if self.branch1_conv is not None and self.branch1_norm is not None:
            identity = self.branch1_norm(self.branch1_conv(x))
        out: Tensor = self.activation(identity + self.branch2(x))
        return out


class _Stage(nn.Module):
    def __init__(self, inputs: int, inner: int, blocks: int, stride: int) -> None:
        super().__init__()
        outputs = inner * 4
        self.res_blocks = nn.ModuleList(
            _Block(inputs if i == 0 else outputs, inner, outputs, stride if i == 0 else 1)
            for i in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class _Pathways(nn.Module):
    """Holds the fast pathway under index 1, where PyTorchVideo has it."""

    def __init__(self, fast: nn.Module) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleDict({"1": fast})

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.multipathway_blocks["1"](x)
        return out


class SlowFastFast(nn.Module):
    """Frames of one clip in, one stage map out.

    Parameters
    ----------
    width : int
        Channels of the stem; 8 is the published network.
    """

    def __init__(self, *, width: int = 8) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_Pathways(_Stem(width))]
        inputs = width
        for i, depth in enumerate(_DEPTHS):
            inner = width * 2**i
            blocks.append(_Pathways(_Stage(inputs, inner, depth, 1 if i == 0 else 2)))
            inputs = inner * 4
        self.blocks = nn.ModuleList(blocks)
        self.channels = (inputs,)

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """Map ``(T, 3, H, W)``, the frames of **one** clip in order, to ``(T, 256, H/32, W/32)``."""
        x = frames.transpose(0, 1).unsqueeze(0)
        for block in self.blocks:
            x = block(x)
        return (torch.squeeze(x, 0).transpose(0, 1).contiguous(),)
