"""FAST-VQA's network: its authors' names, and their algorithm written out slowly, in value and gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from vqafast.errors import InvalidArgument, MissingFile, ModelError  # noqa: E402
from vqafast.models.fast_vqa import reference  # noqa: E402
from vqafast.models.fast_vqa.config import PRESETS, HeadConfig, NetworkConfig, Sampling, SwinConfig  # noqa: E402
from vqafast.models.fast_vqa.network import FastVQA, load_checkpoint  # noqa: E402
from vqafast.models.onnx_export import TOLERANCE, export_graph, noise  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

SMALL = SwinConfig(width=12, depths=(2, 2), heads=(2, 3), window=(4, 3, 3), fragment_bias=(True, False))
# What each is for; sizes are frames, rows and columns in pixels.
CASES: dict[str, tuple[SwinConfig, tuple[int, int, int]]] = {
    "windows fit": (SMALL, (16, 48, 48)),
    "padding on every axis": (SMALL, (14, 44, 52)),
    "odd pixels": (SMALL, (7, 41, 39)),
    "windows larger than time": (SMALL, (4, 48, 48)),
    "one window": (SMALL, (8, 12, 12)),
    "windows larger than space": (SMALL, (16, 8, 24)),
    "no fragment bias": (replace(SMALL, fragment_bias=(False, False)), (16, 48, 48)),
    "fixed fragments": (replace(SMALL, fragments=(7, 7)), (16, 48, 60)),
    "adaptive": (replace(SMALL, adaptive=True, base_size=(16, 48, 48)), (16, 32, 32)),
    "adaptive in time": (replace(SMALL, adaptive=True, base_size=(16, 48, 48)), (8, 48, 48)),
    "no patch norm": (replace(SMALL, patch_norm=False), (16, 48, 48)),
}


def network(config: SwinConfig, **options: Any) -> FastVQA:
    sampling = Sampling(frames=16, interval=2, clips=1, grid=2, aligned=16)
    whole = NetworkConfig("small", config, sampling, HeadConfig(config.widths[-1], 8), **options)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = FastVQA(whole)
        for name, p in net.named_parameters():
            if p.ndim == 1 or name.endswith("bias_table"):
                torch.nn.init.normal_(p, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.3)
    return net.eval()


def by_reference(net: FastVQA, clips: Any) -> Any:
    config, state = net.config, dict(net.named_parameters()) | dict(net.named_buffers())

    def part(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(f"{prefix}."): v for k, v in state.items() if k.startswith(f"{prefix}.")}

    x = reference.features(part(config.backbone_name), config.backbone, clips)
    return reference.quality_map(part(config.head_name), x)[:, 0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_equals_the_authors_algorithm(name: str, batch: int) -> None:
    config, size = CASES[name]
    net = network(config).double()
    clips = noise(batch, (batch, 3, *size)).double()
    with torch.no_grad():
        truth = by_reference(net, clips)
        got = net.quality_map(clips)
    assert got.shape == truth.shape
    torch.testing.assert_close(got, truth, rtol=1e-9, atol=1e-9)
    # The path that keeps what a backward pass needs.
    torch.testing.assert_close(net.quality_map(clips).detach(), truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["windows fit", "padding on every axis", "adaptive"])
def test_gradients_are_those_of_the_authors_algorithm(name: str) -> None:
    config, size = CASES[name]
    net = network(config).double()
    clips = noise(1, (2, 3, *size)).double().requires_grad_()
    wanted = [clips, *net.parameters()]

    def gradients(y: Any) -> Any:
        weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
        return torch.autograd.grad((y * weights).sum(), wanted)

    for mine, theirs in zip(
        gradients(net.quality_map(clips)), gradients(by_reference(net, clips)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def test_gradcheck_of_the_bias_path() -> None:
    config = SwinConfig(width=4, depths=(2,), heads=(2,), window=(2, 2, 2), fragment_bias=(True,))
    net = network(config).double()
    clips = noise(3, (1, 3, 4, 12, 12)).double()
    tables = [p for n, p in net.named_parameters() if n.endswith("bias_table")]
    assert len(tables) == 4

    def score(*given: Any) -> Any:
        state = dict(net.named_parameters())
        names = [n for n in state if n.endswith("bias_table")]
        return torch.func.functional_call(net, dict(zip(names, given, strict=True)), (clips,))

    assert torch.autograd.gradcheck(score, tables, atol=1e-6)


@pytest.mark.parametrize("name", ["windows fit", "padding on every axis", "windows larger than time"])
def test_exported_graphs_equal_the_network(name: str) -> None:
    """`export_graph` compares with OpenVINO on both examples, and raises above `TOLERANCE`."""
    config, size = CASES[name]
    examples = [(noise(seed, (1, 3, *size)),) for seed in (1, 2)]
    _, error = export_graph("network", network(config), examples, inputs=["clips"], outputs=["q"], dynamic={})
    assert error <= TOLERANCE


def test_the_network_of_the_default_size_in_float32() -> None:
    """FAST-VQA-B's own windows, on a quarter of its time and a quarter of its space."""
    net = FastVQA(PRESETS["fast-vqa-b"]).eval()
    clips = noise(5, (1, 3, 16, 112, 112))
    with torch.no_grad():
        single, double = net.quality_map(clips), by_reference(net.double(), clips.double())
    assert (single - double).abs().max() < 1e-4 * max(1.0, float(double.abs().max()))


