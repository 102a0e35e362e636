"""With only the model card, a third party gets equal outputs from plain timm or ONNX Runtime."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from points import points
from safetensors import safe_open

from teledx_fed.config.data import HospitalSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.operating_points import Source
from teledx_fed.data.preprocessing import prepare, steps
from teledx_fed.data.synthetic import hospital
from teledx_fed.federation.checkpoint import Scored
from teledx_fed.federation.release import release
from teledx_fed.model.bundle import MANIFEST, WEIGHTS, Bundle, Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.model.card import FILE
from teledx_fed.model.network import Grader, build
from teledx_fed.training.worker import Worker

SIZE = 64
NETWORKS = {
    "tiny": ModelSettings(name="test_efficientnet", initial="none", oedema=True),
    "lite0": ModelSettings(initial="lite0"),
    "another family": ModelSettings(name="test_resnet", initial="none"),
}


@pytest.fixture(scope="module")
def photograph() -> NDArray[np.uint8]:
    """A synthetic photograph like a camera's: not square, and larger than the network's input."""
    drawn = hospital("clinic", HospitalSettings(1, "topcon"), seed=0).examples[0].image.read()
    return np.pad(drawn, ((10, 4), (37, 20), (0, 0)))


def about(size: int = SIZE) -> Manifest:
    return Manifest(
        site="north",
        release="1",
        demonstration=True,
        preparation=Preparation(2, size, False, False, steps(size)),
        calibration=Calibration(1.2, 0.9, 0.1, points(0.3, 0.4, Source.WITHHELD), 100, 50),
        scope=Scope(("topcon",), 300),
        trained={"rounds": 3, "hospitals": 4},
    )


def block(folder: Path) -> dict[str, Any]:
    (text,) = re.findall(r"```json\n(.*?)```", (folder / FILE).read_text(), re.DOTALL)
    return dict(json.loads(text))


def follow(folder: Path, heading: str, square: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> NDArray[Any]:
    """Run the page's code in its folder."""
    section = (folder / FILE).read_text().partition(f"## {heading}\n")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    assert "teledx_fed" not in code[1]
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"square": square}
    exec(code[1], names)
    return np.asarray(names["logits"])


def prepared(photograph: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Prepare by the card's six steps, in OpenCV."""
    scale = min(1.0, 256 / max(photograph.shape))
    small_size = [max(1, round(side * scale)) for side in photograph.shape[:2]]
    small = cv2.resize(photograph, small_size[::-1], interpolation=cv2.INTER_AREA)
    brightness = cv2.medianBlur(small.max(axis=2), 5)
    d, b = np.percentile(brightness, (1, 99))
    o = min(d, 16)
    regions, _ = cv2.findContours(
        (brightness >= o + 0.06 * (b - o)).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    hull = cv2.convexHull(max(regions, key=cv2.contourArea))
    disc = cv2.fillConvexPoly(np.zeros(brightness.shape, np.uint8), hull, 255)
    disc = cv2.resize(disc, photograph.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    x, y, width, height = cv2.boundingRect(disc)
    side = max(width, height)
    top, left = (side - height) // 2, (side - width) // 2
    padding = (top, side - height - top, left, side - width - left)
    square, inside = (
        cv2.resize(
            cv2.copyMakeBorder(part[y : y + height, x : x + width], *padding, cv2.BORDER_CONSTANT, value=0),
            (size, size),
            interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC,
        )
        for part in (photograph, disc)
    )
    return np.where(inside[..., None] > 127, square, 0).astype(np.uint8)


@pytest.mark.parametrize(
    "kind", ["tiny", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("another family", "lite0"))]
)
def test_timm_and_onnx_runtime_alone_give_our_logits(
    kind: str, photograph: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(NETWORKS[kind], seed=0)
    write_bundle(network, about(), tmp_path)
    square = prepared(photograph, block(tmp_path)["preparation"]["image_size"])
    np.testing.assert_array_equal(square, prepare(photograph, SIZE))
    ours = Bundle(tmp_path, threads=1)(square[None])
    with torch.inference_mode():
        expected = network(torch.from_numpy(square).permute(2, 0, 1)[None]).numpy()
    np.testing.assert_allclose(ours.logits, expected[:, :5], atol=1e-3)
    np.testing.assert_allclose(follow(tmp_path, "timm", square, monkeypatch), expected[:, :5], rtol=1e-4, atol=1e-4)
    graph = follow(tmp_path, "ONNX Runtime", square, monkeypatch)
    np.testing.assert_allclose(graph, expected, rtol=1e-3, atol=1e-3)


def test_the_card_is_the_same_in_each_file(tmp_path: Path) -> None:
    write_bundle(build(NETWORKS["tiny"], seed=0), about(), tmp_path)
    card, written = block(tmp_path), json.loads((tmp_path / MANIFEST).read_text())
    with safe_open(tmp_path / WEIGHTS, framework="np") as file:
        assert json.loads(file.metadata()["model"])["card"] == card
    assert {name: written[name] for name in ("network", "preparation", "calibration", "scope", "trained")} == {
        name: card[name] for name in ("network", "preparation", "calibration", "scope", "trained")
    }
    assert card["network"]["classes"][3] == "severe non-proliferative retinopathy"
    assert card["network"]["oedema"] == "oedema"
    assert card["calibration"]["temperature"] == 1.2
    assert card["calibration"]["points"]["urgent"]["source"] == "withheld"
    page = (tmp_path / FILE).read_text()
    for phrase in ("Urgent: withheld (3 diseased", "18 of 20", "A clinician reads", "not for patients", "topcon"):
        assert phrase in page, phrase


@pytest.mark.slow
def test_the_card_of_a_lite0_network_states_relu6_and_a_mean_of_half(lite0: Grader, tmp_path: Path) -> None:
    write_card_alone(lite0, tmp_path)
    card = block(tmp_path)["network"]
    assert (card["timm"], card["arguments"]) == ("tf_efficientnet_b0", {"num_classes": 0, "act_layer": "relu6"})
    assert card["mean"] == card["std"] == [0.5] * 3


@pytest.fixture(scope="module")
def lite0() -> Grader:
    return build(replace(NETWORKS["lite0"], freeze="backbone"), seed=0)


def write_card_alone(network: Grader, folder: Path) -> None:
    worker, settings = Worker(network), Settings(model=network.settings)
    release(worker, [worker.initial], Scored(3, worker.initial.weights, {}), settings, folder / WEIGHTS)


@pytest.mark.parametrize("head", ["grade", "referable"])
def test_the_model_of_a_run_has_its_card_too(
    head: str,
    photograph: NDArray[np.uint8],
    tiny_settings: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny_settings(model__head=head)
    worker = Worker(build(settings.model, seed=0))
    release(worker, [worker.initial], Scored(3, worker.initial.weights, {}), settings, tmp_path / WEIGHTS)
    square = prepared(photograph, block(tmp_path)["preparation"]["image_size"])
    with torch.inference_mode():
        expected = worker.network(torch.from_numpy(square).permute(2, 0, 1)[None]).numpy()
    np.testing.assert_allclose(follow(tmp_path, "timm", square, monkeypatch), expected, rtol=1e-4, atol=1e-4)
    assert "onnxruntime" not in (tmp_path / FILE).read_text()
    assert block(tmp_path)["calibration"] is None
