"""The A2INet models of papers 001 and 000, by name: tables 2 and 3, and every row of tables 4 to 7.

Figures are as printed, medians over ten splits. Rows that the paper evaluates with the whole
video (section 4.5) are FR models. Two rows of different tables may be one model: the paper repeats
its figures, and so does this list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument, MissingFile

from ..backbones.table import BACKBONES, construct
from ..spec import QualityView, SamplingSpec, SemanticView
from .config import HeadConfig
from .published import TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7, Figures

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import nn

# Section 4.1: Adam at 2e-5, batches of 8, eta = 1. How long is trained is not said.
TRAINING: dict[str, float] = {"lr": 2e-5, "batch": 8, "eta": 1.0}

PR_SAMPLES, PR_PATCHES, PR_SIZE, PR_SHORT_SIDE = 128, (2, 2), 768, 540
# A ViT's cost grows with the square of its tokens, so the whole frame at full resolution is out
# of the question, and the paper does not say what its ViTs saw: four patches, or the frame shrunk,
# at the size they were trained at.
_VIT_PATCHES = (2, 2)


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of a table.

    Attributes
    ----------
    name : str
        Key of `VARIANTS`.
    head : HeadConfig
    sampling, quality, semantic
        Which frames, and what the backbones see of them.
    quality_backbone, semantic_backbone : str
        Keys of `vqafast.models.backbones.table.BACKBONES`. Where ``head.features`` is not "both",
        the other one is the row's neighbour in the table, whose features can be shared.
    paper : str
        Table and row.
    published : dict
        Data set to {"plcc", "srcc"}, as far as the table prints them.
    """

    name: str
    head: HeadConfig
    sampling: SamplingSpec
    quality: QualityView
    semantic: SemanticView
    quality_backbone: str
    semantic_backbone: str
    paper: str
    published: Figures


def _quality_view(backbone: str, preprocessed: bool) -> QualityView:
    b = BACKBONES[backbone]
    patches, size = (PR_PATCHES, PR_SIZE) if preprocessed else (None, None)
    if b.side is not None:
        patches, size = _VIT_PATCHES, b.side
    return QualityView(patches, size, 1, "rgb", b.mean, b.std, None)


def _semantic_view(backbone: str, preprocessed: bool) -> SemanticView:
    b = BACKBONES[backbone]
    short = b.side if b.side is not None else (PR_SHORT_SIDE if preprocessed else None)
    return SemanticView(short, "rgb", b.mean, b.std, "window" if b.motion else None)


def _variant(
    name: str,
    paper: str,
    published: Figures,
    *,
    quality: str = "resnet34_iqa",
    semantic: str = "resnet50",
    preprocessed: bool = False,
    **head: Any,
) -> Variant:
    dims: dict[str, Any] = {"quality_dim": BACKBONES[quality].dim, "semantic_dim": BACKBONES[semantic].dim}
    sampling = SamplingSpec("uniform_count", n=PR_SAMPLES) if preprocessed else SamplingSpec("every_frame")
    return Variant(
        name=name,
        head=HeadConfig(**dims, **head),
        sampling=sampling,
        quality=_quality_view(quality, preprocessed),
        semantic=_semantic_view(semantic, preprocessed),
        quality_backbone=quality,
        semantic_backbone=semantic,
        paper=paper,
        published=published,
    )


_SEMANTIC = {"ss": "resnet50", "sm": "slowfast_fast"}
_LABEL = {"ss": "S+S", "sm": "S+M"}
# Table 4: "directly into a temporal network", so neither CAGI nor CATM.
_DIRECT: dict[str, Any] = {"interaction": "concat", "catm": False}
_CNN_OR_VIT = {"cnn": "resnet34_iqa", "vit": "vit_b8_iqa"}
_SEMANTICS = {"cnn": "resnet50", "vit": "vit_b16", "fast": "slowfast_fast", "swin": "swin3d_t"}
# Table 5's figures for Concat are table 4's, and those for CAGI table 7's without TM: no CATM.
_MODULES: dict[str, dict[str, Any]] = {
    "concat": _DIRECT,
    "mlp": {"interaction": "concat_mlp", "catm": False},
    "cagi": {"catm": False},
}
_MODULE_ROWS = {"concat": "Concat", "mlp": "Concat+MLP", "cagi": "CAGI"}
_NORMALISATIONS: dict[str, dict[str, Any]] = {
    "adain-s-to-q": {"mode": "adain", "direction": "s_to_q"},
    "adain-q-to-s": {"mode": "adain", "direction": "q_to_s"},
    "fgin-s-to-q": {"mode": "fgin", "direction": "s_to_q"},
    "fgin-q-to-s": {"mode": "fgin", "direction": "q_to_s"},
    "cgin": {},
}
_PARTS: dict[str, dict[str, Any]] = {"fe": _DIRECT, "fe-gi": {"catm": False}, "fe-gi-tm": {}}


def _table_2() -> list[Variant]:
    return [
        _variant(
            f"a2inet-{mode}-{kind}",
            f"tables 2 and 3, Proposed {mode.upper()}({_LABEL[kind]})",
            {**TABLE_2[f"{mode}-{kind}"], **TABLE_3[f"{mode}-{kind}"]},
            semantic=_SEMANTIC[kind],
            preprocessed=mode == "pr",
        )
        for kind in ("ss", "sm")
        for mode in ("fr", "pr")
    ]


