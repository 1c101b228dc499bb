"""The trainer: one seed, one result, whatever is killed and however many processes share the work."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("scipy")

from safetensors.torch import load_file  # noqa: E402
from tests.training import small_training as small  # noqa: E402

from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError  # noqa: E402
from vqafast.models.a2inet.config import HeadConfig  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402
from vqafast.training import checkpoints, metrics  # noqa: E402
from vqafast.training.feature_store import Features  # noqa: E402
from vqafast.training.head_training import FeatureSamples, HeadOnWindows  # noqa: E402
from vqafast.training.recipe import Recipe, learning_rate, make_optimiser, order_of  # noqa: E402
from vqafast.training.trainer import Trainer, predict  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6  # of an epoch


def state(directory):
    return load_file(directory / "checkpoint.safetensors")


def log_of(directory):
    return list(csv.DictReader((directory / "log.csv").read_text().splitlines()))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    small.trainer(directory).fit()
    return directory


def test_same_seed_same_weights(whole, tmp_path):
    before = torch.random.get_rng_state()
    small.trainer(tmp_path / "again").fit()
    assert_same(state(whole), state(tmp_path / "again"))
    assert (whole / "log.csv").read_text() == (tmp_path / "again" / "log.csv").read_text()
    torch.random.set_rng_state(before)
    small.trainer(tmp_path / "other", seed=10).fit()
    other = state(tmp_path / "other")
    assert any(not torch.equal(t, other[n]) for n, t in state(whole).items() if n.startswith("model"))


def test_the_callers_generator_is_left_alone(tmp_path):
    made = small.trainer(tmp_path)
    before = torch.random.get_rng_state()
    made.fit()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("step", "every"), [(15, 4)])
def test_kill_9_and_resume(whole, tmp_path, step, every):
    command = [sys.executable, "-m", "tests.training.small_training", "killed_at", tmp_path, step, every]
    done = subprocess.run([str(c) for c in command], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    resumed = small.trainer(tmp_path).fit()
    assert resumed.resumed_at == 12
    assert_same(state(whole), state(tmp_path))
    for name in ("best.safetensors", "log.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("last", [1, STEPS - 1, STEPS, STEPS + 1, 3 * STEPS + 2])
def test_resume_from_any_step(whole, tmp_path, last):
    def on_step(at, steps):
        # The checkpoint of this step is not written any more.
        if at.epoch * steps + at.step == last + 1:
            raise Stop

    with pytest.raises(Stop):
        small.trainer(tmp_path, on_step=on_step).fit()
    resumed = small.trainer(tmp_path).fit()
    assert resumed.resumed_at == last
    assert_same(state(whole), state(tmp_path))
    assert (tmp_path / "log.csv").read_text() == (whole / "log.csv").read_text()


def test_a_kill_between_best_and_checkpoint(whole, tmp_path, monkeypatch):
    """best.safetensors is then ahead of the checkpoint: the checkpoint's own copy counts."""
    made = small.trainer(tmp_path, checkpoint_steps=STEPS)
    save = checkpoints.save
    epochs = []

    def failing(path, tensors, state, copy=True):
        save(path, tensors, state, copy=copy)
        epochs.append(path.name)
        if epochs.count("best.safetensors") == 2:
            raise Stop

    monkeypatch.setattr(checkpoints, "save", failing)
    with pytest.raises(Stop):
        made.fit()
    monkeypatch.undo()
    ahead = (tmp_path / "best.safetensors").read_bytes()
    again = small.trainer(tmp_path, checkpoint_steps=STEPS)
    again._resume()
    assert (tmp_path / "best.safetensors").read_bytes() != ahead
    small.trainer(tmp_path, checkpoint_steps=STEPS).fit()
    assert_same(state(whole), state(tmp_path))


def test_ctrl_c_saves_the_step_in_hand(whole, tmp_path):
    def on_step(at, steps):
        if at.epoch * steps + at.step == 9:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        small.trainer(tmp_path, on_step=on_step, checkpoint_steps=None).fit()
    assert signal.getsignal(signal.SIGINT) is handler
    assert small.trainer(tmp_path).fit().resumed_at == 9
    assert_same(state(whole), state(tmp_path))


