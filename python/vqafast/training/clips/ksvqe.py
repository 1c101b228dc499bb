"""KSVQE, as its authors train it.

**paper** is Lu et al., CVPR 2024; **release** is lixinustc/KVQ-Challenge-CVPR-NTIRE2024, of which **train**
stands for config/Kwai_KSVQE.yml and **trainer** for trainer_ddp.py.

| what | value | source |
|--|--|--|
| optimiser | AdamW, 3e-5 for all that is learnt, weight decay 0.05, batch 8 | paper, section 5.2; train |
| schedule | 2.5 epochs linear, then cosine; 50 epochs | train; trainer |
| average | decay 0.999 | train; trainer |
| loss | PLCC + 0.3 contrastive; ranks are computed and left out | paper, section 5.2; trainer |
| clips | one of 32 frames, every fourth, at a random place | train |
| start | itself, trained on LSVQ; CLIP and CONTRIQUE, frozen | train: load_path; paper, section 5.2 |

What differs here: as in `fast_vqa` for schedule, average, and the epoch that is kept; fragments move with
every run of frames, where the release draws them anew for every 8 frames.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from vqafast.errors import InvalidArgument
from vqafast.models.backbones.loader import fit
from vqafast.models.clip import visual
from vqafast.models.fast_vqa.config import NetworkConfig
from vqafast.models.fast_vqa.convert import sampling_spec, view_spec
from vqafast.models.ksvqe.config import KsvqeConfig
from vqafast.models.ksvqe.convert import scored_as, write_network
from vqafast.models.ksvqe.loading import checked_state
from vqafast.models.ksvqe.network import KSVQE
from vqafast.models.ksvqe.regions import key_frames
from vqafast.models.ksvqe.spec import KeyFrameView
from vqafast.models.ksvqe.views import RunViews, clip_inputs, run_views
from vqafast.models.views import HOST
from vqafast.training.clips.cutting import clips_of
from vqafast.training.clips.system import RECIPE, Start
from vqafast.training.clips.weights import Found, find_weights, swin_weights
from vqafast.training.losses_contrastive import contrastive_distortion_loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from torch import Tensor, nn

    from vqafast.models.fast_vqa.config import Sampling
    from vqafast.models.fast_vqa.spec import FragmentView
    from vqafast.models.spec import ModelSpec, SamplingSpec
    from vqafast.video.source import FrameSource, Sampled

_RECIPE: dict[str, Any] = {
    **RECIPE,
    "epochs": 50,
    "batch": 8,
    "lr": 3e-5,
    "losses": ("plcc",),
    "checkpoint_seconds": 600.0,  # a checkpoint has all of CLIP and CONTRIQUE
}
# What the names of all KSVQE checkpoints begin with, "module." before it or not.
_OWN = "KSVQE_"


class KsvqeSystem:
    """A `ClipSystem`.

    Parameters
    ----------
    config : KsvqeConfig, optional
        The release's by default.
    """

    name = "ksvqe"
    paper = "KSVQE (Lu et al., CVPR 2024), the authors' release"
    weights = ("init", "clip_weights", "contrique_weights")
    recipe = _RECIPE

    def __init__(self, config: KsvqeConfig | None = None) -> None:
        self._config = config or KsvqeConfig()

    def identity(self) -> dict[str, Any]:
        """The whole config."""
        return asdict(self._config)

    def start(self, weights: Mapping[str, str]) -> Start:
        """Start from what there is.

        Parameters
        ----------
        weights : mapping
            "init": KSVQE, a model, a run or its authors' checkpoint, which has all; or FAST-VQA-B or Video
            Swin, as `swin_weights` reads them. "clip_weights": a directory for
            `vqafast.models.clip.pretrained.visual_of`. "contrique_weights": its authors' checkpoint.
        """
        network = KSVQE(self._config)
        missing = {"CLIP": "clip_weights", "CONTRIQUE": "contrique_weights"}
        notes: tuple[str, ...] = ()
        if "init" not in weights:
            notes = ("no init: the Swin part starts from random weights",)
        elif self._load(network, find_weights(weights["init"])):
            missing = {}
        if "clip_weights" in weights:
            from vqafast.models.clip.pretrained import visual_of

            tower = visual_of(weights["clip_weights"])
            if tower.config != self._config.clip:
                raise InvalidArgument(f"clip_weights: must be of {self._config.clip}, got {tower.config}")
            network.KSVQE_backbone.CLIP_tool.visual.load_state_dict(tower.state_dict())
        if "contrique_weights" in weights:
            found = find_weights(weights["contrique_weights"])
            fit(network.KSVQE_backbone.distortion_tool, found.state, found.file)
        random = tuple(part for part, field in missing.items() if field not in weights)
        return Start(network, random, notes)

    def _load(self, network: KSVQE, found: Found) -> bool:
        """Load "init"; True when it had all of the network."""
        if not any(name.removeprefix("module.").startswith(_OWN) for name in found.state):
            c = self._config
            like = NetworkConfig("fast-vqa-b", c.swin, c.sampling, c.head)
            swin_weights(found, like).into(network.KSVQE_backbone, network.KSVQE_head)
            return False
        if found.ours:
            fit(network, found.state, found.file)
            return True
        config, state = checked_state(found.file, found.state, self._config)
        if config != self._config:
            raise InvalidArgument(
                f"init: {found.file} must have the adapters and modulated stages of this training, "
                f"{self._config.adapters} and {len(self._config.modulated)}, got "
                f"{config.adapters} and {len(config.modulated)}"
            )
        network.load_state_dict(state, strict=True)
        return True

    def backbone(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """All but the head, as the release's optimiser has it."""
        assert isinstance(network, KSVQE)
        return network.KSVQE_backbone.parameters()

    def views(self, source: FrameSource, *, draw: int, seed: int, threads: int) -> list[tuple[Tensor, ...]]:
        """Fragments ``(3, T, S, S)`` and key frames ``(4, 3, side, side)`` of each clip."""
        s = self._config.sampling
        sampling, view, keys = self._looks(s if draw else scored_as(s))
        window = sampling.window or 1

        def look(sampled: Sampled) -> RunViews:
            return run_views(sampled, view, keys, window, draw=draw, seed=seed, threads=threads, target=HOST)

        clips = []
        for runs in clips_of(source, sampling, look, draw=draw, seed=seed):
            inputs = clip_inputs(runs, view, keys, HOST.arrays)
            clips.append(tuple(torch.from_numpy(x[0]) for x in inputs))
        return clips

    def _looks(self, s: Sampling) -> tuple[SamplingSpec, FragmentView, KeyFrameView]:
        view = view_spec(s)
        keys = KeyFrameView(key_frames(s.frames), self._config.frames_side, visual.MEAN, visual.STD)
        return sampling_spec(s), view, keys

    def training_scores(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Scores, and the contrastive loss over the fragments of all clips: those of one clip are alike."""
        assert isinstance(network, KSVQE)
        scores, embeddings = network.forward_with_distortion(*inputs)
        each = embeddings.shape[1] * embeddings.shape[2]
        clips = torch.arange(len(scores), device=scores.device).repeat_interleave(each)
        loss = contrastive_distortion_loss(embeddings.flatten(0, 2), clips)
        return scores, self._config.distortion_weight * loss

    def write(
        self, network: nn.Module, out: str | PathLike[str], *, random: bool, **described: Any
    ) -> ModelSpec:
        """Write the model directory."""
        assert isinstance(network, KSVQE)
        return write_network(network, out, random=random, **described)
