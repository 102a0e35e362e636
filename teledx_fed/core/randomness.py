"""One seed, many independent generators; nobody touches a global one."""

import hashlib

import numpy as np
import torch


def _entropy(seed: int, site: str, round: int, purpose: str) -> list[int]:
    named = hashlib.sha256(f"{site}\0{purpose}".encode()).digest()
    return [seed, round, *np.frombuffer(named[:16], dtype=np.uint32).tolist()]


def generator(seed: int, site: str = "", round: int = 0, purpose: str = "") -> np.random.Generator:
    """Derived afresh from its four names, so never saved: round 7 draws the same whether or not round 6 ran here."""
    return np.random.default_rng(_entropy(seed, site, round, purpose))


def torch_generator(seed: int, site: str = "", round: int = 0, purpose: str = "") -> torch.Generator:
    state = int(generator(seed, site, round, purpose).integers(2**63))
    return torch.Generator().manual_seed(state)
