"""ResNets under torchvision's parameter names, returning the maps of their four stages.

Torchvision checkpoints load strictly: `resnet50` and `resnet34` with their classifier, or without
it when ``fc.*`` is listed as ignored.
"""

from __future__ import annotations

from torch import Tensor, nn

StageMaps = tuple[Tensor, ...]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al., 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H / stride, W / stride)``."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + identity)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; the stride is on the 3x3 as in torchvision ("v1.5")."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, planes * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H / stride, W / stride)``."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + identity)
        return out


class ResNetStages(nn.Module):
    """A ResNet body; `width` scales the channels (64 is the published network).

    Parameters
    ----------
    block : type
        `BasicBlock` or `Bottleneck`.
    layers : sequence of int
        Blocks per stage.
    width : int
        Channels of the stem; stage i has ``width * 2**i * block.expansion``.
    classes : int or None
        With a number there is a classifier ``fc``, so that whole checkpoints load strictly; it is
        never run.
    taps : int
        The last so many stages give maps.

    Attributes
    ----------
    channels : tuple of int
        Of the maps; the pooled feature has twice their sum.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        *,
        width: int = 64,
        classes: int | None = None,
        taps: int = 4,
    ) -> None:
        super().__init__()
        self.taps = taps
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        channels = []
        stages = []
        for i, blocks in enumerate(layers):
            planes = width * 2**i
            stage = nn.Sequential()
            for j in range(blocks):
                stage.append(block(inputs, planes, 2 if i > 0 and j == 0 else 1))
                inputs = planes * block.expansion
            stages.append(stage)
            channels.append(inputs)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        if classes is not None:
            self.fc = nn.Linear(inputs, classes)
        self.channels = tuple(channels[-taps:])
        _initialise(self)

    def forward(self, frames: Tensor) -> StageMaps:
        """Map ``(N, 3, H, W)`` to maps ``(N, C_i, H / 2**(i+2), W / 2**(i+2))``, i = 4 - taps..3."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(frames))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return tuple(maps[-self.taps :])


def resnet50(*, width: int = 64, classes: int | None = None) -> ResNetStages:
    """ResNet-50: maps of 256, 512, 1024, 2048 channels, 7680 pooled; the semantic branch."""
    return ResNetStages(Bottleneck, (3, 4, 6, 3), width=width, classes=classes)


def resnet50_last(*, width: int = 64, classes: int | None = None) -> ResNetStages:
    """ResNet-50's last map alone, 2048 channels, 4096 pooled: what VSFA reads."""
    return ResNetStages(Bottleneck, (3, 4, 6, 3), width=width, classes=classes, taps=1)


def resnet34_iqa(*, width: int = 64, classes: int | None = None) -> ResNetStages:
    """ResNet-34: maps of 64, 128, 256, 512 channels, 1920 pooled; the quality branch.

    The paper takes an IQA model with a ResNet-34 body ([57]) and gives its maps as H/2, H/4, H/8
    and H/16. A ResNet-34 has H/4, H/8, H/16 and H/32 there, and the means and standard deviations
    that follow do not depend on it: this is the unchanged network, whose checkpoints load.
    """
    return ResNetStages(BasicBlock, (3, 4, 6, 3), width=width, classes=classes)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _initialise(net: nn.Module) -> None:
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


def freeze(net: nn.Module) -> nn.Module:
    """Set evaluation mode and no gradients: what the paper does with both backbones."""
    for p in net.parameters():
        p.requires_grad_(False)
    return net.eval()


__all__ = ["BasicBlock", "Bottleneck", "ResNetStages", "freeze", "resnet34_iqa", "resnet50", "resnet50_last"]
