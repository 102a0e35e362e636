"""The model card: everything that a third party needs to use the weights with plain timm or ONNX Runtime."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import timm
from pydantic import TypeAdapter

from teledx_fed.core.operating_points import lines
from teledx_fed.model.bundle import GRAPH, WEIGHTS, Manifest, Preparation
from teledx_fed.model.network import Grader
from teledx_fed.model.network_card import IMAGES, LOGITS, MAPS, NetworkCard

FILE = "MODEL_CARD.md"
KEY = "card"
"""The key of the JSON block in an ONNX file; in safetensors it is a part of `model`."""

PARTS = TypeAdapter(Mapping[str, Any])
USE = """To suggest a grade of diabetic retinopathy, and whether to refer, from a colour photograph of the fundus of an
adult with diabetes. A clinician reads the photograph and decides. It is research software, not a certified device."""
LIMITS = """It detects only the diseases that it was trained on, and a photograph without depth cannot confirm macular
oedema. Accuracy differs between hospitals, cameras and populations: choose thresholds on photographs of your own before
use. Do not use it for ungradable photographs, treated eyes, pregnant patients or children."""


@dataclass(frozen=True)
class Card:
    """Content of MODEL_CARD.md. Without a `manifest`, the model is not yet calibrated at a hospital."""

    network: NetworkCard
    preparation: Preparation
    trained: Mapping[str, str | int | float | None]
    demonstration: bool
    manifest: Manifest | None = None

    @property
    def block(self) -> dict[str, Any]:
        """The card for programs, as JSON values."""
        content: dict[str, Any] = {
            "schema": "teledx_fed.card/1",
            "network": self.network,
            "preparation": self.preparation,
            "trained": self.trained,
            "demonstration": self.demonstration,
            "calibration": self.manifest and self.manifest.calibration,
            "scope": self.manifest and self.manifest.scope,
        }
        return {name: PARTS.dump_python({name: value}, mode="json")[name] for name, value in content.items()}

    def markdown(self) -> str:
        network = self.network
        oedema = f"\noedema = pooled @ state['{network.oedema}.weight'].T + state['{network.oedema}.bias']"
        return TEMPLATE.substitute(
            title="Federated grading of diabetic retinopathy",
            demonstration=DEMONSTRATION if self.demonstration else "",
            use=USE,
            limits=LIMITS
            if network.oedema
            else f"{LIMITS} It has no output for macular oedema and does not detect it.",
            trained=_listed([f"{name.replace('_', ' ')}: {value}" for name, value in self.trained.items()]),
            scope=self._scope(),
            points=_listed(self._points()),
            classes=_listed([f"{grade}: {name}" for grade, name in enumerate(network.classes)]),
            scores=_listed(network.scores),
            steps=_numbered(self.preparation.steps),
            head=_head_code(network.head) + (oedema if network.oedema else ""),
            weights=WEIGHTS,
            onnx=self._onnx(),
            block=json.dumps(self.block, indent=1),
        )

    def _onnx(self) -> str:
        return Template(ONNX).substitute(graph=GRAPH, images=IMAGES, logits=LOGITS, maps=MAPS) if self.manifest else ""

    def _scope(self) -> str:
        if self.manifest is None:
            return "The hospitals' own descriptions stay with them."
        scope = self.manifest.scope
        cameras = ", ".join(scope.cameras) or "not recorded"
        shortest = f"Shortest side of a photograph: {scope.shortest_side} pixels."
        return f"Hospital {self.manifest.site}. Cameras: {cameras}. {shortest}"

    def _points(self) -> Sequence[str]:
        if self.manifest is None:
            return ("Each hospital chooses its own when it adopts and calibrates the model: temperature 1 here.",)
        calibration = self.manifest.calibration
        return (
            f"Temperature {calibration.temperature:.4f}, for the probabilities that people read.",
            *lines(calibration.points),
        )


def network_card(network: Grader, size: int) -> NetworkCard:
    """Describe a network for images of `size` × `size` pixels."""
    scale = network.normalise
    layers = [name for name, layer in network.head.named_children() if any(True for _ in layer.parameters())]
    return NetworkCard(
        timm=network.settings.name,
        timm_version=timm.__version__,
        arguments={"num_classes": 0, **network.arguments},
        backbone="backbone.",
        head=tuple(f"head.{name}" for name in layers) or ("head",),
        oedema="oedema" if network.oedema is not None else None,
        classes=network.head_type.classes,
        size=size,
        mean=tuple(round(value, 6) for value in scale.mean.flatten().tolist()),
        std=tuple(round(value, 6) for value in scale.deviation.flatten().tolist()),
    )


def _head_code(layers: Sequence[str]) -> str:
    """Return code of one linear layer, or two with a ReLU between."""
    code = "logits = pooled"
    for number, layer in enumerate(layers):
        inner = f"torch.relu({code.removeprefix('logits = ')})" if number else code.removeprefix("logits = ")
        code = f"logits = {inner} @ state['{layer}.weight'].T + state['{layer}.bias']"
    return code


def _listed(phrases: Sequence[str]) -> str:
    return "\n".join(f"- {phrase}" for phrase in phrases)


def _numbered(steps: Sequence[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))


DEMONSTRATION = "\n**A demonstration, trained on synthetic eyes: not for patients.**\n"
ONNX = """
## ONNX Runtime

`$graph` takes `$images`, uint8 (batch, size, size, 3): prepared squares as they are, since scale, mean and deviation
are inside. It gives `$logits`, float32 (batch, classes, then one of oedema where the model has it), and `$maps`, the
last feature maps.

```python
import json

import onnxruntime

session = onnxruntime.InferenceSession("$graph", providers=["CPUExecutionProvider"])
card = json.loads(session.get_modelmeta().custom_metadata_map["card"])
(logits,) = session.run(["$logits"], {"$images": square[None]})
```
"""
TEMPLATE = Template("""# $title
$demonstration
## Intended use

$use

## Limits

$limits

## What it was trained on

$trained

$scope

## Thresholds

$points

An operating point's threshold is for the score of logits that are not divided by the temperature. Where it is withheld,
a clinician decides.

## Outputs

$classes

$scores

## Preparation of a photograph

$steps

## timm

`square` is a prepared photograph, uint8 (size, size, 3), RGB. The same block as at the end of this page lies in the
metadata of `$weights`.

```python
import json

import timm
import torch
from safetensors import safe_open

with safe_open("$weights", framework="pt") as file:
    card = json.loads(file.metadata()["model"])["card"]
    state = {name: file.get_tensor(name) for name in file.keys()}
about = card["network"]
backbone = timm.create_model(about["timm"], **about["arguments"]).eval()
prefix = about["backbone"]
backbone.load_state_dict({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})
pixels = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
mean, std = (torch.tensor(about[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
with torch.inference_mode():
    pooled = backbone((pixels - mean) / std)
$head
```
$onnx
## For machines

```json
$block
```
""")
