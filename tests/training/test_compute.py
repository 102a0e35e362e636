from collections.abc import Callable

import pytest
import torch
from reporters import RecordingReporter

from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import SILENT
from teledx_fed.model.network import Grader, build
from teledx_fed.training import compute
from teledx_fed.training.compute import device, place
from teledx_fed.training.worker import Worker


def test_missing_hardware_is_reported(tiny_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    reporter = RecordingReporter()
    assert device(tiny_settings(training__mixed_precision=True), reporter).type == "cpu"
    assert any("no GPU found" in line for line in reporter.messages)
    assert any("mixed_precision needs a GPU" in line for line in reporter.messages)
    with pytest.raises(ValueError, match=r"simulation.device must be a device of this machine, got cuda"):
        device(tiny_settings(simulation__device="cuda"), reporter)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_available_gpu_is_used(tiny_settings: Callable[..., Settings]) -> None:
    assert device(tiny_settings(), SILENT).type == "cuda"


def tiny(freeze: str = "none") -> Grader:
    return build(ModelSettings(name="test_efficientnet", initial="none", freeze=freeze), seed=0)


def test_the_cost_of_compiling_is_reported(
    tiny_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Grader] = []
    monkeypatch.setattr(Grader, "compile_learned", lambda self: compiled.append(self))
    reporter = RecordingReporter()
    place(tiny(), tiny_settings(), reporter)
    assert (compiled, [line for line in reporter.messages if "compiling" in line]) == ([], [])
    network = place(tiny(), tiny_settings(simulation__compile=True), reporter)
    assert compiled == [network]
    assert "minutes" in reporter.messages[-1]


@pytest.mark.parametrize(("freeze", "cuda", "expected"), [("2", False, 1), ("none", False, 0), ("2", True, 0)])
def test_a_gpu_that_onnxruntime_cannot_use_is_reported(
    freeze: str,
    cuda: bool,
    expected: int,
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compute, "has_cuda", lambda: cuda)
    monkeypatch.setattr(Grader, "device", torch.device("cuda"))
    reporter = RecordingReporter()
    place(tiny(freeze), tiny_settings(simulation__device="cpu"), reporter)
    assert sum("no CUDA provider" in line for line in reporter.messages) == expected


@pytest.mark.slow
def test_a_compiled_network_trains_to_about_the_same_weights(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site]
) -> None:
    settings, site = tiny_settings(simulation__compile=True), tiny_site("north")
    workers = Worker(place(tiny(), settings, SILENT)), Worker(tiny())
    compiled, plain = (w.train(site, w.initial, settings.local_training(1), 1).loss for w in workers)
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.slow
def test_a_compiled_network_gives_about_the_same_outputs(tiny_settings: Callable[..., Settings]) -> None:
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    compiled = place(tiny(), tiny_settings(simulation__compile=True), SILENT)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(images), tiny()(images), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("freeze", ["none", "2", "backbone"])
@pytest.mark.parametrize("augment", [False, True])
def test_a_gpu_trains_to_about_the_weights_of_the_cpu(
    freeze: str, augment: bool, tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site]
) -> None:
    settings, site = tiny_settings(model__freeze=freeze, training__augment=augment), tiny_site("north")
    workers = (Worker(build(settings.model, 0).to(device)) for device in ("cpu", "cuda"))
    cpu, gpu = (w.train(site, w.initial, settings.local_training(1), 1).loss for w in workers)
    assert gpu == pytest.approx(cpu, rel=1e-2)
