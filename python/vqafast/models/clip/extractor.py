"""How much a picture is like each of some descriptions: CLIP's zero-shot answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from vqafast.errors import InvalidArgument

from .visual import ClipConfig, ClipVisual

#: exp of CLIP's learnt temperature, which training stopped at (Radford et al., section 2.5).
LOGIT_SCALE = 100.0


class SemanticExtractor(nn.Module):
    """How much a picture is like each description, as CLIP sees it (CLiF-VQA, eq. 2); not trained.

    Parameters
    ----------
    visual : ClipVisual
    texts : Tensor
        ``(r, out)``: where CLIP puts each description; any length.
    scale : float
        By which cosines are multiplied before the softmax.
    """

    texts: Tensor

    def __init__(self, visual: ClipVisual, texts: Tensor, scale: float = LOGIT_SCALE) -> None:
        super().__init__()
        if texts.ndim != 2 or texts.shape[1] != visual.config.out:
            raise InvalidArgument(
                f"SemanticExtractor: texts must be (r, {visual.config.out}), got {tuple(texts.shape)}"
            )
        self.visual = visual
        self.register_buffer("texts", F.normalize(texts.detach().float(), dim=1))
        self.scale = scale
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, 3, side, side)`` to shares ``(N, r)``, 1 in each row together."""
        cosines = F.normalize(self.visual(images), dim=1) @ self.texts.T
        return (self.scale * cosines).softmax(dim=1)


def random_extractor(clip: ClipConfig, descriptions: int) -> SemanticExtractor:
    """An extractor without weights: its shares mean nothing."""
    return SemanticExtractor(ClipVisual(clip), torch.randn(descriptions, clip.out))
