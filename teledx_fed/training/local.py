"""Local training: one site, one round, from the weights it was sent to the weights it sends back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from teledx_fed.core.devices import sent
from teledx_fed.core.examples import GRADES, Example
from teledx_fed.core.randomness import generator, torch_generator
from teledx_fed.core.updates import LocalTraining
from teledx_fed.model.network import Grader
from teledx_fed.training.inputs import Index, Inputs

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], LocalTraining], torch.optim.Optimizer]] = {
    "adamw": lambda p, a: torch.optim.AdamW(p, lr=a.learning_rate, weight_decay=a.weight_decay, fused=True),
    "adam": lambda p, a: torch.optim.Adam(p, lr=a.learning_rate, weight_decay=a.weight_decay, fused=True),
    "sgd": lambda p, a: torch.optim.SGD(
        p, lr=a.learning_rate, momentum=a.momentum, weight_decay=a.weight_decay, fused=True
    ),
}


@dataclass(frozen=True)
class Targets:
    """Labels of n examples: `labels` is the grade, or referable for a binary head; `oedema` is -1 where unknown."""

    labels: Tensor
    oedema: Tensor
    classes: int

    @classmethod
    def of(cls, examples: Sequence[Example], head: str) -> "Targets":
        oedema = [-1.0 if example.oedema is None else float(example.oedema) for example in examples]
        if head == "seed":
            return cls(torch.tensor([int(e.referable) for e in examples]), torch.tensor(oedema), 2)
        return cls(torch.tensor([e.grade for e in examples]), torch.tensor(oedema), GRADES)

    @property
    def balance(self) -> Tensor:
        """Class weights that give every class present the same total, with a mean of 1 over the examples."""
        counts = torch.bincount(self.labels, minlength=self.classes).float()
        present = counts > 0
        weights = len(self.labels) / (present.sum() * counts.clamp(min=1))
        return torch.where(present, weights, torch.zeros(()))


def learn(network: Grader, inputs: Inputs, targets: Targets, asked: LocalTraining, site: str, round: int) -> float:
    """Train `network` in place; returns the mean loss, without the proximal term, of the first epoch.

    That is near the loss of the model that came, by which q-FedAvg weighs, and costs no pass over the photographs.
    """
    trained = network.trained
    start = [parameter.detach().clone() for parameter in trained] if asked.proximal_mu else []
    optimizer = OPTIMIZERS[asked.optimizer](trained, asked)
    objective = _objective(network, targets, asked)
    order = generator(asked.seed, site, round, "batches")
    augmentation = torch_generator(asked.seed, site, round, "augmentation") if asked.augment else None
    network.train()
    losses: list[Tensor] = []
    for epoch in range(asked.epochs):
        for index in _batches(targets, asked, order):
            optimizer.zero_grad()
            with _precision(network, asked):
                loss = objective(inputs.logits(network, index, augmentation), index)
            (loss + asked.proximal_mu / 2 * _squared_distance(trained, start) if start else loss).backward()
            if asked.clip_norm:
                nn.utils.clip_grad_norm_(trained, asked.clip_norm)
            optimizer.step()
            if epoch == 0:
                losses.append(loss.detach().double() * len(index))
    network.eval()
    return float(torch.stack(losses).sum()) / len(targets.labels)


def _batches(targets: Targets, asked: LocalTraining, order: np.random.Generator) -> Iterator[Index]:
    """An epoch in batches of even size: a lone last example would give BatchNorm nothing to measure."""
    n = len(targets.labels)
    if asked.class_balance == "sampling":
        weights = targets.balance[targets.labels].double().numpy()
        drawn = order.choice(n, size=n, p=weights / weights.sum())
    else:
        drawn = order.permutation(n)
    yield from np.array_split(drawn, ceil(n / asked.batch_size))


def _objective(network: Grader, targets: Targets, asked: LocalTraining) -> Callable[[Tensor, Index], Tensor]:
    device = network.device
    all_labels, all_oedema = targets.labels.to(device), targets.oedema.to(device)
    balance = targets.balance.to(device) if asked.class_balance == "weights" else None

    def binary(logits: Tensor, labels: Tensor) -> Tensor:
        smooth = labels.float() * (1 - asked.label_smoothing) + asked.label_smoothing / 2
        weight = balance[labels] if balance is not None else None
        return functional.binary_cross_entropy_with_logits(logits[:, 0].float(), smooth, weight=weight)

    def graded(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits[:, :GRADES].float(), labels, weight=balance, label_smoothing=asked.label_smoothing
        )

    grading = binary if targets.classes == 2 else graded

    def objective(logits: Tensor, index: Index) -> Tensor:
        rows = sent(torch.from_numpy(index), device)
        loss = grading(logits, all_labels[rows])
        if network.oedema is not None:
            loss = loss + _masked_oedema(logits[:, GRADES].float(), all_oedema[rows])
        return loss

    return objective


def _masked_oedema(logits: Tensor, oedema: Tensor) -> Tensor:
    """Binary cross-entropy over the labelled; 0 where none is, so that they move the oedema output by nothing."""
    labelled = oedema >= 0
    losses = functional.binary_cross_entropy_with_logits(logits, oedema.clamp(min=0), reduction="none")
    return (losses * labelled).sum() / labelled.sum().clamp(min=1)


def _squared_distance(trained: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """‖w − wᵗ‖², FedProx's proximal term (Li et al. 2020, eq. 2)."""
    return torch.stack([(now - then).square().sum() for now, then in zip(trained, start, strict=True)]).sum()


def _precision(network: Grader, asked: LocalTraining) -> AbstractContextManager[object]:
    if asked.mixed_precision and network.device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
