"""FAST-VQA's network: published sizes, what is kept between calls, old files, the whole exported graph.

Values and gradients against the authors' algorithm are in test_fast_vqa_network.py.
"""

from __future__ import annotations

import copy
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from vqafast.models.fast_vqa import windows  # noqa: E402
from vqafast.models.fast_vqa.attention import WindowAttention  # noqa: E402
from vqafast.models.fast_vqa.config import PRESETS, HeadConfig, NetworkConfig, Sampling, SwinConfig  # noqa: E402
from vqafast.models.fast_vqa.network import FastVQA, load_checkpoint  # noqa: E402
from vqafast.models.onnx_export import TOLERANCE, export_graph, noise  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.models.fast_vqa.config import Size

SMALL = NetworkConfig(
    "small",
    SwinConfig(width=12, depths=(2, 2), heads=(2, 3), window=(4, 3, 3), fragment_bias=(True, False)),
    Sampling(frames=16, interval=2, clips=1, grid=2, aligned=16),
    HeadConfig(24, 8),
    renamed=(("backbone.", "fragments_backbone."), ("cls_head.", "vqa_head.")),
)
SIZE = (16, 44, 52)


def small() -> FastVQA:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = FastVQA(SMALL).eval()
        for module in net.modules():
            if isinstance(module, WindowAttention):
                for table in tables(module):
                    torch.nn.init.normal_(table)
    return net


def tables(attention: WindowAttention) -> list[Any]:
    both = (attention.relative_position_bias_table, attention.fragment_position_bias_table)
    return [t for t in both if t is not None]


def attentions(net: FastVQA) -> list[WindowAttention]:
    return [m for m in net.modules() if isinstance(m, WindowAttention)]


def score(net: FastVQA, clips: Any) -> Any:
    with torch.no_grad():
        return net(clips)


@pytest.mark.parametrize(
    ("name", "megabytes"), [("fast-vqa-b", 127), ("fastervqa", 127), ("fast-vqa-m", 111)]
)
def test_the_published_files_have_this_size(name: str, megabytes: int) -> None:
    """Parameters in float32 and indices in int64, against the MB that a list of the release's files gives."""
    with torch.device("meta"):
        state = FastVQA(PRESETS[name]).state_dict()
    assert round(sum(t.numel() * t.element_size() for t in state.values()) / 1e6) == megabytes


def test_published_multiplications() -> None:
    """README of the release: 279 G for the four clips of FAST-VQA-B; thop, which made it, counts layers."""
    with torch.device("meta"):
        net = FastVQA(PRESETS["fast-vqa-b"])
    size: Size = (16, 56, 56)
    total = net.backbone.patch_embed.proj.weight.numel() * 16 * 56 * 56
    for i, stage in enumerate(net.backbone.layers):
        t, h, w = size[0], size[1] >> i, size[2] >> i
        tokens = t * h * w
        linear = sum(m.weight.numel() for m in stage.blocks.modules() if isinstance(m, torch.nn.Linear))
        total += linear * tokens
        if stage.downsample is not None:
            total += stage.downsample.reduction.weight.numel() * tokens // 4
    assert round(4 * total / 1e9) == 279


def test_fragments_are_stretched_as_torch_does() -> None:
    for cells in (1, 2, 3, 4, 5, 7):
        for length in range(1, 130):
            at = torch.arange(cells, dtype=torch.float32)[None, None]
            wanted = torch.nn.functional.interpolate(at, size=length)[0, 0].long().tolist()
            assert [windows.nearest(i, cells, length) for i in range(length)] == wanted


def test_plans_of_the_default_size_stay_small() -> None:
    """Different biases are few, and gates and masks are shared: 100 MB, where one block's gates for
    every window would be 79 MB and its biases 236 MB."""
    total = 0
    for side, heads in ((56, 3), (28, 6), (14, 12), (7, 24)):
        for shift in ((0, 0, 0), (4, 3, 3)):
            used, moved = windows.clip_window((16, side, side), (8, 7, 7), shift)
            grid = None if heads == 24 else (7, 7)
            plan = windows.groups((16, side, side), used, moved, grid, torch.device("cpu"))
            assert plan.groups[0].start == 0
            assert plan.groups[-1].stop == plan.cut.count
            kept = {id(t): t for g in plan.groups for t in (g.gate, g.mask) if t is not None}
            total += sum(t.numel() * t.element_size() for t in kept.values())
    assert total < 100e6


def test_a_clip_scores_the_same_in_any_batch_and_again() -> None:
    net, clips = small(), noise(1, (3, 3, *SIZE))
    together = score(net, clips)
    assert torch.equal(together, score(net, clips))
    apart = torch.cat([score(net, clip[None]) for clip in clips])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_kept_biases_follow_the_tables() -> None:
    net, clips = small(), noise(1, (1, 3, *SIZE))
    before = score(net, clips)
    assert all(a._kept is not None for a in attentions(net))
    for attention in attentions(net):
        for table in tables(attention):
            # As an average of weights is updated: torch counts no change.
            table.data.mul_(-1)
    after = score(net, clips)
    assert not torch.allclose(before, after)
    fresh = FastVQA(SMALL).eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(after, score(fresh, clips))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(a._kept is None for a in attentions(twin))
        assert torch.equal(after, score(twin, clips))


def test_training_after_inference_mode() -> None:
    """Plans and biases first made in inference mode are not inference tensors in a training step."""
    windows.groups.cache_clear()
    net, clips = small(), noise(1, (1, 3, *SIZE))
    with torch.inference_mode():
        net(clips)
    net(clips).sum().backward()
    assert all(t.grad is not None and t.grad.abs().max() > 0 for a in attentions(net) for t in tables(a))


def test_files_of_version_0_3_have_other_names(tmp_path: Path) -> None:
    net = small()
    old = {
        k.replace("fragments_backbone.", "backbone.").replace("vqa_head.", "cls_head."): v
        for k, v in net.state_dict().items()
    }
    torch.save({"state_dict": old}, tmp_path / "fast_vqa_v0_3.pth")
    state = load_checkpoint(tmp_path / "fast_vqa_v0_3.pth", SMALL)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_correlations_that_numpy_1_wrote_beside_the_weights(tmp_path: Path) -> None:
    """The authors' "validation_results" are NumPy scalars, under the module's name before NumPy 2."""
    net, new, old = small(), tmp_path / "new.pth", tmp_path / "old.pth"
    results = (np.float64(0.85), np.float64(0.84), np.float32(0.6), 1000)
    torch.save({"state_dict": net.state_dict(), "validation_results": results}, new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in data
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(name, data)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(old, weights_only=True)
    FastVQA(SMALL).load(old)


@pytest.mark.slow
def test_the_whole_graph_of_the_default_size() -> None:
    """FAST-VQA-B at its own size through OpenVINO; 3.3 GB of memory while it is exported."""
    net = FastVQA(PRESETS["fast-vqa-b"]).eval()
    for attention in attentions(net):
        for table in tables(attention):
            torch.nn.init.normal_(table, std=0.5)
    clips = noise(2, (1, 3, *net.config.sampling.size))
    _, error = export_graph("network", net, [(clips,)], inputs=["clips"], outputs=["q"], dynamic={})
    assert error <= TOLERANCE
