"""A bundle computes what PyTorch computes, and is refused if any part was changed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from points import points

from teledx_fed.config.learning import ModelSettings
from teledx_fed.model.bundle import GRAPH, MANIFEST, WEIGHTS, Bundle, Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.model.network import Grader, build

TINY = ModelSettings(name="test_efficientnet", initial="none", oedema=True)
ABOUT = Manifest(
    site="north",
    release="0.1.0",
    demonstration=True,
    preparation=Preparation(2, 64, False, False),
    calibration=Calibration(1.2, 0.9, 0.1, points(0.3, 0.4), 100, 50),
    scope=Scope(("canon",), 500),
    trained={"rounds": 3, "best_round": None},
)


@pytest.fixture(scope="module")
def network() -> Grader:
    return build(TINY, seed=0)


@pytest.fixture
def folder(network: Grader, tmp_path: Path) -> Path:
    write_bundle(network, ABOUT, tmp_path)
    return tmp_path


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_a_bundle_computes_the_outputs_of_the_network(network: Grader, folder: Path) -> None:
    outputs = Bundle(folder, threads=1)(images(3))
    with torch.inference_mode():
        expected = network(torch.from_numpy(images(3)).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(outputs.logits, expected[:, :5], atol=1e-4)
    assert outputs.oedema is not None
    np.testing.assert_allclose(outputs.oedema, expected[:, 5], atol=1e-4)


def test_logits_are_the_head_times_the_means_of_the_maps(network: Grader, folder: Path) -> None:
    bundle = Bundle(folder, threads=1)
    outputs = bundle(images(2))
    bias = network.head.bias.detach().numpy()
    np.testing.assert_allclose(outputs.maps.mean(axis=(2, 3)) @ bundle.head.T + bias, outputs.logits, atol=1e-4)


def test_the_manifest_is_read_unchanged(folder: Path) -> None:
    bundle = Bundle(folder, threads=1)
    assert replace(bundle.manifest, files={}, network=None) == ABOUT
    assert len(bundle.digest) == 64


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH])
def test_a_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is not as it was written. Copy it again"):
        Bundle(folder, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, GRAPH])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"got {name}: No such file"):
        Bundle(folder, threads=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format 1, not 2"),
        ({"calibration": None}, "calibration: "),
        ({"files": {}}, r"hashes of \[\]"),
        ({"preparation": {"version": "x"}}, "preparation.version: "),
    ],
)
def test_a_manifest_of_another_kind_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    written = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(written | change))
    with pytest.raises(ValueError, match=message):
        Bundle(folder, threads=1)


def test_a_file_outside_its_folder_is_never_read(folder: Path) -> None:
    written = json.loads((folder / MANIFEST).read_text())
    written["files"]["../elsewhere"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(written))
    with pytest.raises(ValueError, match="elsewhere"):
        Bundle(folder, threads=1)


def test_a_head_without_grades_cannot_make_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be grade for a bundle"):
        write_bundle(build(replace(TINY, head="referable", oedema=False), seed=0), ABOUT, tmp_path)
    assert not (tmp_path / MANIFEST).exists()
