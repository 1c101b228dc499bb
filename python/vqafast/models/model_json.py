"""model.json: read, checked and written."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqafast.errors import ModelError
from vqafast.ops.scene_statistics import SCENE_MAPS

from ._fields import Fields
from .clif_vqa import spec as clif_vqa
from .fast_vqa import spec as fast_vqa
from .ksvqe import spec as ksvqe
from .kvq import spec as kvq
from .spec import (
    A2INetSpec,
    BitstreamView,
    Calibration,
    HeadSpec,
    ModelSpec,
    PoolingSpec,
    QualityView,
    SamplingSpec,
    Scale,
    SemanticView,
    Uncertainty,
)
from .vsfa import spec as vsfa

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = 1


def weights_digest(files: dict[str, str]) -> str:
    """SHA-256 over a line ``<name> <sha256>`` for every file, sorted by name."""
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def parse(data: object, directory: Path) -> ModelSpec:
    """Turn the contents of model.json into a `ModelSpec`.

    Raises
    ------
    ModelError
        Names the field, what must hold and what was got. Unknown fields are errors too.
    """
    top = Fields(data, "")
    schema = top.integer("schema", low=1)
    if schema != SCHEMA:
        raise ModelError(f"model.json: schema must be {SCHEMA}, got {schema}")
    family = top.choice("family", tuple(FAMILIES))
    files = _files(top.section("files"))
    common: dict[str, Any] = {
        "name": top.text("name"),
        "version": top.text("version"),
        "family": family,
        "meaning": top.text("meaning"),
        "scale": _scale(top.section("scale")),
        "sampling": _sampling(top.section("sampling")),
        "calibration": _calibration(top.section("calibration")),
        "files": files,
        "weights_sha256": top.text("weights_sha256"),
        "trained_on": top.text("trained_on"),
        "licence": top.text("licence"),
        "source": top.text("source"),
        "directory": directory,
        "metadata": top.mapping("metadata", default={}),
        "members": top.integer("members", low=1, default=1),
        "uncertainty": _uncertainty(top.section("uncertainty")) if "uncertainty" in top.names() else None,
    }
    spec = FAMILIES[family].parse(top, common)
    top.done()
    if spec.weights_sha256 != weights_digest(files):
        raise ModelError(
            f"model.json: weights_sha256 must be the digest of files, {weights_digest(files)}, "
            f"got {spec.weights_sha256}"
        )
    if spec.uncertainty is not None and spec.members < 2:
        raise ModelError(f"model.json: members must be at least 2 for an uncertainty, got {spec.members}")
    return spec


def _parse_a2inet(top: Fields, common: dict[str, Any]) -> A2INetSpec:
    views = top.section("views")
    head = _head(top.section("head"))
    spec = A2INetSpec(
        **common,
        pooling=PoolingSpec("hysteresis", head.alpha, head.beta),
        quality=_quality(views.section("quality")),
        semantic=_semantic(views.section("semantic")),
        head=head,
        bitstream=_bitstream(views.section("bitstream")) if "bitstream" in views.names() else None,
    )
    views.done()
    if spec.quality.temporal == "pair" and spec.sampling.burst != 2:
        raise ModelError(f"model.json: sampling.burst must be 2 for pair views, got {spec.sampling.burst}")
    if min(spec.picture_dims) < 1:
        raise ModelError(
            f"model.json: head.quality_dim and semantic_dim must be above the number of bitstream features, "
            f"got {spec.head.quality_dim}, {spec.head.semantic_dim}"
        )
    return spec


def _files(f: Fields) -> dict[str, str]:
    files = {name: f.text(name) for name in f.names()}
    f.done()
    for name, digest in files.items():
        if Path(name).name != name or name.startswith("."):
            raise ModelError(f"model.json: files must be plain file names, got {name!r}")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ModelError(f"model.json: files.{name} must be a hex sha256, got {digest!r}")
    return files


def _scale(f: Fields) -> Scale:
    scale = Scale(
        name=f.text("name"),
        min=f.number("min"),
        max=f.number("max"),
        direction=f.choice("direction", ("higher_is_better", "lower_is_better")),
    )
    f.done()
    if not scale.min < scale.max:
        raise ModelError(f"model.json: scale.min must be < max, got {scale.min}, {scale.max}")
    return scale


def _sampling(f: Fields) -> SamplingSpec:
    kind = f.choice("kind", ("time_grid", "uniform_count", "every_frame", "clips", "segments"))
    spec = SamplingSpec(
        kind=kind,
        rate=f.rate("rate") if kind == "time_grid" else None,
        burst=f.integer("burst", low=1, default=1),
        window=f.optional_integer("window", low=1),
        n=f.integer("n", low=1) if kind in ("uniform_count", "clips", "segments") else None,
        stride=f.integer("stride", low=1, default=1),
    )
    f.done()
    return spec


def _quality(f: Fields) -> QualityView:
    patches = f.optional_pair("patches")
    output = f.choice("output", ("rgb", "luma"))
    channels = 3 if output == "rgb" else 1
    view = QualityView(
        patches=patches,
        size=f.optional_integer("size", low=8),
        align=f.integer("align", low=1, default=1),
        output=output,
        mean=f.numbers("mean", channels),
        std=f.numbers("std", channels, positive=True),
        temporal=f.optional_choice("temporal", ("pair",)),
        adaptive=f.boolean("adaptive", default=False),
        features=f.choice("features", ("graph", "scene_statistics"), default="graph"),
        maps=f.texts("maps", default=("luma",)),
    )
    f.done()
    if (view.patches is None) != (view.size is None):
        raise ModelError("model.json: views.quality.patches and size must be given together")
    unknown = sorted(set(view.maps) - set(SCENE_MAPS))
    if unknown or not view.maps:
        raise ModelError(
            f"model.json: views.quality.maps must be of {list(SCENE_MAPS)}, got {list(view.maps)}"
        )
    if view.temporal == "pair" and output != "luma":
        raise ModelError("model.json: views.quality.output must be luma for pair views")
    return view


def _semantic(f: Fields) -> SemanticView:
    output = f.choice("output", ("rgb", "luma"))
    channels = 3 if output == "rgb" else 1
    view = SemanticView(
        short_side=f.optional_integer("short_side", low=8),
        output=output,
        mean=f.numbers("mean", channels),
        std=f.numbers("std", channels, positive=True),
        temporal=f.optional_choice("temporal", ("window",)),
    )
    f.done()
    return view


def _head(f: Fields) -> HeadSpec:
    return HeadSpec(
        interaction=f.choice("interaction", ("cagi", "concat", "concat_mlp")),
        mode=f.choice("mode", ("cgin", "fgin", "adain")),
        direction=f.choice("direction", ("both", "q_to_s", "s_to_q")),
        eps=f.number("eps", low=0.0),
        alpha=f.number("alpha", low=0.0, high=1.0),
        beta=f.integer("beta", low=1),
        quality_dim=f.integer("quality_dim", low=1),
        semantic_dim=f.integer("semantic_dim", low=1),
        config=f.everything(),
    )


def _calibration(f: Fields) -> Calibration:
    calibration = Calibration(scale=f.number("scale"), offset=f.number("offset"), clip=f.boolean("clip"))
    if "steps" in f.names():
        calibration = replace(calibration, steps=f.steps("steps"))
    f.done()
    return calibration


def _uncertainty(f: Fields) -> Uncertainty:
    section = Uncertainty(
        base=f.number("base", low=0.0),
        spread=f.number("spread", low=0.0),
        knots=f.pairs("knots"),
        coverage=f.number("coverage", low=0.0, high=1.0),
        meaning=f.text("meaning"),
    )
    f.done()
    scores = [score for score, _ in section.knots]
    if any(b <= a for a, b in pairwise(scores)):
        raise ModelError(f"model.json: uncertainty.knots must have rising scores, got {scores}")
    if any(factor < 0 for _, factor in section.knots):
        raise ModelError("model.json: uncertainty.knots must have factors of 0 or more")
    return section


def _bitstream(f: Fields) -> BitstreamView:
    view = BitstreamView(features=f.texts("features"), ranges=f.pairs("ranges"))
    f.done()
    if len(set(view.features)) != len(view.features):
        raise ModelError("model.json: views.bitstream.features must be different names")
    if len(view.features) != len(view.ranges):
        raise ModelError(
            f"model.json: views.bitstream.ranges must have a pair for each of {len(view.features)} features, "
            f"got {len(view.ranges)}"
        )
    if any(high < low for low, high in view.ranges):
        raise ModelError("model.json: views.bitstream.ranges must be pairs low, high with low <= high")
    return view


def to_json(spec: ModelSpec) -> dict[str, Any]:
    """Inverse of `parse`: what stands in model.json."""
    sampling: dict[str, Any] = {"kind": spec.sampling.kind, "burst": spec.sampling.burst}
    if spec.sampling.rate is not None:
        rate = spec.sampling.rate
        sampling["rate"] = int(rate) if rate.denominator == 1 else str(rate)
    if spec.sampling.n is not None:
        sampling["n"] = spec.sampling.n
    sampling["window"] = spec.sampling.window
    if spec.sampling.stride != 1:
        sampling["stride"] = spec.sampling.stride
    # What a plain model does not have is left out, so that older libraries read it.
    more: dict[str, Any] = {} if spec.members == 1 else {"members": spec.members}
    if spec.uncertainty is not None:
        more["uncertainty"] = _lists(asdict(spec.uncertainty))
    return {
        "schema": SCHEMA,
        "name": spec.name,
        "version": spec.version,
        "family": spec.family,
        "meaning": spec.meaning,
        "scale": asdict(spec.scale),
        "sampling": sampling,
        **FAMILIES[spec.family].to_json(spec),
        "calibration": {k: v for k, v in _lists(asdict(spec.calibration)).items() if v != []},
        **more,
        "files": spec.files,
        "weights_sha256": spec.weights_sha256,
        "trained_on": spec.trained_on,
        "licence": spec.licence,
        "source": spec.source,
        "metadata": spec.metadata,
    }


def _a2inet_to_json(spec: ModelSpec) -> dict[str, Any]:
    assert isinstance(spec, A2INetSpec)
    views = {"quality": _lists(asdict(spec.quality)), "semantic": _lists(asdict(spec.semantic))}
    if spec.bitstream is not None:
        views["bitstream"] = _lists(asdict(spec.bitstream))
    return {"views": views, "head": spec.head.config}


@dataclass(frozen=True, slots=True)
class _Family:
    """How the part of model.json is read and written that only one family has."""

    parse: Callable[[Fields, dict[str, Any]], ModelSpec]
    to_json: Callable[[ModelSpec], dict[str, Any]]


FAMILIES: dict[str, _Family] = {
    "a2inet": _Family(_parse_a2inet, _a2inet_to_json),
    "clif_vqa": _Family(clif_vqa.parse, clif_vqa.to_json),
    "fast_vqa": _Family(fast_vqa.parse, fast_vqa.to_json),
    "ksvqe": _Family(ksvqe.parse, ksvqe.to_json),
    "kvq": _Family(kvq.parse, kvq.to_json),
    "vsfa": _Family(vsfa.parse, vsfa.to_json),
}


def _lists(data: dict[str, Any]) -> dict[str, Any]:
    return {k: _listed(v) for k, v in data.items()}


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, (list, tuple)) else value