def test_training_is_repeatable_and_drops_paths() -> None:
    net = network(replace(SMALL, drop_path=0.9)).train()
    clips = noise(1, (4, 3, 16, 24, 24))

    def once(seed: int) -> Any:
        torch.manual_seed(seed)
        return net(clips)

    with torch.random.fork_rng():
        assert torch.equal(once(1), once(1))
        assert not torch.equal(once(1), once(2))


def test_recomputing_changes_nothing_but_memory() -> None:
    plain, saving = (network(replace(SMALL, recompute=r, drop_path=0.0)).train() for r in (False, True))
    clips = noise(1, (1, 3, 16, 24, 24))
    results = []
    for net in (plain, saving):
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        loss = net(clips).sum()
        results.append((loss, torch.autograd.grad(loss, list(net.parameters()))))
    torch.testing.assert_close(results[0], results[1])


def names_of(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Every name and shape of the authors' `DiViDeAddEvaluator`, spelt out from their modules."""
    c, found = config.backbone, {}
    tokens = int(np.prod(c.window))
    rows = int(np.prod([2 * w - 1 for w in c.window]))

    def norm(at: str, width: int) -> None:
        found[f"{at}.weight"] = found[f"{at}.bias"] = (width,)

    def fc(at: str, inside: int, out: int) -> None:
        found[f"{at}.weight"], found[f"{at}.bias"] = (out, inside), (out,)

    b = config.backbone_name
    found[f"{b}.patch_embed.proj.weight"] = (c.width, 3, *c.patch)
    found[f"{b}.patch_embed.proj.bias"] = (c.width,)
    norm(f"{b}.patch_embed.norm", c.width)
    for i, (depth, heads) in enumerate(zip(c.depths, c.heads, strict=True)):
        width = c.width * 2**i
        for j in range(depth):
            at = f"{b}.layers.{i}.blocks.{j}"
            norm(f"{at}.norm1", width)
            found[f"{at}.attn.relative_position_bias_table"] = (rows, heads)
            if c.fragment_bias[i]:
                found[f"{at}.attn.fragment_position_bias_table"] = (rows, heads)
            found[f"{at}.attn.relative_position_index"] = (tokens, tokens)
            fc(f"{at}.attn.qkv", width, 3 * width)
            fc(f"{at}.attn.proj", width, width)
            norm(f"{at}.norm2", width)
            fc(f"{at}.mlp.fc1", width, 4 * width)
            fc(f"{at}.mlp.fc2", 4 * width, width)
        if i < len(c.depths) - 1:
            found[f"{b}.layers.{i}.downsample.reduction.weight"] = (2 * width, 4 * width)
            norm(f"{b}.layers.{i}.downsample.norm", 4 * width)
    norm(f"{b}.norm", c.width * 2 ** (len(c.depths) - 1))
    h = config.head_name
    for name, inside, out in (("fc_hid", 768, 64), ("fc_last", 64, 1)):
        found[f"{h}.{name}.weight"], found[f"{h}.{name}.bias"] = (out, inside, 1, 1, 1), (out,)
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        net = FastVQA(PRESETS[name])
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == names_of(PRESETS[name])


def test_parameters_are_as_many_as_swin_tiny_has() -> None:
    """Video Swin-T's backbone has 27.85 M (torchvision's swin3d_t less its classifier), and FAST-VQA adds a
    table to ten of its blocks and a head."""
    with torch.device("meta"):
        net = FastVQA(PRESETS["fast-vqa-b"])
    rows = 15 * 13 * 13
    tables = sum(rows * h * d for h, d in zip((3, 6, 12), (2, 2, 6), strict=True))
    head = 768 * 64 + 64 + 64 + 1
    assert sum(p.numel() for p in net.parameters()) == 27_850_470 + tables + head


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    config = PRESETS["fast-vqa-m"]
    state = {
        k: torch.zeros(s, dtype=torch.int64) if k.endswith("_index") else torch.full(s, 0.01)
        for k, s in names_of(config).items()
    }
    for key in state:
        if key.endswith("_index"):
            state[key] = authors_index(config.backbone.window)
    path = tmp_path_factory.mktemp("fast") / "FAST_VQA_M.pth"
    torch.save({"state_dict": state, "validation_results": {"srcc": np.float64(0.8)}}, path)
    return path, state


def authors_index(window: tuple[int, int, int]) -> Any:
    """Row of the table of every pair of tokens, one by one."""
    t, h, w = window
    at = [(i, j, k) for i in range(t) for j in range(h) for k in range(w)]
    rows = [
        [
            ((a[0] - b[0] + t - 1) * (2 * h - 1) + a[1] - b[1] + h - 1) * (2 * w - 1) + a[2] - b[2] + w - 1
            for b in at
        ]
        for a in at
    ]
    return torch.tensor(rows)


def test_a_checkpoint_is_loaded_strictly(checkpoint: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, state = checkpoint
    net = FastVQA(PRESETS["fast-vqa-m"])
    net.load(path)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    broken = {**state, "vqa_head.extra": torch.zeros(1)}
    del broken["vqa_head.fc_last.bias"]
    torch.save(broken, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"missing \[vqa_head.fc_last.bias\], unexpected \[vqa_head.extra\]"):
        load_checkpoint(tmp_path / "x.pth", PRESETS["fast-vqa-m"])
    with pytest.raises(ModelError, match="wrong shape"):
        load_checkpoint(path, PRESETS["fast-vqa-m-v0.3"])
    with pytest.raises(MissingFile):
        load_checkpoint(tmp_path / "none.pth", PRESETS["fast-vqa-m"])
    key = next(k for k in state if k.endswith("_index"))
    torch.save({**state, key: state[key] + 1}, tmp_path / "index.pth")
    with pytest.raises(ModelError, match="must be the index of window"):
        load_checkpoint(tmp_path / "index.pth", PRESETS["fast-vqa-m"])


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path / "x.pth", PRESETS["fast-vqa-m"])
    assert not (tmp_path / "ran").exists()


def test_dovers_other_branch_is_left_out(tmp_path: Path) -> None:
    config = PRESETS["dover-technical"]
    state: dict[str, Any] = {k: torch.zeros(s) for k, s in names_of(config).items()}
    for key in state:
        if key.endswith("_index"):
            state[key] = authors_index(config.backbone.window)
    state["aesthetic_backbone.stages.0.0.gamma"] = torch.zeros(96)
    torch.save(state, tmp_path / "DOVER.pth")
    FastVQA(config).load(tmp_path / "DOVER.pth")


def test_what_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"clips must be \(B, 3, T, H, W\), got \(1, 3, 8, 8\)"):
        network(SMALL)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InvalidArgument, match="one entry per stage"):
        SwinConfig(depths=(2, 2))
    with pytest.raises(InvalidArgument, match="heads must divide"):
        replace(SMALL, heads=(5, 3))
    with pytest.raises(InvalidArgument, match="adaptive window"):
        network(replace(SMALL, adaptive=True, base_size=(16, 48, 48)))(torch.zeros(1, 3, 16, 8, 8))