def test_the_model_ends_with_its_best_weights(whole, tmp_path):
    made = small.trainer(tmp_path)
    outcome = made.fit()
    rows = log_of(tmp_path)
    best = max(rows, key=lambda r: (float(r["val_srcc"]), -float(r["val_mae"])))
    assert outcome.best_epoch == int(best["epoch"])
    got = small.figures(made.predict(small.Rows(9, 2)), small.Rows(9, 2).targets)
    assert got["srcc"] == float(best["val_srcc"])
    assert_same(made.model.state_dict(), load_file(tmp_path / "best.safetensors"))


def test_the_steps_are_those_of_a_plain_loop(tmp_path):
    """Adam at the recipe's rate on the loss of the paper, in the order that the seed gives."""
    made = small.trainer(tmp_path, dropout=0.0, epochs=2, validate=False)
    expected = small.Net(0.0)
    expected.load_state_dict(made.model.state_dict())
    made.fit()
    data, adam = small.Rows(22, 1), torch.optim.Adam(expected.parameters(), 1e-2)
    for epoch in range(2):
        order = order_of(22, 9, epoch)
        assert sorted(order) == list(range(22))
        for start in range(0, 22, 4):
            batch = order[start : start + 4]
            target = torch.tensor(data.targets[batch], dtype=torch.float32)
            predicted, _ = expected(torch.tensor(data.x[batch], dtype=torch.float32))
            adam.zero_grad()
            small.LOSS(predicted, target).backward()
            adam.step()
    assert_same(made.model.state_dict(), expected.state_dict())


class Parted(small.Net):
    """The first layer learns at another rate, and what it gives is held near 0."""

    def backbone_parameters(self):
        return self.layers[0].parameters()


def auxiliary(output):
    return 0.1 * output[1].square().mean()


def parted(directory, **recipe):
    made = small.trainer(directory, dropout=0.0, net=Parted, auxiliary=auxiliary, **recipe)
    return made, made.model


AVERAGED = {"epochs": 3, "ema": 0.9, "backbone_lr": 0.1, "warmup": 1.5, "schedule": "cosine"}


