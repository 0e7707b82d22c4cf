"""The training loop: optimizer, schedule, averaged weights, validation, checkpoints; nothing of a defense."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from bench.api import FitContext, Step, Terms
from bench.errors import BadValue
from bench.records.training_log import LOG_COLUMNS
from bench.train.average import Average
from bench.train.checkpoints import Row, Weights, weights_of
from bench.train.context import TrainContext
from bench.train.guard import EpochFigures, at_chance, check_finite, check_history
from bench.train.model import training_model
from bench.train.recipe import Recipe
from bench.train.schedule import attack_strength, learning_rate
from bench.train.validate import validate

Keep = Literal["robust", "clean", "last"]

_LOOK = 20  # steps between two looks at the loss: each waits for the device


def fit_classifier(
    net: nn.Module,
    context: FitContext,
    step: Step,
    *,
    judge: nn.Module | None = None,
    keep: Keep | None = None,
    replays: int = 1,
) -> None:
    """Train a network in place by the recipe; the sum of the step's terms is minimised over its parameters.

    `judge` is what is validated, images to logits, where `net` is only a part of it. `keep` says which
    epoch's weights stay: of the best robust or clean validation accuracy, or the last; None chooses "clean"
    if no step asks for attacks, else "robust" among the epochs since the first that did. A recipe that
    selects the last overrules it. Each minibatch comes `replays` times in a row, so an epoch, which has as
    many steps as ever, sees fewer of them. May be called several times, once for each stage of a training.
    """
    if not isinstance(context, TrainContext):
        raise TypeError(
            f"fit_classifier needs the context that fit was given, not a {type(context).__name__}"
        )
    saved, context.saved = context.saved, None
    if saved is not None and context.stage < len(saved["finished"]):
        finished = saved["finished"][context.stage]
        context.finished.append(finished)
        context.history = list(saved["history"])
        context.saved = saved
        if finished["whole"]:
            context.whole.load_state_dict(finished["whole"])
        net.to(context.device).load_state_dict(finished["weights"])
        _next_stage(context)
        return
    fitting = _Fitting(net, context, step, judge or net, keep, replays)
    if saved is not None:
        fitting.resume(saved)
    fitting.run()
    fitting.finish()
    _next_stage(context)


def _next_stage(context: TrainContext) -> None:
    context.stage += 1
    context.attacked = False
    context.reseed("stage", context.stage)


class _Fitting:
    """One stage on its way."""

    def __init__(
        self,
        net: nn.Module,
        context: TrainContext,
        step: Step,
        judge: nn.Module,
        keep: Keep | None,
        replays: int,
    ) -> None:
        self.net, self.context, self.step, self.judge = net, context, step, judge
        self.replays = replays
        recipe = context.recipe
        self.recipe = recipe
        self.keep: Keep | None = "last" if recipe.select == "last" else keep
        for module in (net, judge):
            module.to(context.device)
        if recipe.channels_last:
            net.to(memory_format=torch.channels_last)
        net.train()
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if not self.parameters:
            raise BadValue("the network has no trainable parameter, expected one with requires_grad")
        self.model = training_model(net, context.autocast, recipe.channels_last)
        self.inner_optimizer = _optimizer(recipe, self.parameters)
        self.optimizer: Any = context.fabric.setup_optimizers(self.inner_optimizer)
        self.average = Average(net, recipe.ema_decay) if recipe.ema_decay else None
        self.done = 0  # completed epochs
        self.calm = 0  # epochs before the first attack
        self.best: dict[str, Any] = {}  # epoch, score, weights
        self.told = False  # that nothing is learnt

    def resume(self, saved: dict[str, Any]) -> None:
        """Go on after the last completed epoch."""
        self.context.history = list(saved["history"])
        self.done = saved["epoch"]
        self.context.attacked = saved["attacked"]
        if not self.done:
            return
        if saved["whole"]:
            self.context.whole.load_state_dict(saved["whole"])
        self.net.load_state_dict(saved["net"])
        self.inner_optimizer.load_state_dict(saved["optimizer"])
        self.context.fabric.strategy.precision.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load(saved["average"])
        self.calm = saved["calm"]
        self.best = saved["best"]
        if self.best:
            self._write_best()  # the file may be of an epoch that was cut short

    def run(self) -> None:
        """All epochs that are left."""
        context, images = self.context, self.context.images
        title = context.title if context.stage == 0 else f"{context.title}, stage {context.stage + 1}"
        context.progress.start(title, self.recipe.epochs * images, "images", self.done * images)
        try:
            self._check()
            while self.done < self.recipe.epochs:
                self._epoch()
                self._check()
        finally:
            context.progress.finish()

    def finish(self) -> None:
        """Leave the weights that are kept in the network."""
        context = self.context
        with self._judged():
            kept: Weights = weights_of(self.net)
            context.save_weights("last")
        if self.best:
            kept = self.best["weights"]
        self.net.load_state_dict(kept)
        epoch = self.best.get("epoch", self.done)
        context.finished.append({"epoch": epoch, "weights": kept, "whole": self._whole()})
        context.save(epoch=0, attacked=False)
        context.save_log()

    def _epoch(self) -> None:
        context, begun = self.context, time.perf_counter()
        means, loss, rate = self._train()
        seconds = time.perf_counter() - begun
        with self._judged():
            self._share_buffers()
            clean, robust = validate(self.judge, context)
            self.done += 1
            self._remember_best(clean, robust)
        row: Row = {
            "stage": context.stage + 1,
            "epoch": self.done,
            "lr": rate,
            **means,
            "loss": loss,
            "clean_accuracy": clean,
            "robust_accuracy": robust,
            "images_per_second": len(context.train) / seconds,
            "seconds": time.perf_counter() - begun,
        }
        context.history.append(row)
        self._write()

    def _train(self) -> tuple[dict[str, float], float, float]:
        """One pass over the training images: the mean of each term, of the loss, and the last learning rate.

        A term's mean is over the images of the steps that had it.
        """
        context, batches = self.context, self.context.batches
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        lost = torch.zeros((), dtype=torch.bool, device=context.device)
        seen = reported = 0
        rate = 0.0
        context.epochs_done = self.done
        for number, batch in enumerate(context.epoch(self.done, self.replays)):
            now, total = self.done * batches + number, self.recipe.epochs * batches
            rate = learning_rate(self.recipe, now, total)
            context.strength = attack_strength(self.recipe, now, total)
            context.elapsed = Fraction(now, total)
            terms = self._step(batch, rate)
            for name, term in terms.items():
                # what comes after the first value that is not finite is its consequence, not a cause
                weighted = torch.where(lost, 0.0, term.detach().float() * len(batch))
                sums[name] = sums[name] + weighted if name in sums else weighted
                counts[name] = counts.get(name, 0) + len(batch)
            lost = ~torch.stack(list(sums.values())).isfinite().all()
            seen += len(batch)
            if number % _LOOK == _LOOK - 1 or number == batches - 1:
                means, loss = self._means(sums, counts, seen)
                check_finite(
                    means, self.done + 1, seen * context.fabric.world_size, self.recipe.learning_rate
                )
                amount = (seen - reported) * context.fabric.world_size
                context.progress.advance(amount, epoch=self.done + 1, loss=loss)
                reported = seen
        return means, loss, rate

    def _step(self, batch: Any, rate: float) -> dict[str, Tensor]:
        for group in self.inner_optimizer.param_groups:
            group["lr"] = rate
        terms = dict(self._terms(batch))
        _check_terms(terms)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.inner_optimizer.zero_grad(set_to_none=True)
        self.context.fabric.backward(loss)
        self._share_gradients()
        if self.context.hook is not None:
            self.context.hook.after_backward(self.net)
        if self.recipe.clip_norm is not None:
            self.context.fabric.clip_gradients(
                self.net, self.optimizer, max_norm=self.recipe.clip_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        if self.context.hook is not None:
            self.context.hook.after_step(self.net)
        if self.average is not None:
            self.average.update()
        return terms

    def _terms(self, batch: Any) -> Terms:
        if self.context.hook is None:
            return self.step(self.model, batch)
        return self.context.hook.terms(self.net, self.step, self.model, batch)

    def _share_gradients(self) -> None:
        # not DistributedDataParallel: it allows one forward of one method per step, and defenses need several
        self._mean_over_devices([p.grad for p in self.parameters if p.grad is not None])

    def _share_buffers(self) -> None:
        """Every device continues with the same BatchNorm statistics."""
        self._mean_over_devices([buffer for buffer in self.net.buffers() if buffer.is_floating_point()])

    @torch.no_grad()
    def _mean_over_devices(self, tensors: list[Tensor]) -> None:
        if self.context.fabric.world_size == 1 or not tensors:
            return
        flat = self._all_mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = flat.split_with_sizes([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def _all_mean(self, tensor: Tensor) -> Tensor:
        mean: Tensor = self.context.fabric.all_reduce(tensor, reduce_op="mean")  # type: ignore[assignment]
        return mean

    def _means(
        self, sums: dict[str, Tensor], counts: dict[str, int], seen: int
    ) -> tuple[dict[str, float], float]:
        """The mean of each term over its own images, and of the loss over all that were seen."""
        totals = torch.stack(list(sums.values()))
        images = torch.tensor([seen, *counts.values()], dtype=totals.dtype, device=totals.device)
        totals, images = self._all_mean(totals), self._all_mean(images)
        means = dict(zip(sums, (totals / images[1:]).tolist(), strict=True))
        return means, sum((totals / images[0]).tolist())

    def _judged(self) -> AbstractContextManager[None]:
        """The weights that are validated and kept are in the network."""
        return nullcontext() if self.average is None else self.average.swapped()

    def _remember_best(self, clean: float | None, robust: float | None) -> None:
        attacked = self.context.attacked
        if not attacked:
            self.calm = self.done
        keep = self.keep or ("robust" if attacked else "clean")
        if keep == "last" or clean is None or robust is None:
            return
        score = [robust, clean] if keep == "robust" else [clean, robust]
        of_before = self.keep is None and attacked and self.best.get("epoch", 0) <= self.calm
        if of_before or not self.best or score > self.best["score"]:
            self.best = {"epoch": self.done, "score": score, "weights": weights_of(self.net)}
            self.context.save_weights("best")

    def _write_best(self) -> None:
        now = weights_of(self.net)
        self.net.load_state_dict(self.best["weights"])
        self.context.save_weights("best")
        self.net.load_state_dict(now)

    def _write(self) -> None:
        context = self.context
        context.save(
            epoch=self.done,
            attacked=context.attacked,
            calm=self.calm,
            whole=self._whole(),
            net=weights_of(self.net),
            optimizer=self.inner_optimizer.state_dict(),
            scaler=context.fabric.strategy.precision.state_dict(),
            average={} if self.average is None else self.average.state(),
            best=self.best,
        )
        context.save_log()

    def _whole(self) -> Weights:
        """What else a stage may have changed, BatchNorm statistics above all."""
        return {} if self.net is self.context.whole else weights_of(self.context.whole)

    def _check(self) -> None:
        rows = [row for row in self.context.history if row["stage"] == self.context.stage + 1]
        figures = [
            EpochFigures(
                int(row["epoch"] or 0), float(row["loss"] or 0), row["clean_accuracy"], row["robust_accuracy"]
            )
            for row in rows[self.calm if self.context.attacked else 0 :]  # what went before had another loss
        ]
        adversarial = self.keep == "robust" or (self.context.attacked and self.keep is None)
        check_history(figures, adversarial, self.recipe.learning_rate)
        self._warn(figures)

    def _warn(self, figures: list[EpochFigures]) -> None:
        """Say once that nothing is learnt, and again at the end if it stayed so."""
        labels = self.context.validation.y[: self.recipe.validation_examples]
        told = at_chance(figures, labels.bincount().tolist(), self.recipe, self.context.attacked)
        if told is not None and (not self.told or self.done == self.recipe.epochs):
            self.context.progress.say(told)
            self.told = True


def _optimizer(recipe: Recipe, parameters: list[nn.Parameter]) -> Optimizer:
    groups = _groups(recipe, parameters)
    if recipe.optimizer == "adam":
        return Adam(groups, recipe.learning_rate, (recipe.momentum, 0.999))
    return SGD(groups, recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


def _groups(recipe: Recipe, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    """The parameters by their weight decay."""
    if recipe.decayed == "all":
        return [{"params": parameters, "weight_decay": recipe.weight_decay}]
    kernels = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    decays = ((kernels, recipe.weight_decay), (others, 0.0))
    return [{"params": group, "weight_decay": decay} for group, decay in decays if group]


def _check_terms(terms: dict[str, Tensor]) -> None:
    if not terms:
        raise BadValue(
            "the training step gave no loss term, expected at least one", 'return {"adversarial": loss}'
        )
    for name, term in terms.items():
        if name in LOG_COLUMNS:
            raise BadValue(
                f"a loss term is named {name!r}, which is a column of log.csv, expected another name"
            )
        if not isinstance(term, Tensor) or term.dim() != 0:
            shape = list(term.shape) if isinstance(term, Tensor) else type(term).__name__
            raise BadValue(f"the loss term {name!r} is {shape}, expected a scalar tensor", "loss.mean()")
