"""FAST-VQA, FasterVQA and DOVER's technical branch, as their authors train them.

| what | value | source (VQAssessment/FAST-VQA-and-FasterVQA) |
|--|--|--|
| optimiser | AdamW, 1e-3, weight decay 0.05; backbone a tenth of the rate | options/fast/*.yml: optimizer |
| schedule | 2.5 epochs linear, then cosine; 30 epochs; batch 16 | the same; new_train.py |
| average | decay 0.999; none for FAST-VQA-M | new_train.py; fast-b.yml, f3dvqa-b.yml; fast-m.yml: ema |
| loss | PLCC + 0.3 rank | split_train.py; new_train.py has 0.1 |
| clips | one of a video in training, at a random place | options/fast/*.yml: num_clips |
| start | Video Swin of Kinetics-400, whose bias table becomes both tables | fast-b.yml: load_path |

What differs here: the rank loss is A2INet's, which asks for the labels' distances and not for their order
alone, so that the spread of scores is of the labels' size; the cosine ends at 0, theirs at 1.7 % of the rate;
the first step has a rate above 0; the average forgets its start sooner (`WeightAverage`); positions of
patches hold for a run of frames, where FAST-VQA-M's authors draw them twice in a clip; the epoch that is kept
has the best SRCC, theirs the best SRCC + PLCC. DOVER's branch is trained alone, by this recipe.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from vqafast.models.fast_vqa.convert import sampling_spec, view_spec, write_network
from vqafast.models.fast_vqa.fragments import fragments
from vqafast.models.fast_vqa.network import FastVQA
from vqafast.models.views import HOST
from vqafast.training.clips.cutting import clips_of
from vqafast.training.clips.system import RECIPE, Start
from vqafast.training.clips.weights import find_weights, swin_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from torch import Tensor, nn

    from vqafast.models.fast_vqa.config import NetworkConfig
    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import FrameSource, Sampled

_RECIPE: dict[str, Any] = {
    **RECIPE,
    "epochs": 30,
    "batch": 16,
    "lr": 1e-3,
    "backbone_lr": 0.1,
    "losses": ("plcc", "rank"),
    "eta": 0.3,
}
_NOT_AVERAGED = ("fast-vqa-m", "fast-vqa-m-v0.3")  # fast-m.yml


class FastVqaSystem:
    """A `ClipSystem`.

    Parameters
    ----------
    config : NetworkConfig
        One of `vqafast.models.fast_vqa.config.PRESETS`, or another.
    """

    paper = "FAST-VQA (Wu et al., ECCV 2022), the authors' release"
    weights = ("init",)

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config
        s = config.sampling
        self._sampling = sampling_spec(s)
        self._view = view_spec(s)

    @property
    def name(self) -> str:
        """That of the config."""
        return self._config.name

    @property
    def recipe(self) -> Mapping[str, Any]:
        """See the table above."""
        return {**_RECIPE, "ema": 0.0} if self.name in _NOT_AVERAGED else _RECIPE

    def identity(self) -> dict[str, Any]:
        """The whole config."""
        return asdict(self._config)

    def start(self, weights: Mapping[str, str]) -> Start:
        """Start from "init", all that `swin_weights` reads; with Kinetics weights the head stays random."""
        network = FastVQA(self._config)
        if "init" not in weights:
            return Start(network, notes=("no init: all of the network starts from random weights",))
        found = swin_weights(find_weights(weights["init"]), self._config)
        found.into(network.backbone, network.head)
        return Start(network)

    def backbone(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """Those of the Swin."""
        assert isinstance(network, FastVQA)
        return network.backbone.parameters()

    def views(self, source: FrameSource, *, draw: int, seed: int, threads: int) -> list[tuple[Tensor, ...]]:
        """Clips ``(3, T, S, S)`` of fragments."""
        burst = self._sampling.burst

        def look(sampled: Sampled) -> Tensor:
            made = fragments(sampled, self._view, burst, draw=draw, seed=seed, threads=threads, target=HOST)
            return torch.from_numpy(made)

        clips = clips_of(source, self._sampling, look, draw=draw, seed=seed)
        return [(torch.cat(runs).transpose(0, 1),) for runs in clips]

    def training_scores(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, None]:
        """Scores alone."""
        scores: Tensor = network(*inputs)
        return scores, None

    def write(
        self, network: nn.Module, out: str | PathLike[str], *, random: bool, **described: Any
    ) -> ModelSpec:
        """Write the model directory."""
        assert isinstance(network, FastVQA)
        return write_network(network, self._config, out, random=random, **described)
