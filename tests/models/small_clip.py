"""A small CLIP as `transformers` saves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from vqafast.models.clip.visual import ClipConfig

if TYPE_CHECKING:
    from pathlib import Path

TINY_CLIP = ClipConfig(side=32, patch=8, width=16, layers=2, heads=2, out=6)


def save_clip(path: Path) -> Any:
    """Write model and tokenizer, and return the model; its image tower has `TINY_CLIP`'s size."""
    transformers = pytest.importorskip("transformers")
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz.-"})
    vocabulary = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary)}, merges=[], model_max_length=40
    )
    end = len(vocabulary) - 1
    config = transformers.CLIPConfig(
        text_config={"hidden_size": 12, "intermediate_size": 48, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "vocab_size": len(vocabulary), "max_position_embeddings": 40,
                     "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end},
        vision_config={"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2,
                       "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        projection_dim=6,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.CLIPModel(config).eval()
        for p in model.parameters():
            if p.ndim == 1:
                torch.nn.init.normal_(p, std=0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return model
