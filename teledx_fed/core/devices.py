"""Copy tensors from CPU memory to a device."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` on `device`, without waiting for a GPU's earlier work: it copies them from pinned memory."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
