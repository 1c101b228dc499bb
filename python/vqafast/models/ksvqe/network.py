"""The whole of KSVQE under its authors' names (release: `VQA_Network` with the key "KSVQE").

Where paper and release differ (sources: see `config`), the release is the default:

| what | paper | release |
|--|--|--|
| adapted CLIP layers | the last two (section 5.2) | configs: the last four, class: the last two |
| quality adapter | Q_c = f(CLS) (section 4.1) | (f(CLS) + CLS) / 2, which the next layer sees |
| patches for CaM | of the last two layers (section 4.1) | of the last layer alone, for every stage |
| candidates of QRS | non-overlapping regions (section 10.1) | all nine, one step apart; one is chosen |
| noise of QRS | "uniform Gaussian", number not given | Gaussian, class: 500 samples, configs: 1 |
| gradient of QRS | that of [8] | own noise only (`regions.perturbed_top1`) |
| widths of adapters | 768-192-768, 128-32-768 (section 10.2) | the same, to the width of each stage |
| distortion adapter | f_d (section 4.2) | 0.2 f_d + 0.8 before the loss, then an adapter for each stage |
| heads of the attentions | 8 (section 10.2) | those of Swin before the merging: 12 at a width of 768 |
| logits of cross attention | not given | divided by the root of the whole width; no output projection |
| scales, eqs. 2 and 3 | linear | sigmoid |
| sum of both branches | not given | (a1 * distortion + a2 * content) / 2; a1 and a2 are learnt |
| a1, a2 at first | not given | Kwai_KSVQE.yml: 1, 2; class and the config without pre-training: 1, 0 |
| modulated stages | not given | Kwai_KSVQE.yml: the last three; class and the other configs: the last two |
| key frames | one for each segment (section 10.2) | 0, T/4 - 1, T/2 - 1, 3T/4 - 1, each until the next |
| frame interval | 2 (section 5.2) | configs: 4 |
| size of the key frames | 224 (section 5.2) | configs: 112, to which CLIP's positions are stretched |
| clips when scoring | not given | three, which its trainer leaves joined: one of 96 frames |
| loss | PLCC and the contrastive loss, no weights | PLCC + 0.3 * contrastive |

Where this is not the release:

| what | release | here |
|--|--|--|
| CONTRIQUE's batch norms in training | statistics of the batch | fixed; `KsvqeConfig.fixed_statistics` |
| first weights of CLIP, CONTRIQUE | loaded, then its FC layers and layer norms reset (init_weights) | kept |
| sample types | also random, Gumbel, multinomial | perturbed top-1 |
| patches of a key frame | repeated for its frames, adapted for each | adapted once, read by all its frames |
| odd T, T below 8 | an error, or key frames that coincide | an error |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from ..fast_vqa.head import VQAHead
from ..fast_vqa.swin3d import PatchEmbed, Stage
from ..tracing import is_tracing
from .config import KEY_FRAMES, KsvqeConfig
from .contrique import Contrique
from .modulation import (
    CrossAttention,
    DistortionModulation,
    SemanticModulation,
    TimeAttention,
    adapter,
)
from .regions import RegionSelection, key_spans
from .semantics import AdaptedClip

if TYPE_CHECKING:
    from ..fast_vqa.config import Size


class KsvqeBackbone(nn.Module):
    """Swin on the chosen fragments, its last stages modulated by content and distortion.

    Parameters
    ----------
    config : KsvqeConfig
    """

    def __init__(self, config: KsvqeConfig) -> None:
        super().__init__()
        self.config = config
        swin = config.swin
        self.patch_embed = PatchEmbed(swin)
        self.layers = nn.ModuleList(Stage(swin, i) for i in range(len(swin.depths)))
        self.norm = nn.LayerNorm(swin.widths[-1])
        self.spa_patchnet = RegionSelection(config)
        self._add_modulation(config)
        self.dist_adapter = adapter(config.contrique.out, config.contrique.out, config.reduction)
        self.CLIP_tool = AdaptedClip(config)
        # What is learnt, CLIP's adapters among it; frozen parts keep their own first weights.
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not name.startswith("CLIP_tool.visual"):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.distortion_tool = Contrique(config)

    def _add_modulation(self, config: KsvqeConfig) -> None:
        stages = config.modulated
        clip, contrique = config.clip.width, config.contrique.out
        self.semantic_adapter = nn.ModuleList(adapter(clip, c, config.reduction) for c, _ in stages)
        self.distortion_adapter = nn.ModuleList(adapter(contrique, c, config.reduction) for c, _ in stages)
        self.semantic_mod = nn.ModuleList(SemanticModulation(c) for c, _ in stages)
        self.distortion_mod = nn.ModuleList(DistortionModulation(c) for c, _ in stages)
        self.semantic_cross = nn.ModuleList(CrossAttention(c, heads) for c, heads in stages)
        self.distortion_cross = nn.ModuleList(CrossAttention(c, heads) for c, heads in stages)
        self.distortion_self = nn.ModuleList(TimeAttention(c, heads) for c, heads in stages)
        self.a1 = nn.Parameter(torch.full((len(stages), 1), config.a1))
        self.a2 = nn.Parameter(torch.full((len(stages), 1), config.a2))

    def forward(self, fragments: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features and distortions.

        Parameters
        ----------
        fragments, frames : Tensor
            As for `KSVQE`.

        Returns
        -------
        features : Tensor
            ``(B, T/2, 7, 7, 768)``.
        embeddings : Tensor
            ``(B, T/2, 49, 128)``: of the fragments of every second frame.
        """
        batch, keys = frames.shape[:2]
        similarity, patches = self.CLIP_tool(frames.flatten(0, 1))
        similarity = similarity.reshape(batch, keys, -1)
        patches = patches.reshape(batch, keys, *patches.shape[1:])
        clips = self.spa_patchnet(fragments, similarity)
        embeddings = self._embeddings(clips)
        t, h, w = (int(n) for n in clips.shape[2:])
        x, size = self.patch_embed(clips, (t, h, w))
        for i, layer in enumerate(self.layers):
            x, size = layer(x, size)
            at = i - self.config.tuning_stage
            if at >= 0:
                by_distortion = self._distortion_aware(at, x, size, embeddings)
                by_content = self._content_adaptive(at, x, size, patches, t)
                x = (self.a1[at] * by_distortion + self.a2[at] * by_content) / 2
        return self.norm(x).reshape(batch, *size, -1), embeddings

    def _embeddings(self, clips: Tensor) -> Tensor:
        raw = self.distortion_tool(clips[:, :, ::2])
        share = self.config.distortion_share
        out: Tensor = share * self.dist_adapter(raw) + (1 - share) * raw
        return out

    def _content_adaptive(self, at: int, x: Tensor, size: Size, patches: Tensor, frames: int) -> Tensor:
        """CaM: ``(B, T/2 * H * W, C)`` to the same; the frames of a key frame read its patches together."""
        places = size[1] * size[2]
        content = self.semantic_adapter[at](patches)
        cross = self.semantic_cross[at]
        warped = [
            cross(x[:, first * places : end * places], content[:, k])
            for k, (first, end) in enumerate(key_spans(frames, 2))
        ]
        out: Tensor = self.semantic_mod[at](x, torch.cat(warped, dim=1))
        return out

    def _distortion_aware(self, at: int, x: Tensor, size: Size, embeddings: Tensor) -> Tensor:
        """DaM: ``(B, T/2 * H * W, C)`` to the same; each frame reads its own fragments, then time mixes."""
        t, places, (batch, _, width) = size[0], size[1] * size[2], x.shape
        distortion = self.distortion_adapter[at](embeddings).flatten(0, 1)
        warped = self.distortion_cross[at](x.reshape(batch * t, places, width), distortion)
        warped = warped.reshape(batch, t, places, width).transpose(1, 2).flatten(0, 1)
        mixed = self.distortion_self[at](warped)
        out: Tensor = self.distortion_mod[at](x, mixed.reshape(batch, places * t, width))
        return out


