"""Every number of A2INet's head. Fields under "the paper" are quoted; the others are choices.

Where the papers say nothing, the field's comment gives the reason for its default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from vqafast.errors import InvalidArgument

INTERACTIONS = ("cagi", "concat", "concat_mlp")
MODES = ("cgin", "fgin", "adain")
DIRECTIONS = ("both", "q_to_s", "s_to_q")
FEATURES = ("both", "quality", "semantic")
ACTIVATIONS = ("none", "relu")


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """From features ``(T, quality_dim)``, ``(T, semantic_dim)`` to frame scores and the score.

    The defaults are the paper's S+S model; `a2inet_sm` gives S+M; ablations are single fields.
    """

    # The paper (sections 3.1-3.3, 4.1; supplement 2).
    quality_dim: int = 1920
    semantic_dim: int = 7680
    dim: int = 1024  # D
    reduced_dim: int = 128
    gru_dim: int = 32
    alpha: float = 0.5
    beta: int = 6

    # Ablations of the paper.
    # Table 5: "cagi", "concat" (raw features side by side: its numbers are those of table 4, whose
    # features go "directly into a temporal network"), "concat_mlp" (FC, ReLU, dropout after that).
    interaction: str = "cagi"
    # Table 4's single features: the other one is handed in all the same, and nothing reads it, so
    # that rows with the same backbones share stored features and the graphs' inputs.
    features: str = "both"
    mode: str = "cgin"  # table 6: "cgin", "fgin", "adain"
    # Table 6: "s_to_q" deforms S towards Q; the other feature stays beside it as it is, so that the
    # width is 2D (the table does not say). Both directions for CGIN (eq. 4).
    direction: str = "both"
    attention: bool = True  # the global self-attention, a part of CAGI
    catm: bool = True  # table 7, column TM

    # Choices on which the papers are silent.
    # Inside the root of CGIN's sigma: the value of every instance normalisation library.
    eps: float = 1e-5
    # Eq. 4 writes one f for both directions; gamma_s and theta_s are still fitted to the domain they
    # read, and the two domains differ, so each direction has its own.
    guide_shared: bool = False
    # FC layers are linear as in VSFA, whose temporal network the paper follows ([23], [6]).
    fc_activation: str = "none"
    # Linear projections W in R^{2Dx2D} (eq. 5): no bias, no output projection, one head, no
    # normalisation layer, because the equation shows none.
    attention_bias: bool = False
    # "FC-ReLU-FC-Sigmoid" is squeeze-and-excitation: its usual reduction.
    gate_reduction: int = 16
    # Max and std go through "a lightweight network" of two blocks drawn apart (figure 3).
    gate_shared: bool = False
    # "a temporal convolution layer": the smallest kernel that sees both neighbours, zero padding
    # keeps T, all channels mixed (groups 1), with bias, one layer shared by both gates (figure 3
    # shows one F_e).
    conv_kernel: int = 3
    conv_groups: int = 1
    conv_shared: bool = True
    # "standard deviation pooling" over T, biased like CGIN's sigma, so that T = 1 is defined: 0.
    std_correction: int = 0
    # "GRUs" in the plural for units over time; VSFA has one layer, forwards, h_0 = 0.
    gru_layers: int = 1
    gru_bidirectional: bool = False
    # None is mentioned outside table 5's MLP. Applied to the reduced features before the GRU.
    dropout: float = 0.0
    # The MLP of table 5 has "a dropout layer" without a rate: torch's default.
    mlp_dropout: float = 0.5
    # Width of the MLP of table 5, None: 2 * dim, the width of CAGI's output.
    mlp_dim: int | None = None
    # Features standardised with constants of the training set; not in the paper, for small models.
    standardise: bool = False
    # asinh(feature / scale) before that, for features that spread over orders of magnitude; the
    # scales are constants of the training set too. Not in the paper either.
    compress: bool = False

    def __post_init__(self) -> None:
        for name in ("quality_dim", "semantic_dim", "dim", "reduced_dim", "gru_dim", "beta",
                     "gate_reduction", "conv_kernel", "conv_groups", "gru_layers"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidArgument(f"HeadConfig: {name} must be >= 1, got {getattr(self, name)}")
        for name, allowed in (
            ("interaction", INTERACTIONS),
            ("features", FEATURES),
            ("mode", MODES),
            ("direction", DIRECTIONS),
            ("fc_activation", ACTIVATIONS),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidArgument(
                    f"HeadConfig: {name} must be one of {list(allowed)}, got {getattr(self, name)!r}"
                )
        if self.conv_kernel % 2 == 0:
            raise InvalidArgument(f"HeadConfig: conv_kernel must be odd, got {self.conv_kernel}")
        if self.std_correction not in (0, 1):
            raise InvalidArgument(f"HeadConfig: std_correction must be 0 or 1, got {self.std_correction}")
        if not 0 <= self.dropout < 1 or not 0 <= self.alpha <= 1 or self.eps < 0:
            raise InvalidArgument(
                "HeadConfig: dropout in [0, 1), alpha in [0, 1] and eps >= 0 must hold, "
                f"got {self.dropout}, {self.alpha}, {self.eps}"
            )
        if not 0 <= self.mlp_dropout < 1:
            raise InvalidArgument(f"HeadConfig: mlp_dropout must be in [0, 1), got {self.mlp_dropout}")
        if self.features != "both" and self.interaction == "cagi":
            raise InvalidArgument(
                f"HeadConfig: features must be 'both' for cagi, which needs two, got {self.features!r}"
            )

    @property
    def fused_dim(self) -> int:
        """Width of what the temporal part takes: 2D after CAGI, both features side by side else."""
        if self.interaction == "cagi":
            return 2 * self.dim
        return self.quality_dim + self.semantic_dim

    @property
    def used(self) -> slice:
        """Columns of the fused features that are read: all, or those of one feature (table 4)."""
        start = self.quality_dim if self.features == "semantic" else 0
        return slice(start, self.quality_dim if self.features == "quality" else self.fused_dim)

    def to_dict(self) -> dict[str, Any]:
        """Fields as they stand in model.json under "head"."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HeadConfig:
        """Inverse of `to_dict`; unknown fields raise `InvalidArgument`."""
        unknown = sorted(set(data) - {f.name for f in fields(cls)})
        if unknown:
            raise InvalidArgument(f"HeadConfig: unknown fields {unknown}")
        return cls(**data)


def a2inet_ss() -> HeadConfig:
    """Spatial quality and spatial semantic features: ResNet-34 (IQA) and ResNet-50."""
    return HeadConfig()


def a2inet_sm() -> HeadConfig:
    """Spatial quality and motion semantic features: SlowFast's fast pathway, 512."""
    return HeadConfig(semantic_dim=512)


def concat_config() -> HeadConfig:
    """Give the ablations' starting point (table 7, row FE): features straight to the temporal network."""
    return HeadConfig(interaction="concat", catm=False)
