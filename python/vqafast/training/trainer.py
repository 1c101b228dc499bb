"""Trains any torch module that maps a batch to scores; the same seed gives the same weights.

Nothing random is kept in a generator's state: the order of an epoch and the generator of a step are
functions of the seed and the step's number. So a run that was killed goes on from its last
checkpoint as if nothing had happened, at any step.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument, ModelError
from vqafast.signals import Interruption
from vqafast.training import checkpoints
from vqafast.training.deterministic import deterministic
from vqafast.training.distributed import World
from vqafast.training.recipe import Recipe, learning_rate, make_optimiser, order_of, step_seed
from vqafast.training.run_log import RunLog
from vqafast.training.samples import Samples, fetch, moved, predict, scores_of
from vqafast.training.weight_average import WeightAverage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Loss = Callable[[Tensor, Tensor], Tensor]
    Figures = Callable[[NDArray[np.float64], NDArray[np.float64]], dict[str, float]]


CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


@dataclass(slots=True)
class Progress:
    """Where a training stands; all that a checkpoint holds beside tensors."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_epoch: int | None = None
    best: list[float] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`best_epoch` counts from 1; `rows` are those of log.csv."""

    best_epoch: int
    rows: tuple[dict[str, Any], ...]
    resumed_at: int | None


class Trainer:
    """Trains `model` in place.

    Parameters
    ----------
    model : torch.nn.Module
        Called with the arguments that `Samples.collate` gives; returns scores ``(B,)``, or a tuple
        that begins with them. `Recipe.backbone_lr` is for the parameters that its method
        ``backbone_parameters()`` gives, if it has one.
    train, val : Samples
        Without validation samples nothing stops early and the last epoch is the best.
    loss : callable
        Of predicted and target ``(B,)`` of the whole batch, also with several processes.
    figures : callable
        Of predicted and target of the validation samples: must give "srcc" and "mae".
    auxiliary : callable, optional
        Finds in what the model returned for a process's samples what is added to the loss, a scalar that is a
        mean over them, or None. The mean over all processes is added.
    directory : path
        Gets log.csv, checkpoint.safetensors (with a copy of its JSON part) and best.safetensors.
    world : World
    fingerprint : str
        Identifies model and data; a checkpoint with another one is refused.
    on_resume, on_step, on_epoch : callable, optional
        Told how many steps a checkpoint had done; progress and the steps of an epoch after each
        step; the row of log.csv after each epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        val: Samples | None,
        *,
        recipe: Recipe,
        loss: Loss,
        figures: Figures,
        directory: Path,
        auxiliary: Callable[[Any], Tensor | None] | None = None,
        world: World | None = None,
        fingerprint: str = "",
        on_resume: Callable[[int], None] | None = None,
        on_step: Callable[[Progress, int], None] | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        if len(train) < 1:
            raise InvalidArgument("train: there must be at least one training sample, got none")
        self._world = world or World()
        self.model = model.to(self._world.device)
        self._train, self._val = train, val
        self._recipe, self._loss, self._figures = recipe, loss, figures
        self._auxiliary = auxiliary
        self._directory = directory
        self._fingerprint = fingerprint
        self._on_resume, self._on_step, self._on_epoch = on_resume, on_step, on_epoch
        self._steps = -(-len(train) // recipe.batch)
        self._optimiser = make_optimiser(
            recipe,
            [p for p in model.parameters() if p.requires_grad],
            getattr(model, "backbone_parameters", tuple)(),
        )
        self._average = WeightAverage(model, recipe.ema)
        wide = any(p.dtype == torch.float64 for p in model.parameters())
        self._dtype = torch.float64 if wide else torch.float32
        self._at = Progress()
        self._best: dict[str, Tensor] = {}
        self._best_state: dict[str, Any] = {}
        self._saved = 0.0

    def fit(self, *, resume: bool = True) -> Outcome:
        """Train to the end, and leave the best epoch's weights in the model.

        Parameters
        ----------
        resume : bool
            Go on from the directory's checkpoint if there is one; otherwise start over.

        Raises
        ------
        InvalidArgument
            When the checkpoint belongs to another model, recipe or data.
        ModelError
            When the loss is not finite any more; the checkpoint is of an earlier step.
        KeyboardInterrupt
            After Ctrl-C or SIGTERM; the step that was running is in the checkpoint.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        resumed = self._resume() if resume else None
        if resumed is not None and self._on_resume is not None:
            self._on_resume(resumed)
        self._world.broadcast([*self.model.parameters(), *self.model.buffers()])
        if resumed is None:
            self._average.start()
        devices = [self._world.device] if self._world.device.type == "cuda" else []
        with (
            deterministic(self._world.device),
            torch.random.fork_rng(devices=devices),
            RunLog(self._directory, self._recipe.tensorboard, self._world.first) as log,
            Interruption() as interruption,
        ):
            log.rows(self._at.rows)
            self._saved = time.monotonic()
            while self._at.epoch < self._recipe.epochs and not self._out_of_patience():
                self._epoch(interruption)
                with self._average.used():
                    row = self._finish_epoch()
                self._save_when_due()
                log.rows(self._at.rows)
                if self._on_epoch is not None:
                    self._on_epoch(row)
            self._save()
        self._world.barrier()
        tensors, state = checkpoints.load(self._directory / BEST)
        self.model.load_state_dict(tensors)
        return Outcome(int(state["epoch"]), tuple(self._at.rows), resumed)

    def predict(self, samples: Samples) -> NDArray[np.float64]:
        """Scores ``(n,)``; see the function `predict`."""
        return predict(self.model, samples, self._world, workers=self._recipe.workers)

    def _out_of_patience(self) -> bool:
        patience, best = self._recipe.patience, self._at.best_epoch
        return patience is not None and best is not None and self._at.epoch - best >= patience

    def _epoch(self, interruption: Interruption) -> None:
        at, recipe, world = self._at, self._recipe, self._world
        self.model.train()
        order = order_of(len(self._train), recipe.seed, at.epoch)
        chosen = [order[s * recipe.batch :][: recipe.batch] for s in range(at.step, self._steps)]
        mine = [batch[world.share(len(batch))] for batch in chosen]
        for batch, samples in zip(
            chosen, fetch(self._train, mine, at.epoch + 1, recipe.workers), strict=True
        ):
            at.loss_sum += self._step(batch, samples)
            at.step += 1
            if self._on_step is not None:
                self._on_step(at, self._steps)
            if interruption.asked:
                self._save()
                raise KeyboardInterrupt
            self._save_when_due()

    def _step(self, batch: NDArray[np.int64], samples: list[Any]) -> float:
        recipe, world = self._recipe, self._world
        number = self._at.epoch * self._steps + self._at.step
        torch.manual_seed(step_seed(recipe.seed, number, world.rank))
        for group in self._optimiser.param_groups:
            rate = learning_rate(recipe, number, recipe.epochs * self._steps)
            group["lr"] = rate * group.get("factor", 1.0)
        self._optimiser.zero_grad(set_to_none=True)
        added = None
        if samples:
            with torch.autocast(world.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                output = self.model(*moved(self._train.collate(samples), world.device))
            part = scores_of(output).to(self._dtype)
            added = None if self._auxiliary is None else self._auxiliary(output)
        else:
            part = torch.zeros(0, dtype=self._dtype, device=world.device)
        predicted = world.gather(part, len(batch))
        target = torch.from_numpy(self._train.targets[batch]).to(predicted)
        loss = self._loss(predicted, target)
        if self._auxiliary is not None:
            mine = part.new_zeros(1) if added is None else added.to(self._dtype).reshape(1)
            loss = loss + world.gather(mine * (len(samples) / len(batch)), world.size).sum()
        if not torch.isfinite(loss):
            raise ModelError(
                f"train: the loss must be finite, got {loss.item()} in epoch {self._at.epoch + 1}, step "
                f"{self._at.step + 1}; a lower lr, or clip, may help"
            )
        if samples:
            loss.backward()  # type: ignore[no-untyped-call]
        world.sum_gradients(self.model.parameters())
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self._optimiser.step()
        self._average.update(number)
        return loss.item()

    def _finish_epoch(self) -> dict[str, Any]:
        at = self._at
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "loss": at.loss_sum / self._steps,
            "lr": self._optimiser.param_groups[0]["lr"],
        }
        better = True
        if self._val is not None and len(self._val):
            figures = self._figures(self.predict(self._val), self._val.targets)
            row |= {f"val_{name}": value for name, value in figures.items()}
            # A small validation set has many ties in SRCC; NaN (constant scores) is below all.
            score = [float(np.nan_to_num(figures["srcc"], nan=-2.0)), -float(figures["mae"])]
            better = at.best is None or score > at.best
            at.best = score if better else at.best
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        at.rows.append(row)
        if better:
            at.best_epoch = at.epoch
            self._save_best(row)
        return row

    def _save_best(self, row: dict[str, Any]) -> None:
        if self._world.first:
            self._best = {n: t.detach().to("cpu", copy=True) for n, t in self.model.state_dict().items()}
            self._best_state = {"epoch": self._at.epoch, "figures": row, "fingerprint": self._fingerprint}
            checkpoints.save(self._directory / BEST, self._best, self._best_state, copy=False)

    def _save_when_due(self) -> None:
        recipe = self._recipe
        number = self._at.epoch * self._steps + self._at.step
        due = time.monotonic() - self._saved >= recipe.checkpoint_seconds
        if due or (recipe.checkpoint_steps is not None and number % recipe.checkpoint_steps == 0):
            self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not self._world.first:
            return
        optimiser, rest = checkpoints.flatten(self._optimiser)
        # The best so far is in here too: best.safetensors may be of a later epoch than this state
        # when a kill comes between the two files.
        tensors = {
            **checkpoints.prefixed("model", self.model.state_dict()),
            **checkpoints.prefixed("optimiser", optimiser),
            **checkpoints.prefixed("best", self._best),
            **checkpoints.prefixed("average", self._average.values),
        }
        state = {
            "fingerprint": self._fingerprint,
            "recipe": self._recipe.deciding(),
            "progress": asdict(self._at),
            "best": self._best_state,
            "optimiser": rest,
        }
        checkpoints.save(self._directory / CHECKPOINT, tensors, state)

    def _resume(self) -> int | None:
        """Take up the directory's checkpoint; the number of steps that are done, None without one."""
        path = self._directory / CHECKPOINT
        if not path.exists():
            return None
        tensors, state = checkpoints.load(path)
        mine = {"fingerprint": self._fingerprint, **self._recipe.deciding()}
        theirs = {"fingerprint": state["fingerprint"], **state["recipe"]}
        wrong = sorted(n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n))
        if wrong:
            told = ", ".join(f"{n} {theirs.get(n)!r} is now {mine.get(n)!r}" for n in wrong)
            raise InvalidArgument(
                f"train: the checkpoint in {self._directory} must be of the same training to go on from "
                f"it, got another one: {told}",
                path=str(path),
            )
        self.model.load_state_dict(checkpoints.under("model", tensors))
        checkpoints.restore(self._optimiser, checkpoints.under("optimiser", tensors), state["optimiser"])
        self._average.start(checkpoints.under("average", tensors))
        self._at = Progress(**state["progress"])
        self._best, self._best_state = checkpoints.under("best", tensors), state["best"]
        if self._best and self._world.first:
            checkpoints.save(self._directory / BEST, self._best, self._best_state, copy=False)
        return self._at.epoch * self._steps + self._at.step
