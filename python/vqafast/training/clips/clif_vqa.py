"""CLiF-VQA, trained as its paper says (004, sections 4.4 and 5.1).

| what | value | source |
|--|--|--|
| optimiser | AdamW, 7.5e-5 for the backbone, 7.5e-4 for the rest, weight decay 0.05, batch 12 | section 5.1 |
| loss | monotonicity + linearity | eqs. 14 to 16; no weights are given |
| start | Video Swin-T of Kinetics-400; CLIP, frozen | section 5.1 |
| epochs, schedule, average | 30; 2.5 epochs linear, then cosine; 0.999 | not given: FAST-VQA's |
| clips | one of a video in training, at a random place | not given: FAST-VQA's |

CLIP looks anew at every clip: the clip's place changes with the epoch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vqafast.errors import InvalidArgument
from vqafast.models.backbones.loader import fit
from vqafast.models.clif_vqa.blocks import blocks
from vqafast.models.clif_vqa.config import ClifConfig
from vqafast.models.clif_vqa.convert import write_network
from vqafast.models.clif_vqa.network import ClifVqa, pooled
from vqafast.models.clif_vqa.spec import BlockView
from vqafast.models.clip import visual
from vqafast.models.clip.extractor import SemanticExtractor, random_extractor
from vqafast.models.fast_vqa.config import NetworkConfig
from vqafast.models.fast_vqa.convert import sampling_spec, view_spec
from vqafast.models.fast_vqa.fragments import fragments
from vqafast.models.views import HOST
from vqafast.training.clips.cutting import clips_of
from vqafast.training.clips.system import RECIPE, Start
from vqafast.training.clips.weights import Found, find_weights, swin_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from torch import Tensor

    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import FrameSource, Sampled

_RECIPE: dict[str, Any] = {
    **RECIPE,
    "epochs": 30,
    "batch": 12,
    "lr": 7.5e-4,
    "backbone_lr": 0.1,
    "losses": ("monotonicity", "linearity"),
    "checkpoint_seconds": 600.0,  # a checkpoint has all of CLIP
}
# Names of the trained part and of CLIP in a run's weights.
_TRAINED, _FROZEN = "net.", "extractor."


class ClifWithClip(nn.Module):
    """Clips of fragments and blocks to scores: CLIP, frozen, before what is trained.

    Parameters
    ----------
    net : ClifVqa
    extractor : SemanticExtractor
    """

    def __init__(self, net: ClifVqa, extractor: SemanticExtractor) -> None:
        super().__init__()
        self.net = net
        self.extractor = extractor

    def forward(self, clips: Tensor, images: Tensor) -> Tensor:
        """Map ``(B, 3, T, S, S)`` and ``(B, looks * blocks, 3, side, side)`` to scores ``(B,)``."""
        looks = self.net.config.looks
        with torch.no_grad():
            shares = self.extractor(images.flatten(0, 1))
        semantics = pooled(shares.reshape(len(images), looks, -1, shares.shape[1]))
        out: Tensor = self.net(clips, semantics)
        return out


class ClifVqaSystem:
    """A `ClipSystem`.

    Parameters
    ----------
    config : ClifConfig, optional
        The paper's by default.
    """

    name = "clif-vqa"
    paper = "CLiF-VQA (Mi et al., ACM MM 2024)"
    weights = ("init", "clip_weights")
    recipe = _RECIPE

    def __init__(self, config: ClifConfig | None = None) -> None:
        self._config = c = config or ClifConfig()
        s = c.sampling
        self._sampling = sampling_spec(s)
        self._view = view_spec(s)
        self._blocks = BlockView(c.blocks, c.clip.side, c.looks, visual.MEAN, visual.STD)

    def identity(self) -> dict[str, Any]:
        """The whole config."""
        return asdict(self._config)

    def start(self, weights: Mapping[str, str]) -> Start:
        """Start from what there is.

        Parameters
        ----------
        weights : mapping
            "init": CLiF-VQA, a model or a run, whose CLIP is not taken; or FAST-VQA-B or Video Swin, as
            `swin_weights` reads them. "clip_weights": a directory for
            `vqafast.models.clip.pretrained.extractor_of`.
        """
        c = self._config
        net = ClifVqa(c)
        notes: tuple[str, ...] = ()
        if "init" in weights:
            self._load(net, find_weights(weights["init"]))
        else:
            notes = ("no init: all but CLIP starts from random weights",)
        if "clip_weights" not in weights:
            return Start(ClifWithClip(net, random_extractor(c.clip, len(c.descriptions))), ("CLIP",), notes)
        from vqafast.models.clip.pretrained import extractor_of

        extractor = extractor_of(weights["clip_weights"], [c.prompt.format(d) for d in c.descriptions])
        if extractor.visual.config.side != c.clip.side:
            raise InvalidArgument(
                f"clip_weights: pictures must be {c.clip.side} pixels a side, "
                f"got {extractor.visual.config.side}"
            )
        return Start(ClifWithClip(net, extractor), (), notes)

    def _load(self, net: ClifVqa, found: Found) -> None:
        state = found.state
        if any(name.startswith(_TRAINED) for name in state):
            state = {n.removeprefix(_TRAINED): v for n, v in state.items() if not n.startswith(_FROZEN)}
        if found.ours and "fc4.weight" in state:
            fit(net, state, found.file)
            return
        c = self._config
        like = NetworkConfig("fast-vqa-b", c.swin, c.sampling, c.head)
        swin_weights(found, like).into(net.fragments_backbone, net.vqa_head)

    def backbone(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """Those of the Swin."""
        assert isinstance(network, ClifWithClip)
        return network.net.fragments_backbone.parameters()

    def views(self, source: FrameSource, *, draw: int, seed: int, threads: int) -> list[tuple[Tensor, ...]]:
        """Fragments ``(3, T, S, S)`` and blocks ``(looks * blocks, 3, side, side)`` of each clip."""
        count = self._sampling.burst

        def look(sampled: Sampled) -> tuple[Tensor, ...]:
            clip = fragments(sampled, self._view, count, draw=draw, seed=seed, threads=threads, target=HOST)
            images = blocks(sampled, self._blocks, count, threads=threads, target=HOST)
            return torch.from_numpy(clip).transpose(0, 1), torch.from_numpy(images)

        return [run for (run,) in clips_of(source, self._sampling, look, draw=draw, seed=seed)]

    def training_scores(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, None]:
        """Scores alone."""
        scores: Tensor = network(*inputs)
        return scores, None

    def write(
        self, network: nn.Module, out: str | PathLike[str], *, random: bool, **described: Any
    ) -> ModelSpec:
        """Write the model directory."""
        assert isinstance(network, ClifWithClip)
        return write_network(network.net, network.extractor, out, random=random, **described)
