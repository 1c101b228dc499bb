"""KVQ (saliency-guided), trained as its supplementary says (002, section 1.2).

| what | value | source |
|--|--|--|
| optimiser | AdamW, 5e-4, weight decay 0.05 | 002, section 1.2 |
| epochs | 30 | 002, section 1.2 |
| loss | PLCC + 0.5 rank + 0.05 local perception | weights: 002, section 1.2; the first term is not named |
| start | Video Swin-T of Kinetics-400 | 002, section 1.2 |
| batch, schedule, average | 16; 2.5 epochs linear, then cosine; 0.999 | not given: FAST-VQA's |
| clips | one of a video in training, at a random place | not given: FAST-VQA's |
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from vqafast.models.backbones.loader import fit
from vqafast.models.fast_vqa.config import MEAN, STD
from vqafast.models.fast_vqa.spec import unit
from vqafast.models.kvq.config import KvqConfig, KvqTraining
from vqafast.models.kvq.convert import sampling_of, write_network
from vqafast.models.kvq.loss import local_perception_loss
from vqafast.models.kvq.network import KVQ
from vqafast.models.kvq.pretrained import load_kinetics
from vqafast.models.kvq.runtime import resized
from vqafast.models.kvq.spec import ResizedView
from vqafast.models.views import HOST
from vqafast.training.clips.cutting import clips_of
from vqafast.training.clips.system import RECIPE, Start
from vqafast.training.clips.weights import find_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from torch import Tensor, nn

    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import FrameSource, Sampled

_TRAINING = KvqTraining()
_RECIPE: dict[str, Any] = {
    **RECIPE,
    "epochs": _TRAINING.epochs,
    "batch": 16,
    "lr": _TRAINING.learning_rate,
    "weight_decay": _TRAINING.weight_decay,
    "losses": ("plcc", "rank"),
    "eta": _TRAINING.rank_weight,
}


class KvqSystem:
    """A `ClipSystem`.

    Parameters
    ----------
    config : KvqConfig, optional
        The paper's by default.
    """

    name = "kvq"
    paper = "KVQ (Qu et al., CVPR 2025), its supplementary"
    weights = ("init",)
    recipe = _RECIPE

    def __init__(self, config: KvqConfig | None = None) -> None:
        self._config = c = config or KvqConfig()
        self._sampling = sampling_of(c)
        self._view = ResizedView(c.side, c.frames, unit(MEAN), unit(STD))

    def identity(self) -> dict[str, Any]:
        """The whole config."""
        return {"network": asdict(self._config), "perception": _TRAINING.perception_weight}

    def start(self, weights: Mapping[str, str]) -> Start:
        """Start from "init": a model, a run, or Video Swin as `load_kinetics` takes it."""
        network = KVQ(self._config)
        if "init" not in weights:
            return Start(network, notes=("no init: all of the network starts from random weights",))
        found = find_weights(weights["init"])
        if found.ours:
            fit(network, found.state, found.file)
        else:
            load_kinetics(network, found.state)
        return Start(network)

    def backbone(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """Those of the Swin with its fusion blocks."""
        assert isinstance(network, KVQ)
        return network.backbone.parameters()

    def views(self, source: FrameSource, *, draw: int, seed: int, threads: int) -> list[tuple[Tensor, ...]]:
        """Clips ``(3, T, side, side)`` of whole pictures."""

        def look(sampled: Sampled) -> Tensor:
            return torch.from_numpy(resized(sampled, self._view, threads=threads, target=HOST))

        clips = clips_of(source, self._sampling, look, draw=draw, seed=seed)
        return [(pictures.transpose(0, 1),) for (pictures,) in clips]

    def training_scores(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Scores, and the local perception constraint."""
        assert isinstance(network, KVQ)
        (clips,) = inputs
        maps = network.maps(clips)
        return maps.score, _TRAINING.perception_weight * local_perception_loss(network, clips, maps)

    def write(
        self, network: nn.Module, out: str | PathLike[str], *, random: bool, **described: Any
    ) -> ModelSpec:
        """Write the model directory."""
        assert isinstance(network, KVQ)
        return write_network(network, out, random=random, **described)
