"""CLiF-VQA's modules (paper 004, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from vqafast.errors import InvalidArgument

from ..fast_vqa.head import VQAHead
from ..fast_vqa.swin3d import SwinTransformer3D
from ..tracing import is_tracing

if TYPE_CHECKING:
    from .config import ClifConfig


def pooled(shares: Tensor) -> Tensor:
    """Universal and distinctive features ``(..., 2r)`` of blocks ``(..., blocks, r)`` (eqs. 4 to 6)."""
    return torch.cat([shares.mean(dim=-2), shares.amax(dim=-2)], dim=-1)


class ClifVqa(nn.Module):
    """The part that is trained: both branches and the regression.

    The spatial branch has FAST-VQA's parameter names, so that its checkpoints fit.

    Parameters
    ----------
    config : ClifConfig
    """

    def __init__(self, config: ClifConfig) -> None:
        super().__init__()
        self.config = config
        self.fragments_backbone = SwinTransformer3D(config.swin)
        self.vqa_head = VQAHead(config.head)
        self.fc1 = nn.Linear(config.looks, config.semantic_hidden)
        self.fc2 = nn.Linear(config.semantic_hidden, 1)
        self.fc3 = nn.Linear(config.features + config.tokens, config.regression_hidden)
        self.fc4 = nn.Linear(config.regression_hidden, 1)

    def spatial(self, clips: Tensor) -> Tensor:
        """F_f ``(B, tokens)`` of clips of fragments ``(B, 3, T, H, W)`` (eqs. 9 to 11)."""
        out: Tensor = self.vqa_head(self.fragments_backbone(clips))
        return out.flatten(1)

    def regress(self, semantics: Tensor, spatial: Tensor) -> Tensor:
        """Scores ``(B,)`` of semantics ``(B, looks, 2r)`` and spatial features (eqs. 8, 12, 13)."""
        c = self.config
        if not is_tracing() and tuple(semantics.shape[1:]) != (c.looks, c.features):
            raise InvalidArgument(
                f"ClifVqa: semantics must be (B, {c.looks}, {c.features}), got {tuple(semantics.shape)}"
            )
        over_time = self.fc2(F.gelu(self.fc1(semantics.transpose(1, 2)))).squeeze(2)
        hidden = F.gelu(self.fc3(torch.cat([over_time, spatial], dim=1)))
        out: Tensor = self.fc4(hidden).squeeze(1)
        return out

    def forward(self, clips: Tensor, semantics: Tensor) -> Tensor:
        """Score clips.

        Parameters
        ----------
        clips : Tensor
            ``(B, 3, T, H, W)``: fragments, as for `vqafast.models.fast_vqa.network.FastVQA`.
        semantics : Tensor
            ``(B, looks, 2r)``: `pooled` shares of a `SemanticExtractor`, in order of time.

        Returns
        -------
        Tensor
            ``(B,)``. A video's score is the mean over its clips.
        """
        return self.regress(semantics, self.spatial(clips))
