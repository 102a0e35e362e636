import subprocess
import sys
import warnings

import numpy as np
import pytest

from teledx_fed.config.learning import ModelSettings
from teledx_fed.model.export import export
from teledx_fed.model.network import build
from teledx_fed.model.runtime import Runtime, has_cuda, identity


@pytest.fixture(scope="module")
def graph() -> bytes:
    return export(build(ModelSettings(name="test_efficientnet", initial="none"), seed=0), 32)


def test_threads_do_not_change_bits(graph: bytes) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    one, two = (Runtime(graph, threads)(images) for threads in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_an_image_gets_the_same_bits_alone_and_in_a_batch(graph: bytes) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    runtime = Runtime(graph, threads=2)
    assert np.concatenate([runtime(image[None]) for image in images]).tobytes() == runtime(images).tobytes()


@pytest.mark.skipif(has_cuda(), reason="onnxruntime has CUDA here")
def test_a_missing_cuda_provider_is_an_error(graph: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"simulation.device must be one on which ONNX Runtime starts, got cuda"):
            Runtime(graph, threads=1, cuda=True)


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda(), reason="onnxruntime has no CUDA here")
def test_cuda_equals_the_cpu(graph: bytes) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    on_cpu = Runtime(graph, threads=1)(images)
    np.testing.assert_allclose(Runtime(graph, threads=1, cuda=True)(images), on_cpu, rtol=1e-3, atol=1e-5)


def test_the_identity_states_the_provider() -> None:
    assert identity(cuda=True) != identity(cuda=False)


def test_the_runtime_needs_no_pytorch() -> None:
    code = "import sys, teledx_fed.model.runtime; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
