"""CLIP's vision transformer under OpenAI's parameter names (openai/CLIP, clip/model.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from vqafast.errors import InvalidArgument

from ..tracing import fixed, is_tracing

#: Of RGB in 0..1 (openai/CLIP, clip/clip.py).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_HEAD = 64  # channels of a head in every ViT of the release


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Size of the tower; the defaults are ViT-B/16's."""

    side: int = 224  # pixels
    patch: int = 16  # pixels a side of a token
    width: int = 768
    layers: int = 12
    heads: int = 12
    out: int = 512  # of the space that images and texts share

    def __post_init__(self) -> None:
        if min(self.side, self.patch, self.width, self.layers, self.heads, self.out) < 1:
            raise InvalidArgument(f"ClipConfig: sizes must be >= 1, got {self}")
        if self.side % self.patch or self.width % self.heads:
            raise InvalidArgument(
                f"ClipConfig: patch must divide side and heads must divide width, got {self}"
            )

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.side // self.patch

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> ClipConfig:
        """Read the sizes from a tower's parameters.

        Raises
        ------
        InvalidArgument
            When they are not those of a ViT.
        """
        try:
            width, _, patch, _ = state["conv1.weight"].shape
            tokens, out = state["positional_embedding"].shape[0] - 1, state["proj"].shape[1]
            layers = len({k.split(".")[2] for k in state if k.startswith("transformer.resblocks.")})
        except (KeyError, ValueError) as e:
            raise InvalidArgument(f"CLIP: must be the image tower of a ViT, got no {e}") from e
        return cls(round(tokens**0.5) * patch, patch, width, layers, max(1, width // _HEAD), out)


class _Attention(nn.Module):
    """Self-attention under the names of `nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            qkv.reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        # The release's approximation of GELU, with which its weights were trained.
        out: Tensor = self.c_proj(x * torch.sigmoid(1.702 * x))
        return out


class Block(nn.Module):
    """Attention and MLP, each after a norm and with a residual link: ``(B, N, W)`` to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens; see the class for shapes."""
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class _Transformer(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))


@lru_cache(maxsize=8)
def _stretch(old: int, new: int) -> Tensor:
    """``(new^2, old^2)``: `interpolate`'s bicubic as a matrix, which any engine can apply."""
    with torch.inference_mode(False):
        every = torch.eye(old * old, dtype=torch.float64).reshape(-1, 1, old, old)
        there = F.interpolate(every, size=(new, new), mode="bicubic", align_corners=False)
        return there.reshape(old * old, new * new).T


class ClipVisual(nn.Module):
    """Images to their place in the space of images and texts.

    Parameters
    ----------
    config : ClipConfig
    """

    def __init__(self, config: ClipConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ClipConfig()
        self.conv1 = nn.Conv2d(3, c.width, c.patch, c.patch, bias=False)
        scale = c.width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(c.width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(c.grid**2 + 1, c.width))
        self.ln_pre = nn.LayerNorm(c.width)
        self.transformer = _Transformer(c)
        self.ln_post = nn.LayerNorm(c.width)
        self.proj = nn.Parameter(scale * torch.randn(c.width, c.out))
        self._initialise()

    def _initialise(self) -> None:
        """Spread random weights as the release does, so that deep layers neither fade nor grow."""
        c = self.config
        for block in self.transformer.resblocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.attn.in_proj_weight, std=c.width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=(2 * c.layers * c.width) ** -0.5)
            nn.init.zeros_(block.attn.out_proj.bias)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * c.width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=(2 * c.layers * c.width) ** -0.5)

    def embed(self, images: Tensor) -> Tensor:
        """Tokens ``(B, 1 + P, W)`` before the first block: the class token, then patches in scan order.

        Parameters
        ----------
        images : Tensor
            ``(B, 3, S, S)``, S a multiple of the patch: RGB in 0..1 normalised with `MEAN` and `STD`. The
            positions of another size than the configuration's are stretched to it, bicubically.
        """
        grid = fixed(images.shape[3:])[0] // self.config.patch
        if not is_tracing():
            side = grid * self.config.patch
            if images.ndim != 4 or grid < 1 or tuple(images.shape[1:]) != (3, side, side):
                raise InvalidArgument(
                    f"ClipVisual: images must be (B, 3, S, S), S a multiple of {self.config.patch}, "
                    f"got {tuple(images.shape)}"
                )
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        out: Tensor = self.ln_pre(torch.cat([first, patches], dim=1) + self._positions(grid))
        return out

    def _positions(self, grid: int) -> Tensor:
        own = self.positional_embedding
        if grid == self.config.grid:
            return own
        stretch = _stretch(self.config.grid, grid).to(own)
        return torch.cat([own[:1], stretch @ own[1:]])

    def forward(self, images: Tensor) -> Tensor:
        """Map images, as for `embed`, to ``(B, out)``; the length of a row says nothing."""
        x = self.embed(images)
        for block in self.transformer.resblocks:
            x = block(x)
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out
