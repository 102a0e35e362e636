"""Independent random generators from one seed; no code uses a global generator."""

import hashlib

import numpy as np
import torch


def _entropy(seed: int, site: str, round: int, purpose: str) -> list[int]:
    named = hashlib.sha256(f"{site}\0{purpose}".encode()).digest()
    return [seed, round, *np.frombuffer(named[:16], dtype=np.uint32).tolist()]


def generator(seed: int, site: str = "", round: int = 0, purpose: str = "") -> np.random.Generator:
    """Derive a generator from four names, so that none is saved: round 7 draws the same with or without round 6."""
    return np.random.default_rng(_entropy(seed, site, round, purpose))


def torch_generator(seed: int, site: str = "", round: int = 0, purpose: str = "") -> torch.Generator:
    """Derive a PyTorch generator from the four names of `generator`."""
    state = int(generator(seed, site, round, purpose).integers(2**63))
    return torch.Generator().manual_seed(state)