def test_warm_up_slow_backbone_average_and_auxiliary_loss(tmp_path):
    """Against a plain loop; the average, not the weights, is validated and kept."""
    made, model = parted(tmp_path, validate=False, **AVERAGED)
    expected = Parted(0.0)
    expected.load_state_dict(model.state_dict())
    average = {n: p.detach().clone() for n, p in expected.named_parameters()}
    made.fit()
    data = small.Rows(22, 1)
    adam = torch.optim.Adam(
        [
            {"params": [p for n, p in expected.named_parameters() if not n.startswith("layers.0")]},
            {"params": expected.layers[0].parameters()},
        ],
        1e-2,
    )
    number = 0
    for epoch in range(3):
        order = order_of(22, 9, epoch)
        for start in range(0, 22, 4):
            # 6 steps an epoch: 9 of warm-up, then half a cosine over 9.
            rate = 1e-2 * min(1, (number + 1) / 9)
            if number >= 9:
                rate = 1e-2 * 0.5 * (1 + math.cos(math.pi * (number - 9) / 9))
            adam.param_groups[0]["lr"], adam.param_groups[1]["lr"] = rate, 0.1 * rate
            batch = order[start : start + 4]
            target = torch.tensor(data.targets[batch], dtype=torch.float32)
            output = expected(torch.tensor(data.x[batch], dtype=torch.float32))
            adam.zero_grad()
            (small.LOSS(output[0], target) + auxiliary(output)).backward()
            adam.step()
            keep = min(0.9, (1 + number) / (10 + number))
            for n, p in expected.named_parameters():
                average[n] = keep * average[n] + (1 - keep) * p.detach()
            number += 1
    for n, p in made.model.named_parameters():
        torch.testing.assert_close(p.detach(), average[n], rtol=1e-5, atol=1e-7)
    last = state(tmp_path)
    for n, p in expected.named_parameters():
        torch.testing.assert_close(last[f"model.{n}"], p.detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("last", [2, STEPS, 2 * STEPS + 1])
def test_an_average_goes_on_too(tmp_path, last):
    def on_step(at, steps):
        if at.epoch * steps + at.step == last + 1:
            raise Stop

    parted(tmp_path / "whole", **AVERAGED)[0].fit()
    with pytest.raises(Stop):
        parted(tmp_path / "cut", on_step=on_step, **AVERAGED)[0].fit()
    assert parted(tmp_path / "cut", **AVERAGED)[0].fit().resumed_at == last
    assert_same(state(tmp_path / "whole"), state(tmp_path / "cut"))
    assert (tmp_path / "cut" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()


def test_draws_say_the_epoch_and_scoring_is_draw_0(tmp_path):
    made = small.trainer(tmp_path, epochs=2, workers=2)
    made.fit()
    assert sorted(set(made._train.draws)) == [1, 2]
    assert set(made._val.draws) == {0}


def test_reading_ahead_changes_nothing(whole, tmp_path):
    small.trainer(tmp_path, workers=3).fit()
    assert_same(state(whole), state(tmp_path))


def test_patience(tmp_path):
    made = small.trainer(tmp_path, epochs=50, patience=3)
    outcome = made.fit()
    assert len(outcome.rows) == outcome.best_epoch + 3 < 50
    # More patience goes on from there.
    assert len(small.trainer(tmp_path, epochs=50, patience=6).fit().rows) >= outcome.best_epoch + 6


def test_without_validation_the_last_epoch_is_the_best(tmp_path):
    outcome = small.trainer(tmp_path, validate=False, patience=2).fit()
    assert (outcome.best_epoch, len(outcome.rows)) == (5, 5)
    assert set(outcome.rows[0]) == {"epoch", "loss", "lr"}


def test_more_epochs_may_be_asked_for_later(whole, tmp_path):
    small.trainer(tmp_path, epochs=2).fit()
    small.trainer(tmp_path, epochs=5).fit()
    assert_same(state(whole), state(tmp_path))
    cosine = small.trainer(tmp_path / "cosine", epochs=2, schedule="cosine")
    cosine.fit()
    with pytest.raises(InvalidArgument, match="epochs 2 is now 5"):
        small.trainer(tmp_path / "cosine", epochs=5, schedule="cosine").fit()


def test_another_training_is_refused(whole):
    with pytest.raises(
        InvalidArgument, match=r"must be of the same training .*: batch 4 is now 5, lr 0.01 is"
    ):
        small.trainer(whole, batch=5, lr=1e-3).fit()


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(ModelError, match=r"checkpoint checkpoint.safetensors cannot be read"):
        small.trainer(tmp_path).fit()
    assert small.trainer(tmp_path).fit(resume=False).resumed_at is None


def test_gradients_are_clipped(tmp_path):
    made = small.trainer(tmp_path, optimiser="sgd", lr=1.0, clip=1e-3, epochs=1, batch=22, validate=False)
    before = {n: p.detach().clone() for n, p in made.model.named_parameters()}
    made.fit()
    moved = sum(((p.detach() - before[n]) ** 2).sum() for n, p in made.model.named_parameters())
    assert float(moved) ** 0.5 == pytest.approx(1e-3, rel=1e-3)


def test_bf16_computes_in_bf16_and_keeps_weights_in_f32(whole, tmp_path):
    made = small.trainer(tmp_path, precision="bf16", dropout=0.0)
    seen = []
    made.model.layers[0].register_forward_hook(lambda m, i, o: seen.append((m.training, o.dtype)))
    outcome = made.fit()
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    assert outcome.rows[-1]["loss"] < 0.5 * outcome.rows[0]["loss"]


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    made = small.trainer(tmp_path, checkpoint_steps=1)
    made._train.x[order_of(22, 9, 0)[9]] = np.nan
    with pytest.raises(ModelError, match="loss must be finite, got nan in epoch 1, step 3; a lower lr"):
        made.fit()
    assert all(torch.isfinite(t).all() for t in state(tmp_path).values())


def test_recipe():
    recipe = Recipe(schedule="cosine", lr=2.0)
    assert [learning_rate(recipe, s, 10) for s in (0, 5, 10)] == pytest.approx([2.0, 1.0, 0.0])
    paper = Recipe()
    assert (paper.optimiser, paper.lr, paper.batch, paper.weight_decay) == ("adam", 2e-5, 8, 0.0)
    weights = [torch.nn.Parameter(torch.ones(2))]
    assert type(make_optimiser(Recipe(optimiser="adamw", weight_decay=0.1), weights)) is torch.optim.AdamW
    for wrong, message in (
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive and finite, got 0.0"),
        ({"clip": -1.0}, "clip must be positive, got -1.0"),
        ({"precision": "f16"}, "precision must be one of f32, bf16, got 'f16'"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"warmup": -1.0}, "warmup must be at least 0, got -1.0"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Recipe(**wrong)
    with pytest.raises(InvalidArgument, match="a parameter that is trained, got none"):
        make_optimiser(paper, [])
    with pytest.raises(InvalidArgument, match="backbone_lr must be 1 for a model without a trained backbone"):
        make_optimiser(Recipe(backbone_lr=0.1), weights)
    rising = Recipe(schedule="cosine", lr=1.0, epochs=4, warmup=1.0)
    assert [learning_rate(rising, s, 20) for s in (0, 4, 5, 20)] == pytest.approx([0.2, 1.0, 1.0, 0.0])
    # Nothing but warm-up: no division by what is left.
    assert learning_rate(Recipe(schedule="cosine", lr=1.0, epochs=2, warmup=2.0), 3, 4) == 1.0


def test_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(EngineUnavailable, match="tensorboard must be installed: pip install tensorboard"):
        small.trainer(tmp_path, tensorboard=True).fit()
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def flush(self):
            pass

        close = flush

    fake = types.ModuleType("tensorboard")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    small.trainer(tmp_path, tensorboard=True, epochs=2).fit()
    assert written[0] == str(tmp_path / "tensorboard")
    assert written[1:] == [(n, e) for e in (1, 2) for n in ("loss", "lr", "val/srcc", "val/mae")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes(directory, size, count, batch):
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    command = [sys.executable, "-m", "tests.training.small_training", "one_of_many", directory, count, batch]
    started = [
        subprocess.Popen(
            [str(c) for c in command],
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]
    assert [p.wait(timeout=120) for p in started] == [0] * size


def test_two_processes_give_what_one_gives(tmp_path):
    """In float64, so that a wrong sum cannot hide behind rounding; the last batch has one sample."""
    alone = tmp_path / "alone"
    small.trainer(alone, dropout=0.0, count=21, dtype=torch.float64, clip=0.5).fit()
    processes(tmp_path / "two", 2, 21, 4)
    a, b = state(alone), state(tmp_path / "two")
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=1e-9, atol=1e-12)
    for one, two in zip(log_of(alone), log_of(tmp_path / "two"), strict=True):
        assert {n: float(v) for n, v in one.items()} == pytest.approx({n: float(v) for n, v in two.items()})


def made_up(n, config, seed, steps=(3, 7)):
    """Videos of random length, alike in every direction; the label is their place on one of them."""
    rng = np.random.default_rng(seed)
    dims = (config.quality_dim, config.semantic_dim)
    axes = [a / np.linalg.norm(a) for a in map(np.random.default_rng(99).normal, (0, 0), (1, 1), dims)]
    features, labels = [], []
    for _ in range(n):
        k = np.arange(int(rng.integers(*steps)))
        centres = [rng.normal(size=d) for d in dims]
        both = [
            (c + 0.3 * rng.normal(size=(len(k), d))).astype(np.float32)
            for c, d in zip(centres, dims, strict=True)
        ]
        features.append(Features(*both, k / 2, k))
        labels.append(sum(c @ a for c, a in zip(centres, axes, strict=True)))
    labels = np.array(labels)
    return features, (labels - labels.min()) / np.ptp(labels)


def fit_head(directory, config, features, targets, **recipe):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HeadOnWindows(A2INetHead(config))
    values = {"batch": 8, "checkpoint_seconds": 1e9, "patience": None, **recipe}
    trainer = Trainer(
        model, FeatureSamples(features, targets, None), None,
        recipe=Recipe(**values), loss=small.LOSS, figures=small.figures, directory=directory,
    )  # fmt: skip
    trainer.fit()
    return model


@pytest.mark.slow
def test_the_papers_head_fits_32_clips(tmp_path):
    """A2INet PR(S+S) at full width: labels without any pattern, learnt by heart."""
    config = HeadConfig()
    features, _ = made_up(32, config, 5, steps=(2, 4))
    targets = np.random.default_rng(6).permutation(32) / 31
    model = fit_head(tmp_path, config, features, targets, epochs=14, lr=2e-4, schedule="cosine")
    assert sum(p.numel() for p in model.parameters()) > 30e6
    assert metrics.srcc(predict(model, FeatureSamples(features, targets, None)), targets) > 0.99


def test_labels_are_learnt_and_shuffled_ones_do_not_generalise(tmp_path):
    config = HeadConfig(quality_dim=12, semantic_dim=12, dim=16, reduced_dim=16, gru_dim=8)
    features, targets = made_up(160, config, 7)
    unseen, truth = made_up(150, config, 8)
    shuffled = np.random.default_rng(9).permutation(targets)
    found = {}
    for name, labels in (("true", targets), ("shuffled", shuffled)):
        model = fit_head(tmp_path / name, config, features, labels, epochs=12, lr=3e-3, schedule="cosine")
        found[name] = metrics.srcc(predict(model, FeatureSamples(unseen, truth, None)), truth)
    assert found["true"] > 0.85
    by_heart = metrics.srcc(predict(model, FeatureSamples(features, shuffled, None)), shuffled)
    assert by_heart > 0.9
    # What is learnt from noise points anywhere among 24 directions: two standard deviations of that.
    assert abs(found["shuffled"]) < 2 / 24**0.5


def test_the_head_trains_in_bf16(tmp_path):
    config = HeadConfig(quality_dim=24, semantic_dim=24, dim=16, reduced_dim=16, gru_dim=8)
    features, targets = made_up(24, config, 7)
    found = [
        fit_head(tmp_path / p, config, features, targets, epochs=3, lr=1e-3, precision=p)
        for p in ("f32", "bf16")
    ]
    f32, bf16 = (predict(m, FeatureSamples(features, targets, None)) for m in found)
    assert 0 < np.abs(f32 - bf16).max() < 0.2 * np.ptp(targets)


def test_windows_of_a_batch_are_those_of_each_video():
    config = HeadConfig(quality_dim=5, semantic_dim=4, dim=6, reduced_dim=4, gru_dim=3, gate_reduction=2)
    torch.manual_seed(0)
    model = HeadOnWindows(A2INetHead(config)).double()
    features, targets = made_up(5, config, 3, steps=(1, 14))
    # A lost sample: windows go by number, and do not close up behind the gap.
    gap = dataclasses.replace(features[0], k=features[0].k + (features[0].k > 1))
    samples = FeatureSamples([gap, *features[1:]], targets, 4)
    batch = [
        s.__class__(s.quality.double(), s.semantic.double(), s.cuts)
        for s in (samples.sample(i, 1) for i in range(5))
    ]
    with torch.no_grad():
        together = model(*samples.collate(batch))
        for video, f, score in zip(batch, [gap, *features[1:]], together, strict=True):
            parts = [
                model.head.frame_scores(video.quality[None, chosen], video.semantic[None, chosen])
                for chosen in (f.k // 4 == slot for slot in np.unique(f.k // 4))
            ]
            from vqafast.models.a2inet.functional import hysteresis_pool

            expected, _ = hysteresis_pool(torch.cat(parts, dim=1))
            torch.testing.assert_close(score, expected[0], rtol=1e-10, atol=1e-12)


def test_features_and_targets_must_fit_together():
    features, _ = made_up(3, HeadConfig(quality_dim=5, semantic_dim=4), 3)
    with pytest.raises(InvalidArgument, match=r"one target for each of 3 videos, got \(2,\)"):
        FeatureSamples(features, [1, 2], None)
