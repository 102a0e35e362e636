"""Describe a network for other programs; the description is stored in bundle.json."""

from collections.abc import Mapping
from dataclasses import dataclass

IMAGES, LOGITS, MAPS = "images", "logits", "feature_maps"
"""The names of inputs and outputs in an ONNX file."""


@dataclass(frozen=True)
class NetworkCard:
    """`timm.create_model(timm, **arguments)` with the tensors under `backbone` gives pooled features.

    From these, the layers of `head` (linear, ReLU between two of them) give logits of `classes`, and `oedema` one more.
    Images are RGB, `size` × `size`: pixels in 0…255, divided by 255, minus `mean`, divided by `std`.
    """

    timm: str
    timm_version: str
    arguments: Mapping[str, str | int | float | bool]
    backbone: str
    head: tuple[str, ...]
    oedema: str | None
    classes: tuple[str, ...]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    colour: str = "RGB"
    scale: str = "divide by 255"
    onnx_input: str = IMAGES
    onnx_outputs: tuple[str, ...] = (LOGITS, MAPS)

    @property
    def scores(self) -> tuple[str, ...]:
        """How scores follow from logits, in words."""
        if len(self.classes) == 1:
            return ("Probability of referable disease: the sigmoid of the logit.",)
        either = "; with an oedema output p, the score s becomes s + p − s · p" if self.oedema else ""
        return (
            "Probabilities of the grades: the softmax of the logits, for people divided by the temperature first.",
            f"Referable score: the sum of grades 2 to 4{either}.",
            f"Urgent score: the sum of grades 3 and 4{either}.",
            *(["Probability of oedema: the sigmoid of its logit, which follows the grades'."] if self.oedema else []),
        )
