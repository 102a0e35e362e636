"""Heads: the outputs of a network, their labels and loss, and the scores that follow from logits."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from teledx_fed.config.learning import HEAD_ENTRY_POINTS, HeadName
from teledx_fed.core import extensions
from teledx_fed.core.checks import must
from teledx_fed.core.clinical import GRADE_NAMES
from teledx_fed.core.examples import GRADES, Example
from teledx_fed.core.score_tables import ONE_OUTPUT, SHAPES

Floats = NDArray[np.float64]


class Head(ABC):
    """A kind of head. If the settings have an oedema output, it follows the `outputs`.

    `graded`: it gives probabilities of five grades; otherwise one of referable disease. `labels` is the number of
    different labels; `classes` names the outputs in the model card.
    """

    description: str
    outputs: int
    labels: int
    classes: tuple[str, ...]
    graded: bool

    @abstractmethod
    def layers(self, width: int) -> nn.Module:
        """Return the module from pooled features (b, width) to logits (b, outputs)."""

    @abstractmethod
    def targets(self, examples: Sequence[Example]) -> Tensor:
        """Return the label (n,) of each example, int64 in 0 … labels − 1."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Return the mean loss of float32 logits (b, outputs), with class `weights` (labels,) and label smoothing."""

    @abstractmethod
    def scores(self, logits: Floats, temperature: float) -> Floats:
        """Return probabilities of five grades (n, 5), or of referable disease (n,), for logits (n, outputs)."""

    @property
    def tables(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the score tables that a site sends."""
        return SHAPES if self.graded else ONE_OUTPUT


class GradeHead(Head):
    """Five grades, by softmax and cross-entropy."""

    description = "five grades"
    outputs = labels = GRADES
    classes = GRADE_NAMES
    graded = True

    def layers(self, width: int) -> nn.Module:
        return nn.Linear(width, GRADES)

    def targets(self, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([example.grade for example in examples])

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        return functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)

    def scores(self, logits: Floats, temperature: float) -> Floats:
        return _softmax(logits / temperature)


class ReferableHead(Head):
    """Referable disease or not, behind a hidden layer, by sigmoid and binary cross-entropy. Ignores a temperature."""

    description = "referable or not, behind a hidden layer of 128 units"
    outputs, labels = 1, 2
    classes = ("referable",)
    graded = False

    def layers(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 1))

    def targets(self, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([int(example.referable) for example in examples])

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        smooth = labels.float() * (1 - smoothing) + smoothing / 2
        weight = weights[labels] if weights is not None else None
        return functional.binary_cross_entropy_with_logits(logits[:, 0], smooth, weight=weight)

    def scores(self, logits: Floats, temperature: float) -> Floats:
        return sigmoid(logits[:, 0])


HEADS: Mapping[str, Head] = {HeadName.GRADES: GradeHead(), HeadName.REFERABLE: ReferableHead()}


def head_of(name: str) -> Head:
    """Return the head that `model.head` names: a built-in one, or the entry point of an installed package."""
    if name in HEADS:
        return HEADS[name]
    kind = extensions.load(HEAD_ENTRY_POINTS, name)
    entry = f"entry point {name} of {HEAD_ENTRY_POINTS}"
    must(isinstance(kind, type) and issubclass(kind, Head), entry, "be a class of Head", kind, "Derive it from Head.")
    head: Head = kind()
    return head


def _softmax(logits: Floats) -> Floats:
    exponentials: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """Return the probabilities of logits."""
    return np.asarray(1 / (1 + np.exp(-logits)))