def _table_4() -> list[Variant]:
    rows: dict[str, dict[str, Any]] = {
        "sq": {"features": "quality"},
        "ss": {"features": "semantic"},
        "ms": {"features": "semantic", "semantic": "slowfast_fast"},
        "sq-ss": {},
        "sq-ms": {"semantic": "slowfast_fast"},
        # Two semantic features: the spatial ones take the quality branch's place.
        "ss-ms": {"quality": "resnet50", "semantic": "slowfast_fast"},
    }
    return [
        _variant(
            f"table4-{row}",
            f"table 4, {row.upper().replace('-', '+')}",
            TABLE_4[row],
            **_DIRECT,
            **changes,
        )
        for row, changes in rows.items()
    ]


def _table_5() -> list[Variant]:
    return [
        _variant(
            f"table5-{q}-{s}-{module}",
            f"table 5, {_MODULE_ROWS[module]}, {_column(q)}+{_column(s)}",
            TABLE_5[f"{q}-{s}-{module}"],
            quality=_CNN_OR_VIT[q],
            semantic=_SEMANTICS[s],
            **changes,
        )
        for q in _CNN_OR_VIT
        for s in _SEMANTICS
        for module, changes in _MODULES.items()
    ]


def _column(short: str) -> str:
    return {"cnn": "CNN", "vit": "ViT", "fast": "Fast", "swin": "Swin"}[short]


def _table_6() -> list[Variant]:
    return [
        _variant(
            f"table6-{kind}-{row}",
            f"table 6, {_normalisation(row)}, ({_LABEL[kind]})",
            TABLE_6[f"{kind}-{row}"],
            semantic=_SEMANTIC[kind],
            **changes,
        )
        for kind in _SEMANTIC
        for row, changes in _NORMALISATIONS.items()
    ]


def _normalisation(row: str) -> str:
    mode, _, direction = row.partition("-")
    name = {"adain": "AdaIN", "fgin": "FGIN", "cgin": "CGIN"}[mode]
    return f"{name} {direction.upper().replace('-TO-', '→')}".strip()


def _table_7() -> list[Variant]:
    # The baseline is VSFA: mean and deviation of ResNet-50's last map alone, to the same network.
    baseline = _variant(
        "table7-baseline", "table 7, Baseline (VSFA), FE", TABLE_7["baseline"],
        semantic="resnet50_last", features="semantic", **_DIRECT,
    )  # fmt: skip
    rows = [
        _variant(
            f"table7-{kind}-{parts}",
            f"table 7, Proposed ({_LABEL[kind]}), {parts.upper().replace('-', '+')}",
            TABLE_7[f"{kind}-{parts}"],
            semantic=_SEMANTIC[kind],
            **changes,
        )
        for kind in _SEMANTIC
        for parts, changes in _PARTS.items()
    ]
    return [baseline, *rows]


TABLES: dict[int, tuple[Variant, ...]] = {
    2: tuple(_table_2()),
    4: tuple(_table_4()),
    5: tuple(_table_5()),
    6: tuple(_table_6()),
    7: tuple(_table_7()),
}

VARIANTS: dict[str, Variant] = {v.name: v for rows in TABLES.values() for v in rows}
# The model that is meant when nothing else is said: PR is as good and far cheaper (section 4.6).
VARIANTS["a2inet"] = replace(VARIANTS["a2inet-pr-ss"], name="a2inet")


def variant(name: str) -> Variant:
    """Give a variant by name.

    Raises
    ------
    InvalidArgument
        Lists the names.
    """
    if name not in VARIANTS:
        raise InvalidArgument(f"variant must be one of {', '.join(sorted(VARIANTS))}, got {name!r}")
    return VARIANTS[name]


def rows_of(table: int, names: Sequence[str] | None = None) -> tuple[Variant, ...]:
    """Give the variants of a table, or those of them that are named.

    Raises
    ------
    InvalidArgument
    """
    if table not in TABLES:
        raise InvalidArgument(f"table must be one of {sorted(TABLES)}, got {table}")
    known = {v.name: v for v in TABLES[table]}
    unknown = [n for n in names or () if n not in known]
    if unknown:
        raise InvalidArgument(f"rows of table {table} must be of {list(known)}, got {unknown}")
    return tuple(v for v in known.values() if not names or v.name in names)


def build_backbones(
    variant: Variant,
    quality_weights: str | os.PathLike[str] | None = None,
    semantic_weights: str | os.PathLike[str] | None = None,
    random: bool = False,
) -> tuple[nn.Module, nn.Module]:
    """Make the frozen quality and semantic backbones of a variant; needs torch.

    Parameters
    ----------
    quality_weights, semantic_weights : str or path, optional
        As `vqafast.models.backbones.weights.resolve` takes them: a file, a public name, an address.
    random : bool
        Backbones whose weights are not given stay random. Without it they are an error, because
        random features look like features.

    Raises
    ------
    MissingFile
        When weights are not given, or not found.
    ModelError
        When they do not fit.
    """
    from ..backbones.resnet import freeze
    from ..backbones.weights import load_backbone, resolve

    nets = []
    needs = {"quality": variant.head.features != "semantic", "semantic": variant.head.features != "quality"}
    for branch, backbone, weights in (
        ("quality", variant.quality_backbone, quality_weights),
        ("semantic", variant.semantic_backbone, semantic_weights),
    ):
        if weights is None and not random and needs[branch]:
            raise MissingFile(
                f"{variant.name}: {branch} weights for {backbone} must be given; the paper's are "
                f"{BACKBONES[backbone].weights!r} (random ones only when asked for)"
            )
        net = construct(backbone)
        if weights is not None:
            load_backbone(net, backbone, resolve(weights))
        nets.append(freeze(net))
    return nets[0], nets[1]
