"""The heads of VSFA and MDTVSFA with the names of their authors' checkpoints.

Both read ResNet-50's pooled last map of every frame, 4096 numbers, and give a quality for every frame;
how these become one score is `vqafast.scoring.pooling`'s "sitp" and the model's calibration.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

FEATURES, REDUCED, HIDDEN = 4096, 128, 32
#: Data sets that MDTVSFA was trained on: KoNViD-1k, CVD2014, LIVE-Qualcomm, LIVE-VQC.
DATASETS = ("K", "C", "L", "N")


class _Reduction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc0 = nn.Linear(FEATURES, REDUCED)
        # In the checkpoint; the authors' network has one layer and does not call it.
        self.fc = nn.Linear(REDUCED, REDUCED)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc0(x)
        return out


class Vsfa(nn.Module):
    """VSFA's head (paper, section 3.2): ``(B, T, 4096)`` to frame qualities ``(B, T)``."""

    def __init__(self) -> None:
        super().__init__()
        self.ann = _Reduction()
        self.rnn = nn.GRU(REDUCED, HIDDEN, batch_first=True)
        self.q = nn.Linear(HIDDEN, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map `features`; see the class for shapes."""
        states, _ = self.rnn(self.ann(features))
        out: Tensor = self.q(states).squeeze(2)
        return out


class Mdtvsfa(nn.Module):
    """MDTVSFA's head, ``(B, T, 4096)`` to ``(B, T)``, and its mappings of the pooled score.

    The release's spelling ``dimemsion_reduction`` is a name of its checkpoint.
    """

    def __init__(self, datasets: Sequence[str] = DATASETS) -> None:
        super().__init__()
        self.dimemsion_reduction = nn.Linear(FEATURES, REDUCED)
        self.feature_aggregation = nn.GRU(REDUCED, HIDDEN, batch_first=True)
        self.regression = nn.Linear(HIDDEN, 1)
        self.nlm = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid(), nn.Linear(1, 1))
        self.lm = nn.Sequential(OrderedDict((name, nn.Linear(1, 1)) for name in datasets))

    def forward(self, features: Tensor) -> Tensor:
        """Map `features`; see the class for shapes."""
        states, _ = self.feature_aggregation(self.dimemsion_reduction(features))
        out: Tensor = self.regression(states).squeeze(2)
        return out

    def steps(self) -> tuple[tuple[float, float] | Literal[True], ...]:
        """From the pooled score to the common scale, for a `Calibration`: bounded, then mapped."""
        first, last = cast("nn.Linear", self.nlm[0]), cast("nn.Linear", self.nlm[2])
        before, behind = ((line.weight.item(), line.bias.item()) for line in (first, last))
        return (True, before, True, behind)

    def line(self, dataset: str) -> tuple[float, float]:
        """Gain and offset from the common scale to that of `dataset`."""
        linear = cast("nn.Linear", self.lm.get_submodule(dataset))
        return linear.weight.item(), linear.bias.item()
