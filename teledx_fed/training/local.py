"""Local training of one site in one round."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from teledx_fed.core.devices import to_device
from teledx_fed.core.examples import Example
from teledx_fed.core.randomness import generator, torch_generator
from teledx_fed.core.updates import LocalTraining
from teledx_fed.model.heads import Head
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
    """Targets of n examples: `labels` (n,) of the head, `oedema` (n,) 0, 1, or -1 if unknown."""

    labels: Tensor
    oedema: Tensor
    classes: int

    @classmethod
    def of(cls, examples: Sequence[Example], head: Head) -> "Targets":
        oedema = [-1.0 if example.oedema is None else float(example.oedema) for example in examples]
        return cls(head.targets(examples), torch.tensor(oedema), head.labels)

    @property
    def balance(self) -> Tensor:
        """Class weights (classes,) that give every class present the same total, with a mean of 1 over the examples."""
        counts = torch.bincount(self.labels, minlength=self.classes).float()
        present = counts > 0
        weights = len(self.labels) / (present.sum() * counts.clamp(min=1))
        return torch.where(present, weights, torch.zeros(()))


def learn(network: Grader, inputs: Inputs, targets: Targets, training: LocalTraining, site: str, round: int) -> float:
    """Train `network` in place and return the mean loss, without the proximal term, of the first epoch.

    It approximates the loss before training, which q-FedAvg weighs by, without another pass over the data.
    """
    trained = network.trained
    start = [parameter.detach().clone() for parameter in trained] if training.proximal_mu else []
    optimizer = OPTIMIZERS[training.optimizer](trained, training)
    objective = _objective(network, targets, training)
    order = generator(training.seed, site, round, "batches")
    augmentation = torch_generator(training.seed, site, round, "augmentation") if training.augment else None
    network.train()
    losses: list[Tensor] = []
    for epoch in range(training.epochs):
        for index in _batches(targets, training, order):
            optimizer.zero_grad()
            with _precision(network, training):
                loss = objective(inputs.logits(network, index, augmentation), index)
            (loss + training.proximal_mu / 2 * _squared_distance(trained, start) if start else loss).backward()
            if training.clip_norm:
                nn.utils.clip_grad_norm_(trained, training.clip_norm)
            optimizer.step()
            if epoch == 0:
                losses.append(loss.detach().double() * len(index))
    network.eval()
    return float(torch.stack(losses).sum()) / len(targets.labels)


def _batches(targets: Targets, training: LocalTraining, order: np.random.Generator) -> Iterator[Index]:
    """Yield the batches of an epoch, of nearly equal size: BatchNorm cannot train on one example."""
    n = len(targets.labels)
    if training.class_balance == "sampling":
        weights = targets.balance[targets.labels].double().numpy()
        chosen = order.choice(n, size=n, p=weights / weights.sum())
    else:
        chosen = order.permutation(n)
    yield from np.array_split(chosen, ceil(n / training.batch_size))


def _objective(network: Grader, targets: Targets, training: LocalTraining) -> Callable[[Tensor, Index], Tensor]:
    device = network.device
    all_labels, all_oedema = targets.labels.to(device), targets.oedema.to(device)
    balance = targets.balance.to(device) if training.class_balance == "weights" else None

    head = network.head_type

    def objective(logits: Tensor, index: Index) -> Tensor:
        rows = to_device(torch.from_numpy(index), device)
        loss = head.loss(logits[:, : head.outputs].float(), all_labels[rows], balance, training.label_smoothing)
        if network.oedema is not None:
            loss = loss + _masked_oedema(logits[:, head.outputs].float(), all_oedema[rows])
        return loss

    return objective


def _masked_oedema(logits: Tensor, oedema: Tensor) -> Tensor:
    """Return the binary cross-entropy over labelled examples; 0 without any, so that the output does not change."""
    labelled = oedema >= 0
    losses = functional.binary_cross_entropy_with_logits(logits, oedema.clamp(min=0), reduction="none")
    return (losses * labelled).sum() / labelled.sum().clamp(min=1)


def _squared_distance(trained: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """Return ‖w − wᵗ‖², of FedProx's proximal term (Li et al. 2020, eq. 2)."""
    return torch.stack([(now - then).square().sum() for now, then in zip(trained, start, strict=True)]).sum()


def _precision(network: Grader, training: LocalTraining) -> AbstractContextManager[object]:
    if training.mixed_precision and network.device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