class KSVQE(nn.Module):
    """Clips of fragments and their key frames to scores.

    CLIP and CONTRIQUE are frozen; their adapters and everything else are learnt.

    Parameters
    ----------
    config : KsvqeConfig, optional
        The release's by default.
    """

    def __init__(self, config: KsvqeConfig | None = None) -> None:
        super().__init__()
        self.config = config or KsvqeConfig()
        self.KSVQE_backbone = KsvqeBackbone(self.config)
        self.KSVQE_head = VQAHead(self.config.head)

    def forward(self, fragments: Tensor, frames: Tensor) -> Tensor:
        """Score clips.

        Parameters
        ----------
        fragments : Tensor
            ``(B, 3, T, 9 * 32, 9 * 32)``: RGB 0..255 normalised with `vqafast.models.fast_vqa.config.MEAN`
            and `STD`; T is even and at least 8.
        frames : Tensor
            ``(B, 4, 3, S, S)``: the frames `regions.key_frames` of the clip, resized as a whole, RGB 0..1
            normalised with `vqafast.models.clip.visual.MEAN` and `STD`.

        Returns
        -------
        Tensor
            ``(B,)``: mean of each clip's local scores. A video's score is the mean over its clips.

        Raises
        ------
        InvalidArgument
            For other shapes.
        """
        return self.quality_map(fragments, frames).mean(dim=(1, 2, 3))

    def quality_map(self, fragments: Tensor, frames: Tensor) -> Tensor:
        """Compute local scores ``(B, T/2, 7, 7)``, over the chosen regions; parameters as for `forward`."""
        return self._map_and_embeddings(fragments, frames)[0]

    def forward_with_distortion(self, fragments: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Score clips, and embed distortions for the contrastive loss; parameters as for `forward`.

        Returns
        -------
        scores : Tensor
            ``(B,)``.
        embeddings : Tensor
            ``(B, T/2, 49, 128)``: of each fragment of every second frame. The loss takes all fragments of a
            clip for items of the clip's processing pattern.
        """
        local, embeddings = self._map_and_embeddings(fragments, frames)
        return local.mean(dim=(1, 2, 3)), embeddings

    def _map_and_embeddings(self, fragments: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        if not is_tracing():
            self._check(fragments, frames)
        features, embeddings = self.KSVQE_backbone(fragments, frames)
        local: Tensor = self.KSVQE_head(features)
        return local, embeddings

    def _check(self, fragments: Tensor, frames: Tensor) -> None:
        side, small = self.config.side, self.config.frames_side
        shape: tuple[Any, ...] = tuple(fragments.shape)
        if len(shape) != 5 or (shape[1], *shape[3:]) != (3, side, side) or shape[2] < 8 or shape[2] % 2:
            raise InvalidArgument(
                f"KSVQE: fragments must be (B, 3, T, {side}, {side}) with T even and >= 8, got {shape}"
            )
        if tuple(frames.shape) != (shape[0], KEY_FRAMES, 3, small, small):
            raise InvalidArgument(
                f"KSVQE: frames must be ({shape[0]}, {KEY_FRAMES}, 3, {small}, {small}), "
                f"got {tuple(frames.shape)}"
            )


__all__ = ["KSVQE", "KsvqeBackbone"]
