"""Settings of the network and of local training, with checks."""

import re
from dataclasses import dataclass
from enum import StrEnum

from teledx_fed.core import extensions
from teledx_fed.core.checks import must, one_of, within

HEAD_ENTRY_POINTS = "teledx_fed.heads"
"""Entry point group of heads in installed packages. A site refuses them."""


class HeadName(StrEnum):
    """The built-in values of `model.head`."""

    GRADES = "grade"
    REFERABLE = "referable"


@dataclass
class ModelSettings:
    """The network: `name` of timm's, origin of its `initial` weights, its head, and which part is frozen."""

    name: str = "tf_efficientnet_b0"
    initial: str = "lite0"
    file: str | None = None
    head: str = HeadName.GRADES.value
    oedema: bool = False
    freeze: str = "none"
    batch_norm: str = "average"

    def __post_init__(self) -> None:
        one_of("model.initial", self.initial, ("lite0", "hub", "file", "none"))
        if self.head not in list(HeadName):
            extensions.check("model.head", self.head, HeadName, HEAD_ENTRY_POINTS)
        one_of("model.batch_norm", self.batch_norm, ("average", "local", "frozen"))
        must(
            re.fullmatch(r"\w+(\.\w+)?", self.name) is not None,
            "model.name",
            "be the name of a network in timm",
            self.name,
            "Choose one of timm.list_models(), not an address or a path.",
        )
        must(
            self.freeze in ("none", "backbone") or (self.freeze.isdecimal() and int(self.freeze) > 0),
            "model.freeze",
            "be none, backbone or a number of blocks, at least 1",
            self.freeze,
            "For the first three blocks write model.freeze=3.",
        )
        must(
            self.initial != "lite0" or self.name == "tf_efficientnet_b0",
            "model.name",
            "be tf_efficientnet_b0 where model.initial is lite0",
            self.name,
            "Choose model.initial=hub, file or none for another network.",
        )
        must(
            (self.initial == "file") == (self.file is not None),
            "model.file",
            "be given with model.initial=file, and only then",
            self.file,
            "Set both or neither.",
        )
        must(
            not (self.oedema and self.head == HeadName.REFERABLE),
            "model.oedema",
            "be false with model.head=referable",
            self.oedema,
            "Choose model.head=grade, or model.oedema=false: the head referable has one output.",
        )


@dataclass
class TrainingSettings:
    """Local training. With a frozen part, the features of `views` augmented views of each photograph are cached.

    With 0 `views`, each epoch augments again.
    """

    epochs: int = 1
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: str = "constant"
    class_balance: str = "weights"
    label_smoothing: float = 0.0
    proximal_mu: float = 0.0
    clip_norm: float = 0.0
    augment: bool = True
    views: int = 0
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        one_of("training.optimizer", self.optimizer, ("adamw", "adam", "sgd"))
        one_of("training.schedule", self.schedule, ("constant", "cosine"))
        one_of("training.class_balance", self.class_balance, ("none", "weights", "sampling"))
        within("training.epochs", self.epochs, 1, 1000)
        within("training.views", self.views, 0, 1000)
        within("training.batch_size", self.batch_size, 1, 4096)
        must(self.learning_rate > 0, "training.learning_rate", "be positive", self.learning_rate, "Try 1e-3.")
        for name in ("weight_decay", "proximal_mu", "clip_norm"):
            must(
                getattr(self, name) >= 0,
                f"training.{name}",
                "be 0 or more",
                getattr(self, name),
                "0 turns it off.",
            )
        within("training.label_smoothing", self.label_smoothing, 0, 0.5)
        within("training.momentum", self.momentum, 0, 0.9999)
