from collections.abc import Callable

import pytest
import torch

from teledx_fed.settings import Settings
from teledx_fed.training.compute import device


def test_what_is_missing_is_said(tiny_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said: list[str] = []
    assert device(tiny_settings(training__mixed_precision=True), said.append).type == "cpu"
    assert any("no GPU found" in line for line in said)
    assert any("mixed_precision needs a GPU" in line for line in said)
    with pytest.raises(ValueError, match=r"simulation.device must be a device of this machine, got cuda"):
        device(tiny_settings(simulation__device="cuda"), said.append)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_taken_where_there_is_one(tiny_settings: Callable[..., Settings]) -> None:
    assert device(tiny_settings(), print).type == "cuda"
