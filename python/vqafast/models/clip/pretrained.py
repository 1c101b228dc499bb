"""CLIP as `transformers` saves it: its image tower under our names, and its text tower's answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqafast.errors import EngineUnavailable, MissingFile, ModelError

from .extractor import SemanticExtractor
from .visual import ClipConfig, ClipVisual

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

_FETCH = "hf download openai/clip-vit-base-patch16 --local-dir DIR"
# Ours, theirs, for what keeps its shape; a layer's attention projections are joined.
_LAYER = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def extractor_of(directory: str | PathLike[str], prompts: Sequence[str]) -> SemanticExtractor:
    """CLIP as it answers for `prompts`.

    Parameters
    ----------
    directory : path
        With a CLIP model and its tokenizer, as ``save_pretrained`` of `transformers` writes them and the
        hub has them; safetensors only, so that no code runs.
    prompts : sequence of str
        Texts, one a description.

    Raises
    ------
    EngineUnavailable
        Without transformers.
    MissingFile, ModelError
        When the directory is not there, or holds no CLIP of this kind.
    """
    model, tokenizer = _read(directory)
    with torch.no_grad():
        tokens = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        pooled = model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        texts = model.text_projection(pooled)
        scale = float(model.logit_scale.exp())
    return SemanticExtractor(_visual(model), texts, scale)


def visual_of(directory: str | PathLike[str]) -> ClipVisual:
    """CLIP's image tower; `directory` and errors are those of `extractor_of`."""
    return _visual(_read(directory)[0])


def _read(directory: str | PathLike[str]) -> tuple[Any, Any]:
    path = Path(directory)
    if not (path / "config.json").is_file():
        raise MissingFile(
            f"CLIP: must be a directory with config.json, got {str(path)!r}; {_FETCH} makes one",
            path=str(path),
        )
    try:
        from transformers import AutoTokenizer, CLIPModel
    except ImportError as e:
        raise EngineUnavailable(f"CLIP: reading it needs vqafast[clip]: {e}") from e
    try:
        model: Any = CLIPModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as e:
        raise ModelError(f"CLIP: {path} cannot be read: {e}", path=str(path)) from e
    act = model.config.vision_config.hidden_act
    if act != "quick_gelu":
        raise ModelError(f"CLIP: hidden_act must be quick_gelu, got {act!r}", path=str(path))
    return model.eval(), tokenizer


def _visual(model: Any) -> ClipVisual:
    vision = model.config.vision_config
    config = ClipConfig(
        vision.image_size,
        vision.patch_size,
        vision.hidden_size,
        vision.num_hidden_layers,
        vision.num_attention_heads,
        model.config.projection_dim,
    )
    visual = ClipVisual(config)
    visual.load_state_dict(_renamed(model.state_dict(), config.layers), strict=True)
    return visual


def _renamed(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    def of(name: str) -> Tensor:
        return theirs[f"vision_model.{name}"].float()

    ours = {
        "class_embedding": of("embeddings.class_embedding"),
        "conv1.weight": of("embeddings.patch_embedding.weight"),
        "positional_embedding": of("embeddings.position_embedding.weight"),
        "proj": theirs["visual_projection.weight"].float().T,
    }
    # "layrnorm" is their spelling.
    pairs = [("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")]
    for i in range(layers):
        mine, his = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
        pairs += [(f"{mine}.{a}", f"{his}.{b}") for a, b in _LAYER.items()]
        for kind in ("weight", "bias"):
            parts = [of(f"{his}.self_attn.{x}_proj.{kind}") for x in "qkv"]
            ours[f"{mine}.attn.in_proj_{kind}"] = torch.cat(parts)
    for a, b in pairs:
        ours |= {f"{a}.{kind}": of(f"{b}.{kind}") for kind in ("weight", "bias")}
    return ours
